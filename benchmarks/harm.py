"""Harm of destriping as found from neighboring slices, against harm by truth.

    python benchmarks/harm.py --seeds 3
    python benchmarks/harm.py --seeds 3 --data FOLDER --textures medulla upright

Stacks of the ruler, with stripes and without, go through filters that are too weak, about right
and too strong, wavelets, and the comparison with neighbors. For each the change of the squared
error is known by truth, and told by `pystack3d_dask.kernels.taken` from windows of some slices, as
in a run. A line for each texture says how both go together: rank correlation (Spearman), and the
share of the stacks of which the sign is right, and of which it is right where truth is clear:
further from 0 than a fifth of the square of what was taken. The last columns say how often a run
warns where truth is clear.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from ruler.acquired import Array
from ruler.cases import CASES, acquire
from scipy import stats

import pystack3d_dask as ps
from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.engine.glimpses import does_harm, glimpse, products_by_run
from pystack3d_dask.kernels.destriping.wavelets import WaveletDecomposition
from pystack3d_dask.kernels.taken import NAMES, Harm, harm

SHAPE = (14, 320, 320)
TEXTURES = ("porous", "cellular", "layers", "upright")
FRESH = ("long stripes", "short stripes", "wide stripes", "tilted stripes", "two angles")
UNSTRIPED = ("nothing", "clean", "drift")
PERSISTENT = ("stripes along z", "curtains")
CLEAR = 0.2  # of the square of what was taken
NOTHING = 0.05  # gray levels: no more was taken


def gabor(noise_level: float, across: float, along: float) -> ps.Destriping:
    """Return destriping by one filter for stripes along y."""
    return ps.Destriping(filters=[ps.Gabor(noise_level=noise_level, sigma=(across, along))])


METHODS = {
    "filter, weak": gabor(3, 1, 60),
    "filter": gabor(20, 1, 30),
    "filter, strong": gabor(60, 2, 20),
    "wavelets": ps.Destriping(
        wavelet_decomposition=WaveletDecomposition(wavelet="db15", sigma=2.5)
    ),
    "neighbors": ps.Destriping(neighbors=3),
}


class Judged(NamedTuple):
    """A stack after a method.

    Parameters
    ----------
    texture, recipe, method : str
        What it was.
    taken : float
        Mean square of what was taken.
    truth, found : float
        Change of the mean squared error.
    is_warned : bool
        Whether a run would say that the correction does harm.
    """

    texture: str
    recipe: str
    method: str
    taken: float
    truth: float
    found: float
    is_warned: bool


def judged(data: Path | None, task: tuple[str, str, int]) -> list[Judged]:
    """Return the verdicts on a stack after each method that takes anything."""
    texture, recipe, seed = task
    acquired = acquire(CASES[f"{texture}: {recipe}"], seed, SHAPE, data)
    stack = xr.DataArray(acquired.slices, dims=("z", "y", "x"))
    found = []
    for name, step in METHODS.items():
        after = ps.correct(stack, step, ps.fit(stack, step) if step.neighbors else None).values
        taken = _square(acquired.slices - after)
        if taken > NOTHING**2:
            truth = _square(after - acquired.clean) - _square(acquired.slices - acquired.clean)
            told = _told(acquired.slices, after)
            found.append(Judged(texture, recipe, name, taken, truth, told.change, does_harm(told)))
    return found


def _square(stack: Array) -> float:
    """Return the mean square of slices without their means."""
    values = np.asarray(stack, np.float64)
    return float(np.mean((values - values.mean(axis=(1, 2), keepdims=True)) ** 2))


def _told(before: Array, after: Array) -> Harm:
    spec = StackSpec(shape=before.shape, dtype=before.dtype, source_dtype=before.dtype)
    block = Block(before, spec.region, spec.region, spec)
    seen = {z: glimpse(block, after, z) for z in range(len(before))}
    runs = products_by_run(seen, len(before)).values()
    return harm({name: np.array([each[name] for each in runs]) for name in NAMES})


def table(found: Sequence[Judged]) -> Iterator[str]:
    """Yield a line for each texture, and one for all, without and with stripes that persist."""
    yield "| texture | stacks | Spearman | sign right | where clear | warned of harm | of gains |"
    yield "|---|---|---|---|---|---|---|"
    fresh = [each for each in found if each.recipe not in PERSISTENT]
    for texture in dict.fromkeys(each.texture for each in fresh):
        yield _line(texture, [each for each in fresh if each.texture == texture])
    yield _line("all", fresh)
    lasting = [each for each in found if each.recipe in PERSISTENT]
    if lasting:
        yield _line("all, stripes that go on along z", lasting)


def _line(name: str, some: Sequence[Judged]) -> str:
    truth, told, taken = (
        np.array([getattr(each, field) for each in some]) for field in ("truth", "found", "taken")
    )
    warned = np.array([each.is_warned for each in some])
    right = (truth > 0) == (told > 0)
    is_clear = np.abs(truth) > CLEAR * taken
    cells = (
        f"{stats.spearmanr(truth, told)[0]:.3f}",
        *(_share(right[where]) for where in (truth == truth, is_clear)),
        *(_share(warned[where & is_clear]) for where in (truth > 0, truth < 0)),
    )
    return f"| {name} | {len(some)} | " + " | ".join(cells) + " |"


def _share(of: Array) -> str:
    return f"{100 * of.mean():.0f} %" if of.size else ""


def main() -> None:
    """Judge all stacks, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--first", type=int, default=1, help="the first one (1)")
    parser.add_argument("--textures", nargs="+", default=TEXTURES, help="of the ruler")
    parser.add_argument("--data", type=Path, help="folder of real stacks, for their textures")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    options = parser.parse_args()
    recipes = (*UNSTRIPED, *FRESH, *PERSISTENT)
    seeds = range(options.first, options.first + options.seeds)
    tasks = [
        task
        for task in product(options.textures, recipes, seeds)
        if f"{task[0]}: {task[1]}" in CASES
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        found = [each for some in pool.map(partial(judged, options.data), tasks) for each in some]
    for line in table(found):
        print(line)


if __name__ == "__main__":
    main()
