"""The files below ``docker``, read, and a stand-in for the image that they describe."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
INSTALLS = re.compile(r"\bpip install\b")


@dataclass(frozen=True)
class Instruction:
    """A line of a Dockerfile, continuations joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


def stages() -> dict[str, list[Instruction]]:
    """Return the instructions of each stage of the Dockerfile, its FROM first."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    found: dict[str, list[Instruction]] = {}
    for each in (Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()):
        if each.name == "FROM":
            stage = found[each.words[-1]] = []
        stage.append(each)
    return found


def named(name: str, stage: str = "cpu") -> list[Instruction]:
    return [each for each in stages()[stage] if each.name == name]


def services() -> dict[str, dict[str, Any]]:
    """Return the services of the compose file, anchors resolved."""
    text = (DOCKER / "compose.yaml").read_text()
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


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

    def done(
        self, command: Sequence[str], environment: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.inside("/data"),
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *command: str) -> str:
        done = self.done(command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def entry(self, *arguments: str) -> str:
        (entry,) = named("ENTRYPOINT")
        return self.run(*entry.words, *arguments)

    @contextmanager
    def started(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command in the background; in the end stop it as Docker does."""
        process = subprocess.Popen(
            command,
            cwd=self.inside("/data"),
            env=self.environment | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def build(folder: Path) -> Image:
    """Follow the stage cpu, line by line, in a new directory and a fresh environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    # of the environment of the tests only what decides where packages come from
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{folder / 'venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    built = Image(folder / "root", environment)
    built.inside("/data").mkdir(parents=True)
    work = built.root
    for each in stages()["cpu"]:
        if each.name == "ENV":
            environment |= dict(word.split("=", 1) for word in each.words)
        elif each.name == "WORKDIR":
            work = built.inside(each.text)
            work.mkdir(parents=True, exist_ok=True)
        elif each.name == "COPY":
            _copy(each.words[:-1], each.words[-1], work)
        elif each.name == "RUN" and INSTALLS.search(each.text):
            inside = environment | {"HOME": os.environ.get("HOME", "/")}  # its pip settings
            done = subprocess.run(
                each.text, shell=True, cwd=work, env=inside, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
    (folder / "home").mkdir()
    environment["HOME"] = str(folder / "home")
    return built


def _copy(sources: Sequence[str], target: str, work: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "quickstart_stack")
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, work / target, ignore=ignored)
        else:
            shutil.copy(ROOT / source, work / target)
