"""Small defective stacks, and projects that the reference and we can both run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from reference import output_slices, run_reference
from scipy import ndimage
from stacks import make_project

from pystack3d_dask import open_result
from pystack3d_dask.core.typing import Array
from pystack3d_dask.pipeline import Pipeline

Parameters = Mapping[str, Any]
Steps = Mapping[str, Parameters]
CHANNELS = {"ESB": "uint8", "SE2": "uint16"}
DARK = 16  # pores are below, in both types


@cache
def defective_stack(dtype: str, shape: tuple[int, int, int] = (18, 64, 80)) -> Array:
    """Return a texture with pores, gain jumps, a background and heavy-tailed noise.

    The usual number of slices makes two blocks of ours, the second one not full.
    """
    rng = np.random.default_rng([*shape, np.dtype(dtype).itemsize])
    z, y, x = np.meshgrid(*(np.linspace(0, 1, count) for count in shape), indexing="ij")
    background = 60 * x - 40 * y**2 + 30 * x * y + 35 * z - 25 * z * x
    texture = smooth_noise(rng, shape, (1.5, 3, 3))
    tails = rng.standard_t(2.5, shape)
    gains = rng.uniform(0.88, 1.12, (shape[0], 1, 1))
    values = (110 + 18 * texture + background + 4 * tails) * gains * (np.iinfo(dtype).max / 280)
    pores = smooth_noise(rng, shape, (1, 4, 4)) > 1.6
    values[pores] = rng.uniform(0, DARK, np.count_nonzero(pores))
    limits = np.iinfo(dtype)
    stack = np.clip(values, limits.min, limits.max).astype(dtype)
    stack.setflags(write=False)
    return stack


@cache
def moving_stack(dtype: str, shape: tuple[int, int, int] = (12, 64, 80), turn: float = 0) -> Array:
    """Return a texture that drifts and jumps from slice to slice, under curtains.

    Its slices also turn, by ``turn`` degrees each.
    """
    count, height, width = shape
    rng = np.random.default_rng([*shape, np.dtype(dtype).itemsize, 7])
    margin = 20
    volume = smooth_noise(rng, (count, height + 2 * margin, width + 2 * margin), (4, 3, 3))
    shifts = np.cumsum(rng.normal(0, 0.9, (count, 2)), axis=0)
    y, x = np.mgrid[:height, :width].astype(float)
    images = []
    for k, (dy, dx) in enumerate(shifts):
        angle = np.deg2rad(turn * k)
        v, u = y - height / 2, x - width / 2
        rows = v * np.cos(angle) - u * np.sin(angle) + height / 2 + dy + margin
        columns = v * np.sin(angle) + u * np.cos(angle) + width / 2 + dx + margin
        images.append(ndimage.map_coordinates(volume[k], [rows, columns], order=3))
    curtains = ndimage.gaussian_filter1d(rng.normal(0, 30, shape), 25, axis=1)
    values = (120 + 28 * np.stack(images) + curtains) * (np.iinfo(dtype).max / 255)
    stack = np.clip(values, 1, np.iinfo(dtype).max).astype(dtype)
    stack.setflags(write=False)
    return stack


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], sigma: tuple[float, float, float]
) -> Array:
    """Return correlated noise of mean 0 and standard deviation 1, roughly."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return np.asarray(noise / noise.std())


def write_project(
    directory: Path, channels: Mapping[str, Array], steps: Steps, **settings: Any
) -> Path:
    """Write the slices of each channel and a parameter file; return the directory."""
    count = len(next(iter(channels.values())))
    return make_project(directory, steps, channels, positions=positions(count), **settings)


def positions(count: int) -> Array:
    """Return positions along z in micrometers, 10 nm apart, more or less."""
    jitter = np.random.default_rng(1).uniform(-0.003, 0.003, count)
    return np.asarray(np.round(0.01 * np.arange(count) + jitter + 0.003, 4))


def corrected(directory: Path) -> Array:
    """Run a project here and return its result (c, z, y, x)."""
    Pipeline.from_toml(directory).run()
    return np.asarray(open_result(directory).values)


def stored(directory: Path, *path: str) -> Any:
    """Return a group of what a run stored beside its pixels, such as the fit of a step."""
    return zarr.open_group(directory / "process" / "work.zarr", mode="r")["/".join(path)]


@dataclass(frozen=True)
class Pair:
    """One project, run by the reference and by us.

    Parameters
    ----------
    reference, ours : Path
        The two directories.
    channels : mapping of str to ndarray
        The slices, by channel.
    steps : mapping
        Parameters by step.
    """

    reference: Path
    ours: Path
    channels: Mapping[str, Array]
    steps: Steps

    def outputs(self, step: str) -> list[tuple[Array, Array]]:
        """Return what both, we first, have for each channel after a step."""
        names = list(self.steps)
        upto = names[: names.index(step) + 1]
        result = np.asarray(Pipeline.from_toml(self.ours, steps=upto).lazy().values)
        return [
            (ours, output_slices(self.reference, step, name))
            for ours, name in zip(result, self.channels, strict=True)
        ]

    def results(self) -> list[tuple[Array, Array]]:
        """Return the final stacks of both, we first, for each channel."""
        last = list(self.steps)[-1]
        return [
            (ours, output_slices(self.reference, last, name))
            for ours, name in zip(open_result(self.ours).values, self.channels, strict=True)
        ]


def run_both(
    directory: Path, steps: Steps, channels: Mapping[str, Array] | None = None, **settings: Any
) -> Pair:
    """Run a project with the reference and with us; an 8- and a 16-bit channel by default."""
    if channels is None:
        channels = {name: defective_stack(dtype) for name, dtype in CHANNELS.items()}
    reference = write_project(directory / "reference", channels, steps, **settings)
    ours = write_project(directory / "ours", channels, steps, precision="source", **settings)
    run_reference(reference)
    Pipeline.from_toml(ours).run()
    return Pair(reference, ours, channels, steps)


def assert_alike(ours: Array, expected: Array, *, levels: int, equal: float) -> None:
    """Check that two stacks differ by some gray levels at most, and seldom at all."""
    assert ours.shape == expected.shape
    difference = np.abs(ours.astype(np.int64) - expected.astype(np.int64))
    assert difference.max() <= levels
    assert np.mean(difference == 0) >= equal
