"""Changes of sharpness from slice to slice after registration, by scheme of interpolation.

    python benchmarks/flicker.py --seeds 5

Stacks whose true shifts are known are laid upon each other by these, by each scheme of
`registration_transformation`. Printed are, as medians over seeds, the high-frequency power that is
kept, and its flicker: the standard deviation along z of each slice's power over that before, in
percent. Slices that are moved by half a pixel lose the most, those that are moved by whole ones
nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ruler.acquired import Array
from ruler.cases import CASES, acquire
from ruler.interpolation import Interpolation
from scipy import ndimage

from pystack3d_dask.kernels.registration.interpolation import SCHEMES

WIDTH = 1.0  # standard deviation, in pixels, of the blur that high frequencies are left out by
MARGIN = 24  # pixels at the edges, where others are moved in


def power(image: Array) -> float:
    """Return the mean square of what is finer than `WIDTH`."""
    values = image.astype(np.float64)
    fine = values - ndimage.gaussian_filter(values, WIDTH)
    inner = fine[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return float(np.mean(inner**2))


def figures(case: str, seed: int, shape: tuple[int, int, int], data: Path | None) -> Array:
    """Return the power kept and its flicker of each scheme, shape (schemes, 2)."""
    acquired = acquire(CASES[case], seed, shape, data)
    before = np.array([power(image) for image in acquired.slices])
    found = []
    for scheme in SCHEMES:
        interpolation = Interpolation(in_plane=scheme)
        moved = (
            interpolation.moved(image, -float(y), -float(x))
            for image, (y, x) in zip(acquired.slices, acquired.shifts, strict=True)
        )
        kept = np.array([power(image) for image in moved]) / before
        found.append((kept.mean(), 100 * kept.std()))
    return np.array(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    cases = ["porous: drift", "porous: drift in noise", "cellular: drift"]
    parser.add_argument("--cases", nargs="+", default=cases, choices=[*CASES])
    parser.add_argument("--seeds", type=int, default=5, help="number of stacks")
    parser.add_argument("--first", type=int, default=301, help="the first seed")
    parser.add_argument("--shape", type=int, nargs=3, default=[24, 320, 320])
    parser.add_argument("--data", type=Path, help="folder of real stacks")
    given = parser.parse_args()
    if min(given.shape[1:]) <= 2 * MARGIN:
        parser.error(f"--shape: more than {2 * MARGIN} rows and columns expected")
    slices, rows, columns = given.shape
    print(f"| case | {' | '.join(SCHEMES)} |\n|---|{'---|' * len(SCHEMES)}")
    for case in given.cases:
        seeds = range(given.first, given.first + given.seeds)
        found = [figures(case, seed, (slices, rows, columns), given.data) for seed in seeds]
        middle = np.median(found, axis=0)
        row = " | ".join(f"{kept:.2f}, {flicker:.1f} %" for kept, flicker in middle)
        print(f"| {case} | {row} |", flush=True)


if __name__ == "__main__":
    main()
