"""Small projects for tests of the whole program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clusters import Cluster, mixed_cluster
from hypothesis import settings
from stacks import write_slices

import pystack3d_dask as ps
from pystack3d_dask.cli import main as cli

# how long an example takes says more about what else the machine does
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

CHAIN = """\
channels = {channels}
process_steps = ["cropping", "bkg_removal", "intensity_rescaling"]

[cropping]
area = [2, 38, 3, 30]

[bkg_removal]
orders = [1, 1, 1]
skip_factors = [4, 4, 3]

[intensity_rescaling]
nbins = 64
filter_size = 3
"""


def textured(shape: tuple[int, int, int], dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Return waves, a slope, noise, and a brightness of its own for each slice."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    values = 90 + 30 * np.sin(x / 5 + z / 7) * np.cos(y / 4) + 0.5 * x + 0.3 * y
    values = values * rng.uniform(0.9, 1.1, shape[0])[:, None, None] + rng.normal(0, 3, shape)
    return np.clip(values * (200 if dtype == "uint16" else 1), 1, None).astype(dtype)


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes slices, and a params.toml where its text is given."""

    def make(
        params: str | None = CHAIN,
        *,
        channels: Sequence[str] = (".",),
        shape: tuple[int, int, int] = (7, 36, 42),
        dtype: str = "uint8",
        name: str = "project",
    ) -> Path:
        directory = tmp_path / name
        for seed, channel in enumerate(channels):
            write_slices(directory / channel, textured(shape, dtype, seed))
        if params is not None:
            listed = "[" + ", ".join(f'"{channel}"' for channel in channels) + "]"
            text = params.replace("{channels}", listed)
            (directory / "params.toml").write_text(text, encoding="utf-8")
        return directory

    return make


@pytest.fixture
def gpu_cluster(tmp_path, monkeypatch, request) -> Iterator[Cluster]:
    """Return workers with and without a GPU, that can import the test's module."""
    for directory in request.path.parents[:2]:  # of the module, and of what it imports
        monkeypatch.setenv("PYTHONPATH", str(directory), prepend=os.pathsep)
    with mixed_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that runs a command in this process."""

    def run(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["pystack3d-dask", *map(str, arguments)])
        monkeypatch.setattr("warnings.showwarning", lambda *_, **__: None)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return SimpleNamespace(status=ended.value.code or 0, out=printed.out, err=printed.err)

    return run


def result(project: Path) -> np.ndarray:
    return ps.open_result(project).values


def listing(directory: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in directory.rglob("*")}
