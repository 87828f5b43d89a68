"""Take severe curtains out of one slice, and draw the slice before, after, and what was taken.

    python benchmarks/curtains.py slice.tif curtains.png

Prints how much of the stripes' energy is left, and how well edges are kept. The filters were
found by eye on a slice of tissue and bare resin, 607 x 1025 pixels: narrow and short, since
curtains end and bend; two degrees to either side, since some lean; weak, since stronger ones
also take the glow along membranes that stand upright. Along the uppermost and lowermost rows
ends of stripes stay: VSNR takes the slice as periodic.
"""

from __future__ import annotations

import argparse

import matplotlib
import numpy as np
import tifffile
from matplotlib import pyplot

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.typing import Array
from pystack3d_dask.corrections.destriping import Destriping
from pystack3d_dask.kernels.destriping.vsnr import Filter

WEDGE = 0.1
"""Slope of the wedge of frequencies that curtains fill: cycles along y by those along x."""

DESTRIPING = Destriping(
    filters=tuple(
        Filter(name="Gabor", noise_level=3, sigma=(0.3, 20), theta=theta) for theta in (0, 2, -2)
    ),
    maxit=200,
    cvg_threshold=1e-3,
)


def destriped(image: Array, step: Destriping = DESTRIPING) -> Array:
    """Return one slice without its stripes, shape (rows, columns)."""
    spec = StackSpec(shape=(1, *image.shape), dtype=image.dtype, source_dtype=image.dtype)
    values, _ = step.apply(Block(image[np.newaxis], spec.region, spec.region, spec))
    return np.asarray(values[0])


def stripe_energy(image: Array) -> float:
    """Return the energy of vertical stripes, in squared gray levels.

    That is the energy of the difference from column to column in the frequencies where
    stripes along y have theirs: up to `WEDGE` cycles along y for each along x, which takes in
    stripes that lean by 6 degrees, or end after a few times their width. A window leaves out
    the borders, whose mismatch would fill the same frequencies.
    """
    rows, columns = image.shape
    window = np.hanning(rows)[:, None] * np.hanning(columns - 1)
    power = np.abs(np.fft.fft2(np.diff(image.astype(float), axis=1) * window)) ** 2
    along, across = np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns - 1)
    is_stripe = (np.abs(along) <= WEDGE * np.abs(across)) & (across != 0)
    return float(power[is_stripe].mean() / power.size)


def edges_kept(before: Array, after: Array) -> tuple[float, float]:
    """Return how alike edges are, and how much of their contrast is left; 1 is all.

    Both speak of differences from row to row, of which stripes along y have next to none:
    their correlation, and the slope of those after on those before.
    """
    one, two = (np.diff(image.astype(float), axis=0).ravel() for image in (before, after))
    return float(np.corrcoef(one, two)[0, 1]), float(one @ two / (one @ one))


def draw(before: Array, after: Array, path: str) -> None:
    """Write a picture: before, after, and what was removed around the same middle gray."""
    low, high = np.percentile(before, [0.5, 99.5])
    middle = (low + high) / 2
    panels = {
        "before": before,
        "after": after,
        "removed": before.astype(float) - after + middle,
    }
    rows, columns = before.shape
    is_wide = columns > rows
    shape = (3, 1) if is_wide else (1, 3)
    size = (columns / 100 * shape[1], (rows + 30) / 100 * shape[0])
    figure, axes = pyplot.subplots(*shape, figsize=size, layout="constrained")
    for axis, (title, image) in zip(axes, panels.items(), strict=True):
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main() -> None:
    """Destripe the slice and draw it."""
    matplotlib.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", help="a slice with curtains along y, a TIFF file")
    parser.add_argument("picture", help="the PNG file to write")
    options = parser.parse_args()
    before = tifffile.imread(options.image)
    after = destriped(before)
    alike, contrast = edges_kept(before, after)
    print(f"stripe energy left:         {stripe_energy(after) / stripe_energy(before):7.1%}")
    print(f"edges alike:                {alike:7.3f}")
    print(f"contrast of edges left:     {contrast:7.1%}")
    draw(before, after, options.picture)


if __name__ == "__main__":
    main()
