"""Time destriping on a GPU, from host memory to host memory, beside pyvsnr's CuPy path.

    python benchmarks/gpu_destriping.py --slices 2000 --size 2000

Both programs take 8 bit slices of the demo stack, ours in batches where they are small, with the
two filters of PyStack3D's published timings, and give 8 bit slices back. Prints seconds for all
slices, the card, the memory bandwidth that it reaches when it copies, and how much of that the
iterations use, by the bytes that they cannot do without (`BYTES`). Needs CuPy and pyvsnr;
``--cpu`` tries the script, and the same code on NumPy, where there is no GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from destriping import published

from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.typing import Array
from pystack3d_dask.corrections.destriping import Destriping
from pystack3d_dask.demo import DemoStack
from pystack3d_dask.kernels.backend import has_gpu, to_gpu, to_host
from pystack3d_dask.kernels.destriping.vsnr_arrays import remove_noise_on_arrays

BYTES = {
    "sweep: reads image and noise, reads and writes both duals, writes the divergence": 28,
    "transform: reads and writes once along each axis": 16,
    "spectrum: reads divergence and amplitude, reads and writes x, writes the noise": 18,
    "inverse transform": 16,
}
"""Per pixel and iteration, in float32; a real image's spectrum has half the frequencies."""

DISTINCT = 16  # slices, taken in turn
FILTERS = published(0)
HOW = {"maxit": 50, "threshold": 1e-2}
Destripe = Callable[[Array], tuple[Array, int]]
"""Takes slices, shape (slices, rows, columns); returns them, and the iterations of all."""


def ours(send: Callable[[Array], Any]) -> Destripe:
    """Return what sends slices somewhere, destripes them there and fetches them."""

    def destripe(images: Array) -> tuple[Array, int]:
        found = remove_noise_on_arrays(send(images), FILTERS, **HOW)
        fetched = [to_host(each.image.clip(0, 255).astype(np.uint8)) for each in found]
        return np.stack(fetched), sum(each.iterations for each in found)

    return destripe


def theirs(algorithm: str) -> Destripe:
    """Return the same of pyvsnr, which takes slices one by one."""
    import pyvsnr

    kinds = [
        {"name": f.name, "noise_level": f.noise_level, "sigma": f.sigma, "theta": f.theta}
        for f in FILTERS
    ]

    def destripe(images: Array) -> tuple[Array, int]:
        found, changes = pyvsnr.vsnr2d(
            images.astype(np.float32),
            kinds,
            maxit=HOW["maxit"],
            cvg_threshold=HOW["threshold"],
            algo=algorithm,
            norm=False,
            return_cvg=True,
        )
        clipped = np.clip(to_host(found), 0, 255).astype(np.uint8)
        return clipped.reshape(images.shape), len(changes) + 1

    return destripe


def timed(destripe: Destripe, images: Array, count: int, batch: int) -> tuple[float, int]:
    """Return seconds for a number of slices, and the iterations of all; the first is extra."""
    destripe(images[:batch])
    started, iterations = time.perf_counter(), 0
    for first in range(0, count, batch):
        numbers = np.arange(first, min(first + batch, count)) % len(images)
        iterations += destripe(images[numbers])[1]
    return time.perf_counter() - started, iterations


def copying() -> float:
    """Return the bytes that the card reads and writes per second when it copies."""
    import cupy

    source = cupy.zeros(2**28, cupy.float32)
    target = cupy.empty_like(source)
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    for _ in range(2):  # the first time is for warming up
        begin.record()
        for _ in range(10):
            cupy.copyto(target, source)
        end.record()
        end.synchronize()
    seconds = cupy.cuda.get_elapsed_time(begin, end) / 1e3
    return float(10 * 2 * source.nbytes / seconds)


def card() -> str:
    """Return the name of the GPU."""
    import cupy

    return str(cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--batch", type=int, help="slices at once; as a run does by default")
    parser.add_argument("--cpu", action="store_true", help="NumPy's arrays instead of CuPy's")
    options = parser.parse_args(arguments)
    if not options.cpu and not has_gpu():
        sys.exit("not measured: CuPy is not installed, or finds no GPU; --cpu tries the script")
    stack = DemoStack(shape=(min(DISTINCT, options.slices), options.size, options.size))
    images = np.stack([stack.slice(z) for z in range(stack.shape[0])])
    spec = StackSpec(shape=images.shape, dtype=images.dtype, source_dtype=images.dtype)
    batch = options.batch or min(options.slices, Destriping(filters=FILTERS).gpu_batch(spec))
    mine, other = (
        ours(np.asarray if options.cpu else to_gpu),
        theirs("numpy" if options.cpu else "cupy"),
    )
    (one, _), (two, _) = mine(images[:1]), other(images[:1])
    apart = np.abs(one.astype(int) - two)
    print(f"{options.slices} slices of {options.size} x {options.size}, host to host")
    print(f"equal {np.mean(apart == 0):.4%}, at most {apart.max()} apart")
    seconds, iterations = timed(other, images, options.slices, 1)
    print(f"pyvsnr: {seconds:.2f} s, {iterations / options.slices:.1f} iterations per slice")
    seconds, iterations = timed(mine, images, options.slices, batch)
    each = iterations / options.slices
    print(f"here: {seconds:.2f} s, {each:.1f} iterations per slice, {batch} slices at once")
    moved = sum(BYTES.values()) * options.size**2 * iterations
    print(
        f"the iterations move {moved / seconds / 1e9:.1f} GB/s, by {sum(BYTES.values())} bytes each"
    )
    if not options.cpu:
        print(f"{card()}: copies at {copying() / 1e9:.1f} GB/s")


if __name__ == "__main__":
    main()
