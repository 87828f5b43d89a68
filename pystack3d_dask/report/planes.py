"""Cut planes and cube faces of a stack before and after, read without reading the stack.

Slices are taken from a level of the result's pyramid, and pooled as much before. Where there
are many, or where they are large, only some are read: planes along z are then made of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.chain import Chain, source_slice
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.io.ome.image import ResultReader
from pystack3d_dask.io.ome.pyramid import pooled
from pystack3d_dask.io.work import Level
from pystack3d_dask.report.known import RunKnown

WIDEST = 1000  # rows or columns of a picture
MOST_SLICES = 256  # that are read of a channel
MOST_BYTES = 2**30  # that are decoded of a channel before corrections
FEWEST_SLICES = 32  # that are read however large they are
THINNEST = 0.25  # of the shorter side of a slice: thinner stacks are drawn so thick
CONTRAST = (0.5, 99.5)  # percentiles that are drawn black and white

ReadSlice = Callable[[int], Array]


@dataclass(frozen=True, kw_only=True)
class Planes:
    """Planes through the middle of a stack, and faces of its cube.

    Parameters
    ----------
    xy, xz, yz : ndarray
        Planes through the middle: rows are y, z and y; columns x, x and z.
    front, top, right : ndarray
        Faces of the cube: the first slice, rows y and columns x; the first row of all slices,
        z and x; their last column, y and z.
    size : tuple of float
        Extent along z, y and x, in ``unit``.
    unit : str
        "µm", or "pixels" where the size of voxels is not known.
    slices, read : int
        How many slices the stack has, and how many of them were read.
    """

    xy: Array
    xz: Array
    yz: Array
    front: Array
    top: Array
    right: Array
    size: tuple[float, float, float]
    unit: str
    slices: int
    read: int

    @property
    def shown_depth(self) -> float:
        """Extent along z as it is drawn: thin stacks are stretched, long ones compressed."""
        depth, height, width = self.size
        return float(np.clip(depth, THINNEST * min(height, width), max(height, width)))

    @property
    def limits(self) -> tuple[float, float]:
        """Gray levels that are drawn black and white, in all pictures alike."""
        shown = np.concatenate([self.xy.ravel(), self.xz.ravel(), self.yz.ravel()])
        low, high = np.percentile(shown, CONTRAST)
        return float(low), float(high) if high > low else float(low) + 1


def planes_before(known: RunKnown, channel: int) -> Planes:
    """Return the planes of the part of the acquisition that the result shows.

    While there is no result, of the acquisition itself.

    Raises
    ------
    PixelError
        When slices cannot be read.
    """
    chain = known.chains[channel]
    end = len(chain.steps) if known.is_complete else 0
    spec = chain.levels[end]
    read = _reader_before(known, channel)
    factor = _factor(spec, known)

    def pooled_slice(z: int) -> Array:
        image = read(chain, end, z)
        return _first(pooled(image[np.newaxis], [factor])[0])

    return _planes(spec, pooled_slice, _slices_read(spec))


def planes_after(known: RunKnown, channel: int) -> Planes:
    """Return the planes of the complete result.

    Raises
    ------
    DamageError
        When its pixels are damaged.
    """
    reader = ResultReader(known.project.workspace.result)
    spec = known.chains[channel].levels[-1]
    level = _level(reader)
    depth = reader.downsampling(level)[0]
    return _planes(spec, lambda z: reader.read(channel, z // depth, level), _slices_read(spec))


def _planes(spec: StackSpec, read: ReadSlice, chosen: Array) -> Planes:
    slices = spec.shape[0]
    middle = slices // 2
    xz, yz, top, right = [], [], [], []
    xy = front = read(int(chosen[0]))
    for z in chosen.tolist():
        image = read(z)
        row, column = (n // 2 for n in image.shape)
        xz.append(image[row])
        yz.append(image[:, column])
        top.append(image[0])
        right.append(image[:, -1])
        if z <= middle:
            xy = image
    depth, height, width = (n * step for n, step in zip(spec.shape, spec.spacing(), strict=True))
    return Planes(
        xy=xy,
        xz=np.stack(xz),
        yz=np.stack(yz, axis=1),
        front=front,
        top=np.stack(top),
        right=np.stack(right, axis=1),
        size=(depth, height, width),
        unit=spec.unit,
        slices=slices,
        read=len(chosen),
    )


def _slices_read(spec: StackSpec) -> Array:
    """Return the slices that are read, the first and the last among them."""
    rows, columns = spec.shape[1:]
    fitting = MOST_BYTES // max(1, rows * columns * spec.source_dtype.itemsize)
    count = min(spec.shape[0], max(FEWEST_SLICES, min(MOST_SLICES, fitting)))
    return np.unique(np.linspace(0, spec.shape[0] - 1, count).round().astype(int))


def _level(reader: ResultReader) -> int:
    """Return the finest level that is not wider than a picture."""
    levels = range(reader.levels)
    return next((k for k in levels if max(reader.shape(k)[2:]) <= WIDEST), levels[-1])


def _factor(spec: StackSpec, known: RunKnown) -> Triple:
    """Return by how much slices are pooled: as in the result, if there is one."""
    if known.is_complete:
        reader = ResultReader(known.project.workspace.result)
        return (1, *reader.downsampling(_level(reader))[1:])
    factor = 1 << max(0, int(np.ceil(np.log2(max(spec.shape[1:]) / WIDEST))))
    return 1, factor, factor


def _reader_before(known: RunKnown, channel: int) -> Callable[[Chain, int, int], Array]:
    """Return what reads, from what is stored or else the source, what a slice of a level shows."""
    project, level = known.project, _ingested(known)

    def read(chain: Chain, end: int, z: int) -> Array:
        region = source_slice(chain, end, chain.levels[end].region.with_z(z, z + 1))
        if level is None:
            return _first(project.source.read(channel, region))
        spec = chain.levels[level]
        origin = zip(chain.source.origin, spec.origin, strict=True)
        inside = region.shifted([0, *(a - b for a, b in origin)])
        stored = Level(project.workspace.level(project.steps, level))
        return _first(stored.read(channel, inside, spec.dtype))

    return read


def _ingested(known: RunKnown) -> int | None:
    """Return the stored level that still has the gray levels of the acquisition, if there is one.

    Without a result the whole acquisition is shown, which only level 0 has.
    """
    steps = known.project.steps
    for level in sorted(known.stored.stored - {len(steps)}):
        if all(step.keeps_values for step in steps[:level]) and (known.is_complete or not level):
            return level
    return None


def _first(block: Array) -> Array:
    image: Array = block[0]
    return image
