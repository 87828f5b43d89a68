"""What the Dockerfile says, done in a virtual environment: no Docker engine is needed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pystack3d_dask import __version__

ROOT = Path(__file__).parents[1]
INSTALLS = re.compile(r"\bpip install\b")
LIMIT = 90  # seconds for something to start


@dataclass(frozen=True)
class Instruction:
    """A line of a Dockerfile, continuations joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


def instructions() -> list[Instruction]:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def named(name: str) -> list[Instruction]:
    return [each for each in instructions() if each.name == name]


@dataclass(frozen=True)
class Image:
    """What a build leaves: a file system below a directory, and an environment.

    Parameters
    ----------
    root : Path
        Stands for ``/``.
    environment : dict
        Variables, the fresh virtual environment first in the path.
    """

    root: Path
    environment: dict[str, str]

    def inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.inside("/data"),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def entry(self, *arguments: str) -> str:
        (entry,) = named("ENTRYPOINT")
        return self.run(*entry.words, *arguments)

    @contextmanager
    def started(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command in the background and stop it in the end."""
        process = subprocess.Popen(
            command,
            cwd=self.inside("/data"),
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(LIMIT)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Follow the Dockerfile, line by line, in a new directory and a fresh environment."""
    folder = tmp_path_factory.mktemp("docker")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    # of the environment of the tests only what decides where packages come from
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{folder / 'venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    built = Image(folder / "root", environment)
    built.inside("/data").mkdir(parents=True)
    work = built.root
    for each in instructions():
        if each.name == "ENV":
            environment |= dict(word.split("=", 1) for word in each.words)
        elif each.name == "WORKDIR":
            work = built.inside(each.text)
            work.mkdir(parents=True, exist_ok=True)
        elif each.name == "COPY":
            copy(each.words[:-1], each.words[-1], work)
        elif each.name == "RUN" and INSTALLS.search(each.text):
            (folder / "home").mkdir(exist_ok=True)
            inside = environment | {"HOME": os.environ.get("HOME", "/")}  # its pip settings
            done = subprocess.run(
                each.text, shell=True, cwd=work, env=inside, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
    environment["HOME"] = str(folder / "home")
    yield built
    shutil.rmtree(folder)  # more than a gigabyte


def copy(sources: Sequence[str], target: str, work: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "quickstart_stack")
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, work / target, ignore=ignored)
        else:
            shutil.copy(ROOT / source, work / target)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end, f"not within {LIMIT} s"
        time.sleep(0.2)


def test_the_base_image_is_pinned_to_a_release_that_the_package_supports() -> None:
    (base,) = named("FROM")
    version = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", base.text)
    assert version is not None
    assert (int(version[1]), int(version[2])) >= (3, 11)


def test_containers_run_without_privileges_and_print_help_by_default() -> None:
    names = [each.name for each in instructions()]
    (user,) = named("USER")
    assert user.text not in ("root", "0")
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert [each.words for each in named("ENTRYPOINT")] == [["pystack3d-dask"]]
    assert [each.words for each in named("CMD")] == [["--help"]]
    assert [each.text for each in named("VOLUME")] == ["/data"]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in ignore if line.startswith("!")}
    copied = {source for each in named("COPY") for source in each.words[:-1]}
    assert copied == admitted
    assert all((ROOT / source).exists() for source in copied)


def test_what_is_not_followed_here_only_makes_the_user_and_the_volume() -> None:
    others = [each.text for each in named("RUN") if not INSTALLS.search(each.text)]
    assert [re.findall(r"(?:^|&& )(\w+)", text) for text in others] == [["useradd", "install"]]


@pytest.mark.slow
def test_the_entry_point_is_that_of_the_installed_package(image: Image) -> None:
    assert __version__ in image.entry("--version")
    (default,) = named("CMD")
    assert "PROJECT" in image.entry(*default.words)
    where = image.run("python", "-c", "import pystack3d_dask; print(pystack3d_dask.__file__)")
    assert Path(where.strip()).is_relative_to(image.root.parent / "venv")


@pytest.mark.slow
def test_a_demo_and_a_run_on_a_worker_that_joins(image: Image) -> None:
    small = ["--size", "64", "--slices", "6", "--workers", "0"]
    assert "distance to the truth" in image.entry("demo", "stack", *small)
    file = image.root / "scheduler.json"
    where = ["--scheduler-file", str(file)]
    serve = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    with image.started("dask", "scheduler", *serve, *where):
        wait_for(file.exists)
        address = json.loads(file.read_text())["address"]
        with image.started("dask", "worker", address, "--nworkers", "1", "--nthreads", "1"):
            joined = (
                "from distributed import Client\n"
                f"with Client({address!r}) as client: client.wait_for_workers(1, {LIMIT})"
            )
            image.run("python", "-c", joined)
            printed = image.entry("run", "stack", "--restart", "--yes", "--scheduler", address)
    assert "result.zarr" in printed


@pytest.mark.slow
def test_jupyter_answers(image: Image) -> None:
    runtime = image.root / "runtime"
    runtime.mkdir()
    image.environment["JUPYTER_RUNTIME_DIR"] = str(runtime)
    lab = ["lab", "--ip", "127.0.0.1", "--port", "0", "--no-browser"]
    # the tests may run as root, a container does not
    with image.started("jupyter", *lab, "--allow-root"):
        wait_for(lambda: any(runtime.glob("jpserver-*.json")))
        (info,) = runtime.glob("jpserver-*.json")
        server = json.loads(info.read_text())
        link = f"{server['url']}api/status?token={server['token']}"
        wait_for(lambda: answers(link))


def answers(link: str) -> bool:
    try:
        with urllib.request.urlopen(link, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
