"""Bad slices that `slice_check` finds, by how bad they are, and good ones that it takes for bad.

    python benchmarks/bad_slices.py --seeds 4 --cases "porous: clean" "cellular: all"

In each stack an eighth of the slices is spoiled in one way. Printed are, for each way and case, how
many are found, how many of them `slice_repair` would replace, in how many the mean of the two
neighbors is nearer to the truth than the slice, and how many good slices are taken for bad (beside
a bad one, and elsewhere). The last row of a case is the stack as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from ruler.acquired import WHITE, Acquired, Array
from ruler.bad_slices import (
    Blank,
    Duplicated,
    Exposed,
    NoiseAdded,
    NoiseOnly,
    OutOfFocus,
    ShiftedInside,
    Spoiled,
)
from ruler.cases import CASES, acquire

import pystack3d_dask as ps

SHARE = 8  # one of so many slices is bad
NOISE = 2.8  # gray levels, of the cases with noise
WAYS: Mapping[str, Spoiled] = {
    "noise only": NoiseOnly(),
    **{f"blank {share:.0%}": Blank(share) for share in (0.025, 0.05, 0.1, 0.25, 0.5, 1.0)},
    **{f"blank columns {share:.0%}": Blank(share, rows=False) for share in (0.05, 0.1, 0.2)},
    **{f"defocus {sigma:g} px": OutOfFocus(sigma) for sigma in (0.5, 1.0, 2.0, 4.0)},
    **{
        f"noise x {factor:g}": NoiseAdded(NOISE * float(np.sqrt(factor**2 - 1)))
        for factor in (1.5, 2, 4, 8)
    },
    "duplicated": Duplicated(),
    **{f"exposure x {gain:g}": Exposed(gain) for gain in (0.3, 0.5, 0.65, 0.8, 1.2, 1.4, 1.8)},
    **{f"shifted by {pixels} px": ShiftedInside(pixels) for pixels in (3, 5, 10, 20)},
}
HEAD = f"{'way':20} {'found':>9} {'replaced':>9} {'nearer':>9} {'beside':>7} {'false':>9}"


def spoilt(stack: Array, way: Spoiled, rng: np.random.Generator) -> tuple[Array, list[int]]:
    """Return a stack some of whose slices are bad, and which ones."""
    count = len(stack) // SHARE
    places = np.sort(rng.choice(np.arange(1, len(stack) - 1), count, replace=False)).tolist()
    out = stack.copy()
    for z in places:
        out[z] = np.rint(np.clip(way.spoil(out, z, rng), 0, WHITE))
    return out, places


def found_bad(stack: Array) -> tuple[set[int], set[int]]:
    """Return the slices that the check finds bad, and those that would be replaced."""
    slices = xr.DataArray(stack, dims=("z", "y", "x"))
    fitted = ps.fit(slices, ps.SliceCheck()).channels[0]
    bad, worse = (np.flatnonzero(fitted[key]).tolist() for key in ("reason", "is_worse"))
    return {*bad}, {*worse}


def nearer(stack: Array, given: Array, truth: Array, places: Sequence[int]) -> int:
    """Return in how many bad slices the mean of the good neighbors is nearer to the truth."""
    between = (stack[:-2].astype(float) + stack[2:]) / 2
    errors = [(np.std(given[z] - truth[z]), np.std(between[z - 1] - truth[z])) for z in places]
    return sum(mean < own for own, mean in errors)


def row(name: str, way: Spoiled | None, stacks: Sequence[Acquired], seed: int) -> str:
    """Return the figures of one way of being bad."""
    bad = hits = beside = false = good = closer = replaced = 0
    for k, acquired in enumerate(stacks):
        given, places = acquired.slices, list[int]()
        if way is not None:
            given, places = spoilt(given, way, np.random.default_rng([seed, k]))
        found, worse = found_bad(given)
        near = {z + d for z in places for d in (-1, 1)} - {*places}
        bad += len(places)
        good += len(given) - len(places)
        hits += len(found & {*places})
        replaced += len(worse & {*places})
        beside += len(found & near)
        false += len(found - near - {*places})
        closer += nearer(acquired.slices, given, acquired.clean, places)
    shares = (f"{each}/{bad}" for each in (hits, replaced, closer))
    figures = " ".join(f"{each:>9}" for each in shares)
    return f"{name:20} {figures} {beside:7} {f'{false}/{good}':>9}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=["porous: clean"], choices=[*CASES])
    parser.add_argument("--ways", nargs="+", default=[*WAYS], choices=[*WAYS])
    parser.add_argument("--seeds", type=int, default=2, help="number of stacks")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument(
        "--shape", type=int, nargs=3, default=[60, 240, 240], metavar=("Z", "Y", "X")
    )
    parser.add_argument("--data", type=Path, help="folder of real stacks")
    given = parser.parse_args()
    shape = (given.shape[0], given.shape[1], given.shape[2])
    seeds = range(given.first, given.first + given.seeds)
    for case in given.cases:
        print(f"\n{case}, {given.seeds} of {' x '.join(map(str, shape))}\n{HEAD}")
        stacks = [acquire(CASES[case], seed, shape, given.data) for seed in seeds]
        for name in given.ways:
            print(row(name, WAYS[name], stacks, given.first), flush=True)
        print(row("as it is", None, stacks, given.first), flush=True)


if __name__ == "__main__":
    main()
