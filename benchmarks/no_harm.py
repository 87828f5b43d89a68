"""Errors of generated stacks against their truth, before and after ``init`` and ``run``.

    python benchmarks/no_harm.py --seeds 0 20

Each seed makes a stack of 24 to 32 slices of 400 to 560 pixels, of either texture, with all
defects or with one of them. Both errors are root mean square gray levels (of 255) after one
global shift and one linear fit of gray levels for the whole stack, over the pixels and at the
depths of the result; the input is interpolated between its slices to these depths, in its type as
the result is, or is its nearest slices, whichever is closer to the truth. Exits with status 1 when
a result is worse than its input.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import fft, ndimage

from pystack3d_dask.demo.stack import VOXEL_SIZE, DemoStack

Stack = npt.NDArray[np.float64]

SINGLE: dict[str, dict[str, float]] = {
    "nothing": {},
    "background": {"shading": 0.15},
    "brightness": {"flicker": 0.05},
    "drift": {"shift": 3.0},
    "stripes": {"curtaining": 0.03},
    "uneven": {"uneven": 0.5},
}
KINDS = ("all", *SINGLE)
NONE = dict.fromkeys(("border", "shift", "uneven", "curtaining", "shading", "flicker"), 0.0)
MARGIN = 8  # pixels left out at the sides: a shift moves others in

TEXTURES: tuple[Literal["porous", "cellular"], ...] = ("porous", "cellular")


def stack_of(seed: int, kind: str) -> DemoStack:
    """Return the stack of a seed, with all defects or a single one."""
    random = np.random.default_rng(seed)
    slices = int(random.integers(24, 33))
    side = int(random.integers(400, 561))
    defects: dict[str, float] = {}
    for each in SINGLE.values() if kind == "all" else [SINGLE[kind]]:
        defects.update({name: random.uniform(0.5, 1.5) * value for name, value in each.items()})
    values: dict[str, Any] = {**NONE, **defects, "noise": 0.011}
    return DemoStack((slices, side, side), seed=seed, texture=TEXTURES[seed % 2], **values)


def at_depths(stack: DemoStack, depths: Stack, linear: bool) -> Stack:
    """Return the defective slices at some depths: between slices, or the nearest ones."""
    position = np.interp(depths, stack.z, np.arange(len(stack.z)))
    low = np.floor(position).astype(int) if linear else np.rint(position).astype(int)
    high = np.minimum(low + 1, len(stack.z) - 1)
    share = (position - low)[:, None, None] if linear else 0.0
    images = np.stack([stack.slice(k) for k in range(len(stack.z))]).astype(np.float64)
    return np.rint((1 - share) * images[low] + share * images[high])


def error(images: Stack, truth: Stack) -> float:
    """Return the error after one shift and one linear fit of gray levels."""
    spectra = [fft.rfft2(each - each.mean((1, 2), keepdims=True)) for each in (images, truth)]
    correlation = fft.irfft2((spectra[0] * spectra[1].conj()).sum(0), s=truth.shape[1:])
    peak = np.unravel_index(np.argmax(correlation), correlation.shape)
    shift = [0.0, *(_vertex(correlation, peak, axis) for axis in (0, 1))]
    inner = (slice(None), *(slice(MARGIN, -MARGIN),) * 2)
    moved = ndimage.shift(truth, shift, order=3, mode="nearest")[inner].ravel()
    values = np.stack([np.ones(moved.size), images[inner].ravel()])
    fit = np.linalg.lstsq(values @ values.T, values @ moved)[0]
    return float(np.sqrt(np.mean((fit @ values - moved) ** 2)))


def _vertex(correlation: Stack, peak: tuple[Any, ...], axis: int) -> float:
    """Return the place of a maximum along an axis, from a parabola through three values."""
    size = correlation.shape[axis]
    near = np.take(np.roll(correlation, 1 - peak[axis], axis), range(3), axis)
    a, b, c = np.take(near, peak[1 - axis], 1 - axis)
    return float((peak[axis] + size // 2) % size - size // 2 + 0.5 * (a - c) / (a - 2 * b + c))


def errors(stack: DemoStack, result: xr.DataArray) -> tuple[float, float]:
    """Return the error of the input and that of the result."""
    depths = result.z.values - result.z.values[0] + stack.z[0]

    view = tuple(
        slice(start, start + result.sizes[axis])
        for axis in "yx"
        for start in [round(float(result[axis][0]) / VOXEL_SIZE)]
    )
    truth = np.stack([*stack.truth(depths, view)]).astype(np.float64)
    inputs = (at_depths(stack, depths, linear)[:, *view] for linear in (True, False))
    return min(error(each, truth) for each in inputs), error(result.values, truth)


def measured(stack: DemoStack, folder: Path) -> tuple[list[str], float, float]:
    """Return the steps that ``init`` switches on, and both errors."""
    import tomllib

    from pystack3d_dask import open_result

    folder.mkdir()
    for k in range(stack.shape[0]):
        stack.write_slice(folder, k)
    for words in (["init", folder], ["run", folder, "--workers", "0", "--no-report"]):
        command = [sys.executable, "-m", "pystack3d_dask", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True)
    steps = tomllib.loads((folder / "params.toml").read_text())["process_steps"]
    result = open_result(folder).isel(c=0).astype(np.float64)
    return steps, *errors(stack, result)


def rows(seeds: range, kinds: list[str]) -> Iterator[tuple[str, float, float]]:
    """Yield a line of the table for each stack, with both errors."""
    with tempfile.TemporaryDirectory() as place:
        for seed in seeds:
            for kind in kinds:
                stack = stack_of(seed, kind)
                steps, before, after = measured(stack, Path(place, f"{seed} {kind}"))
                worse = "WORSE" if after > before + 5e-3 else ""
                yield (
                    f"{seed:>4} {stack.texture:<9}{kind:<11}{before:7.2f}{after:7.2f} {worse:<6}"
                    f"{', '.join(steps)}",
                    before,
                    after,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 20), help="first, and one past")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    print("seed texture  defects     before  after        steps of init")
    found = []
    for line, *both in rows(range(*given.seeds), given.kinds):
        print(line, flush=True)
        found.append(both)
    before, after = np.array(found).T
    print(f"median {np.median(before):.2f} -> {np.median(after):.2f}; worse: ", end="")
    print(f"{np.count_nonzero(after > before + 5e-3)} of {len(found)}")
    sys.exit(bool(np.any(after > before + 5e-3)))


if __name__ == "__main__":
    main()
