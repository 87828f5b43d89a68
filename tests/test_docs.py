"""Every snippet of the documentation runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tables
from stacks import images, write_slices

from pystack3d_dask.cli.main import cli
from pystack3d_dask.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PATHS = re.compile(r"\]\(([^)#]+)\)")


def snippets(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text()
    return [body for kind, body in FENCE.findall(text) if kind == language]


@pytest.fixture
def readme_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = tmp_path / "my_stack"
    write_slices(project, images((24, 256, 256)))
    (params,) = snippets("README.md", "toml")
    (project / "params.toml").write_text(params)
    monkeypatch.chdir(tmp_path)
    return project


def test_the_python_of_the_readme_runs_on_its_parameters(readme_project: Path) -> None:
    namespace: dict[str, Any] = {}
    for snippet in snippets("README.md", "python"):
        exec(snippet, namespace)
    slices, rows, columns = namespace["corrected"].shape[1:]
    assert slices == 24
    assert 150 < rows <= 208
    assert 150 < columns <= 224
    assert namespace["one_slice"].dtype == "uint8"


def test_the_commands_of_the_readme_are_those_of_the_program() -> None:
    lines = [line for body in snippets("README.md", "bash") for line in body.splitlines()]
    named = {m[1] for line in lines if (m := re.search(r"pystack3d-dask (\w+)", line))}
    assert named == {
        *("clean", "demo", "export", "init", "plan", "preview", "report", "run", "suggest"),
        *("sweep", "verify", "worker"),
    }
    assert named <= set(cli.commands)


def test_all_corrections_of_the_readme_take_four_reads_and_two_writes(
    readme_project: Path,
) -> None:
    params = readme_project / "params.toml"
    params.write_text(params.read_text().replace('# "bkg_removal",', '"bkg_removal",'))
    plan = Pipeline.from_toml(readme_project).plan()
    assert (plan.reads, plan.writes) == (4, 2)


def test_the_corrections_of_the_contributing_guide_keep_the_contract(tmp_path: Path) -> None:
    code = snippets("CONTRIBUTING.md", "python")
    tests = [f"{name}()" for name in re.findall(r"def (test_\w+)\(\)", "\n".join(code))]
    assert len(tests) == 2
    script = tmp_path / "corrections.py"
    script.write_text("\n".join([*code, *tests]))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tables_of_the_contributing_guide_are_toml() -> None:
    (table,) = snippets("CONTRIBUTING.md", "toml")
    assert tomllib.loads(table)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(document: str) -> None:
    links = PATHS.findall((ROOT / document).read_text())
    assert all(link.startswith("https://") or (ROOT / link).exists() for link in links)


def test_the_table_of_corrections_is_made_of_their_declarations() -> None:
    readme = (ROOT / "README.md").read_text()
    assert tables.written(readme) == readme, "python docs/tables.py writes it anew"
