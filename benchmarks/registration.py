"""Time both methods that find shifts, and measure their errors against shifts that are known.

    python benchmarks/registration.py --sizes 128 500 --pairs 8

Pairs of images of a texture, moved by the phases of its spectrum, so that the shift is exact,
with new noise in each. Prints for each size, grain of the texture and noise the median of the
milliseconds per pair, their ratio, and the median and largest error of both, in pixels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy import ndimage

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.registration.phase_correlation import register_shift
from pystack3d_dask.kernels.registration.stackreg import register

MARGIN = 40  # pixels around the images, beyond the largest shift
LARGEST = 4.0  # pixels, along either axis
GRAINS = (1.5, 4.0, 10.0)  # pixels: standard deviation of the blur that makes the texture
NOISES = (2.0, 15.0, 30.0)  # gray levels; the texture has a standard deviation of about 35

Register = Callable[[Array, Array], Array]


def pair(size: int, grain: float, noise: float, shift: Array, seed: int) -> tuple[Array, Array]:
    """Return two images, the second one moved by ``shift``, (y, x)."""
    rng = np.random.default_rng(seed)
    whole = size + 2 * MARGIN
    texture = ndimage.gaussian_filter(rng.standard_normal((whole, whole)), grain, mode="wrap")
    texture = ndimage.gaussian_filter(np.tanh(2 * texture / texture.std()), 0.7, mode="wrap")
    y, x = np.fft.fftfreq(whole)[:, None], np.fft.fftfreq(whole)
    phases = np.exp(-2j * np.pi * (y * shift[0] + x * shift[1]))
    moved = np.fft.ifft2(np.fft.fft2(texture) * phases).real
    inner = slice(MARGIN, MARGIN + size)
    seen = (
        128 + 40 * image[inner, inner] + noise * rng.standard_normal((size, size))
        for image in (texture, moved)
    )
    first, second = (np.clip(np.rint(each), 0, 255).astype(np.uint8) for each in seen)
    return first, second


def line(size: int, grain: float, noise: float, count: int) -> str:
    """Register some pairs by both methods, and return the line of the table."""
    methods: dict[str, Register] = {
        "StackReg": partial(register, transformation="TRANSLATION"),
        "phase": register_shift,
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    errors: dict[str, list[float]] = {name: [] for name in methods}
    for seed in range(count):
        shift = np.random.default_rng(1000 + seed).uniform(-LARGEST, LARGEST, 2)
        images = pair(size, grain, noise, shift, seed)
        for name, method in methods.items():
            started = time.perf_counter()
            matrix = method(*images)
            seconds[name].append(time.perf_counter() - started)
            errors[name].append(float(np.hypot(*(matrix[:2, 2] - shift[::-1]))))
    theirs, ours = (statistics.median(each) * 1e3 for each in seconds.values())
    found = " | ".join(f"{np.median(e):.4f}, {max(e):.4f}" for e in errors.values())
    return (
        f"| {size} | {grain:g} | {noise:g} | {theirs:.1f} | {ours:.1f} "
        f"| {theirs / ours:.1f} | {found} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 500])
    parser.add_argument("--pairs", type=int, default=8)
    options = parser.parse_args(arguments)
    line(options.sizes[0], 4.0, 2.0, 1)  # compiles
    print("| pixels | grain | noise | StackReg, ms | phase, ms | faster | error | error, phase |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for size in options.sizes:
        for grain in GRAINS:
            for noise in NOISES:
                print(line(size, grain, noise, options.pairs), flush=True)


if __name__ == "__main__":
    main()
