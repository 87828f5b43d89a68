"""Time VSNR beside pyvsnr, image by image, turn by turn, on one core.

    python benchmarks/destriping.py --sizes 512 1000 2000 4096 --rounds 3

Prints a line for each size and noise: milliseconds of both programs (the median of the
rounds), their ratio, the iterations of both, and how the outputs, truncated to the image's
type, agree. Both get the same 8 bit slice of the demo stack, with its curtains, and the same
rule to stop by. Needs ``pip install pyvsnr``; with ``pyfftw`` it takes FFTW's transforms.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import psutil

from pystack3d_dask.core.typing import Array
from pystack3d_dask.demo import DemoStack
from pystack3d_dask.kernels.destriping.pyvsnr import pyvsnr_solution
from pystack3d_dask.kernels.destriping.vsnr import Filter, Solution, remove_noise

Filters = tuple[Filter, ...]


def gabor(noise_level: float, along: float, theta: float = 0.0) -> Filter:
    """Return stripes half a pixel wide."""
    return Filter(name="Gabor", noise_level=noise_level, sigma=(0.5, along), theta=theta)


def published(theta: float) -> Filters:
    """Return the two filters of PyStack3D's published timings, turned."""
    return gabor(30, 80, theta), gabor(80, 200, theta)


NOISES: Mapping[str, Filters] = {
    "stripes along y": published(0),
    "stripes along x": published(90),
    "stripes at 2 degrees": published(2),
    "stripes at 30 degrees": published(30),
    "short stripes along y": (gabor(30, 10),),
    "white noise": (Filter(name="Dirac", noise_level=0.1),),
}


def line(image: Array, name: str, options: argparse.Namespace) -> str:
    """Time both programs on one image, and return the line of the table."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(options.rounds + 1):
        expected, seconds = timed(pyvsnr_solution, image, NOISES[name], options)
        theirs.append(seconds)
        found, seconds = timed(remove_noise, image, NOISES[name], options)
        ours.append(seconds)
    # the first round is left out: plans of transforms, spectra of filters, compiled code
    a, b = (statistics.median(each[1:]) * 1e3 for each in (theirs, ours))
    one, two = (np.clip(each.image, 0, 255).astype(np.uint8) for each in (expected, found))
    apart = np.abs(one.astype(int) - two)
    return (
        f"| {image.shape[0]} | {name} | {a:.0f} | {b:.1f} | {a / b:.1f} | "
        f"{expected.iterations}, {found.iterations} | "
        f"{np.mean(apart == 0):.4%} equal, at most {apart.max()} apart |"
    )


def timed(
    solve: Callable[..., Solution], image: Array, filters: Filters, options: argparse.Namespace
) -> tuple[Solution, float]:
    """Return the solution of a program, and its seconds."""
    started = time.perf_counter()
    solution = solve(image, filters, maxit=options.maxit, threshold=options.threshold)
    return solution, time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1000, 2000, 4096])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--maxit", type=int, default=50)
    parser.add_argument("--threshold", type=float, default=1e-2)
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        psutil.Process().cpu_affinity([psutil.Process().cpu_affinity()[-1]])
    print("| pixels | noise | pyvsnr, ms | here, ms | faster | iterations | outputs |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for size in options.sizes:
        image = DemoStack(shape=(1, size, size)).slice(0)
        for name in NOISES:
            print(line(image, name, options), flush=True)


if __name__ == "__main__":
    main()
