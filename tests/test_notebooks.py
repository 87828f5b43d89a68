"""The notebooks run from end to end, and are kept without what a run leaves in them."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LIMIT = 120  # seconds for a cell
SHOWN = {  # what is printed, and how many pictures there are at least
    "cluster.ipynb": ("dashboard: http://127.0.0.1:", 2),
    "downstream.ipynb": ("% of the volume", 2),
    "explore.ipynb": ("black and white: [", 8),
    "quickstart.ipynb": ("dashboard: http://127.0.0.1:", 3),
    "tune.ipynb": ("{'destriping.filters[0].noise_level': 5.0}", 1),
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


@pytest.fixture
def executed(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """Return a notebook after a run in a fresh kernel and an empty directory."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(work)}}
    options = {"timeout": LIMIT, "kernel_name": "python3", "resources": resources}
    with TemporaryDirectory() as sockets:  # their paths must be short
        NotebookClient(notebook, config=connected_in(sockets), **options).execute()
    return notebook


def connected_in(directory: str) -> Config:
    """Reach kernels by files: others may take a port between its choice and a kernel's start."""
    if sys.platform == "win32":
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "ip": f"{directory}/kernel"}})


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == sorted(SHOWN)


@each_notebook
def test_a_notebook_runs_without_a_complaint(path: Path, executed: nbformat.NotebookNode) -> None:
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    complaints = [each.text for each in outputs if each.get("name") == "stderr"]
    assert not complaints
    printed = "".join(each.text for each in outputs if each.get("name") == "stdout")
    words, count = SHOWN[path.name]
    assert words in printed
    pictures = [each for each in outputs if "image/png" in each.get("data", {})]
    assert len(pictures) >= count


@each_notebook
def test_a_notebook_is_kept_without_results(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.name == "explore.ipynb"])
def test_the_browser_is_shown_with_its_sliders(executed: nbformat.NotebookNode) -> None:
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    view = "application/vnd.jupyter.widget-view+json"
    (shown,) = [each.data[view] for each in outputs if view in each.get("data", {})]
    widgets = executed.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert shown["model_id"] in widgets
    names = {each["model_name"] for each in widgets.values()}
    assert names >= {"IntSliderModel", "FloatRangeSliderModel", "ToggleButtonsModel", "ImageModel"}
