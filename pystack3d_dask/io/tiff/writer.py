"""Slices as TIFF files, stored like the slices of the source, with their private tags.

Tags are copied as bytes, without looking into them: what a microscope wrote about a slice
leaves as it came. An ASCII value that lacks its terminating zero gets one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tifffile import TiffFile, TiffPage, TiffWriter

from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.tiff.header import RESOLUTION_UNITS
from pystack3d_dask.io.tiff.page import Plane, page_at
from pystack3d_dask.io.zarr.chunk import replacing

Rational = tuple[int, int]
Resolution = tuple[Rational, Rational, int]

FIRST_PRIVATE = 32768
# what says how a file is arranged, or points to other places of it, is not true of another:
# volumes, color filters, scanners' gray scales, MetaMorph, FluoView, LSM, NIH Image, Olympus,
# Hamamatsu and ImageJ stacks, Exif and its like, the parameters of a codec
STRUCTURAL = frozenset(
    {32995, 32996, 32997, 32998, 33421, 33422, 33560, 34412, 34665, 34853, 40965, 43314, 50674}
    | {*range(33445, 33453), *range(33628, 33632), *range(34361, 34364), 50838, 50839}
    | {*range(65420, 65459)}
)
# bytes of one item by TIFF type; types that point to other headers are left out
ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
ITEM_BYTES_BIG = {16: 8, 17: 8}
RATIONALS = {5: "u4", 10: "i4"}
CODECS = {1: None, 5: "lzw", 8: "zlib", 32946: "zlib", 32773: "packbits", 50000: "zstd"}
CENTIMETER = 3
NO_UNIT = 1
MICROMETERS_PER_CENTIMETER = 10_000
TILE_UNIT = 16
WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class Tag:
    """A private tag.

    Parameters
    ----------
    code, kind : int
        Number of the tag, and TIFF type of its items.
    data : bytes
        The items.
    """

    code: int
    kind: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a page is stored, and what it carries beside its pixels.

    Parameters
    ----------
    byteorder : {"<", ">"}
        Of the file, and of ``tags``.
    codec : str, optional
        Compression, as tifffile names it; None for none.
    predictor : bool
        Whether differences of neighbors are compressed.
    tile : tuple of int, optional
        Rows and columns of a tile; strips without it.
    rows : int, optional
        Rows of a strip.
    white_is_zero : bool
        Whether viewers show small values as white.
    resolution : tuple, optional
        Pixels per unit along x and y as fractions, and the unit as TIFF counts it.
    tags : tuple of Tag
        Private tags.
    """

    byteorder: Literal["<", ">"] = "<"
    codec: str | None = "zlib"
    predictor: bool = False
    tile: tuple[int, int] | None = None
    rows: int | None = None
    white_is_zero: bool = False
    resolution: Resolution | None = None
    tags: tuple[Tag, ...] = ()

    @property
    def is_big(self) -> bool:
        """Whether only a BigTIFF can hold all tags."""
        return any(tag.kind in ITEM_BYTES_BIG for tag in self.tags)

    def resolution_of(self, pixel_size: tuple[float, float] | None) -> Resolution | None:
        """Return the resolution to write for pixels of a size.

        Parameters
        ----------
        pixel_size : tuple of float, optional
            Height and width in micrometers.

        Returns
        -------
        tuple, optional
            The source's own where it says the same or the size is not known, else pixels
            per centimeter.
        """
        if pixel_size is None or self._says(pixel_size):
            return self.resolution
        if min(pixel_size) <= MICROMETERS_PER_CENTIMETER / 2**31:  # more than the tags can hold
            return None
        height, width = pixel_size
        return (
            fraction(MICROMETERS_PER_CENTIMETER / width),
            fraction(MICROMETERS_PER_CENTIMETER / height),
            CENTIMETER,
        )

    def _says(self, pixel_size: tuple[float, float]) -> bool:
        if self.resolution is None or self.resolution[2] not in RESOLUTION_UNITS:
            return False
        x, y, unit = self.resolution
        # per length of a pixel there is one pixel
        return all(
            isclose(length * count[0], RESOLUTION_UNITS[unit] * count[1], rel_tol=1e-4)
            for length, count in zip(pixel_size, (y, x), strict=True)
        )


def read_style(folder: str, plane: Plane) -> Style:
    """Return how a slice of the source is stored, and its private tags.

    Compressions that lose something, and those that cannot be written, become deflate.

    Parameters
    ----------
    folder : str
        Directory of the file.
    plane : Plane
        The slice.

    Raises
    ------
    PixelError
        Naming the file, when its header cannot be read.
    """
    path = os.path.join(folder, plane.file)
    try:
        with TiffFile(path) as tif:
            return _style(page_at(tif, plane.header, plane.page))
    except MemoryError:
        raise
    except Exception as error:  # damaged headers may raise anything
        msg = f"{path}, page {plane.page}: its tags cannot be read: {error or type(error).__name__}"
        raise PixelError(msg) from error


def write_slice(path: Path, image: Array, style: Style) -> None:
    """Write a TIFF file with one slice, in place of what there was, whole or not at all.

    Parameters
    ----------
    path : Path
        The file.
    image : ndarray, shape (rows, columns)
        Any type that TIFF knows.
    style : Style
        How to store it; resolution and tags are written as they stand there.
    """
    # tifffile chooses BigTIFF by itself only when it opens the file
    is_big = style.is_big or image.nbytes > 2**32 - 2**25
    with (
        replacing(path) as file,
        TiffWriter(file, bigtiff=is_big, byteorder=style.byteorder) as writer,
    ):
        writer.write(image, **_options(image, style, style.byteorder))


class StackWriter:
    """Appends slices to a BigTIFF; made by `stack_writer`."""

    def __init__(self, writer: TiffWriter, byteorder: str, threads: int) -> None:
        self._writer = writer
        self._byteorder = byteorder
        self._threads = threads

    def append(self, image: Array, style: Style, description: str | None = None) -> None:
        """Write the next slice, with a description where one is given."""
        options = _options(image, style, self._byteorder)
        self._writer.write(image, description=description, maxworkers=self._threads, **options)


@contextmanager
def stack_writer(
    path: Path, byteorder: Literal["<", ">"] = "<", threads: int = 1
) -> Iterator[StackWriter]:
    """Open a BigTIFF for writing slice by slice; it is at ``path`` once it is complete.

    Parameters
    ----------
    path : Path
        The file.
    byteorder : {"<", ">"}
        Of the file.
    threads : int
        How many tiles or strips of a slice are compressed at once.
    """
    with (
        replacing(path) as file,
        TiffWriter(file, bigtiff=True, byteorder=byteorder) as writer,
    ):
        yield StackWriter(writer, byteorder, threads)


def stack_description(spec: StackSpec) -> str:
    """Return what ImageJ writes about a stack in a file, from which others take it too.

    The unit is micrometers where `StackSpec.spacing` is, with a spacing in all cases: ImageJ
    would take slices without one for 1 micrometer apart.
    """
    slices = spec.shape[0]
    lines = ["ImageJ=1.11a", f"images={slices}", f"slices={slices}", "loop=false"]
    if _is_known(spec):
        lines += ["unit=micron" if spec.is_measured else "unit=pixel"]
        lines += [f"spacing={spec.spacing()[0]:.9g}"]
        lines += [f"{axis}origin={voxels:.9g}" for axis, voxels in _origin(spec) if voxels]
    return "\n".join([*lines, ""])


def _origin(spec: StackSpec) -> Iterator[tuple[str, float]]:
    """Yield how many voxels the zero of the coordinates is behind the first voxel."""
    dz, *pixel = spec.spacing()
    for axis, first, offset, step in zip("yx", spec.origin, spec.offset[1:], pixel, strict=True):
        yield axis, -(first + offset / step)
    yield "z", -(min(spec.z) if spec.z else spec.offset[0]) / dz


def imagej_resolution(spec: StackSpec) -> Resolution | None:
    """Return the resolution that goes with `stack_description`: per its unit, not TIFF's.

    None where nothing is known of the voxels.
    """
    if not _is_known(spec):
        return None
    _, height, width = spec.spacing()
    return fraction(1 / width), fraction(1 / height), NO_UNIT


def _is_known(spec: StackSpec) -> bool:
    return spec.is_measured or spec.proportions is not None


def fraction(value: float) -> Rational:
    """Return a positive number below 2**31 as a fraction of two integers of 32 bits."""
    if value < 1:
        above, below = fraction(1 / value)
        return below, above
    denominator = 1 << (31 - max(0, int(value).bit_length()))
    return round(value * denominator), denominator


def _style(page: TiffPage) -> Style:
    compression, predictor = int(page.compression), int(page.predictor)
    return Style(
        byteorder=page.parent.byteorder,
        codec=CODECS.get(compression, "zlib"),
        predictor=predictor > 1,
        tile=(page.tilelength, page.tilewidth) if page.is_tiled else None,
        rows=None if page.is_tiled else int(page.rowsperstrip),
        white_is_zero=int(page.photometric) == WHITE_IS_ZERO,
        resolution=_resolution(page),
        tags=tuple(_private_tags(page)),
    )


def _resolution(page: TiffPage) -> Resolution | None:
    across, down = page.tags.valueof("XResolution"), page.tags.valueof("YResolution")
    if not (_is_positive(across) and _is_positive(down)):
        return None
    return across, down, int(page.resolutionunit)


def _is_positive(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and min(value) > 0


def _private_tags(page: TiffPage) -> Iterator[Tag]:
    tiff, file = page.parent.tiff, page.parent.filehandle
    sizes = ITEM_BYTES | ITEM_BYTES_BIG
    for tag in page.tags:
        kind = int(tag.dtype)
        if tag.code < FIRST_PRIVATE or tag.code in STRUCTURAL or kind not in sizes:
            continue
        size = tag.count * sizes[kind]
        # short values stand in the place of the offset, whatever tifffile takes it for
        inline = tag.offset + tiff.tagsize - tiff.tagoffsetthreshold
        file.seek(inline if size <= tiff.tagoffsetthreshold else tag.valueoffset)
        data = file.read(size)
        if len(data) < size:
            msg = f"the value of tag {tag.code} is cut short"
            raise ValueError(msg)
        yield Tag(int(tag.code), kind, data)


def _options(image: Array, style: Style, byteorder: str) -> dict[str, Any]:
    """Return the arguments of `TiffWriter.write` for a slice."""
    options: dict[str, Any] = {
        "photometric": "miniswhite" if style.white_is_zero else "minisblack",
        "compression": style.codec,
        "predictor": style.predictor and style.codec not in (None, "packbits"),
        "extratags": [_extratag(tag, style.byteorder, byteorder) for tag in style.tags],
        "metadata": None,
        "software": "pystack3d-dask",
    }
    if style.tile is not None:
        options["tile"] = tuple(-(-n // TILE_UNIT) * TILE_UNIT for n in style.tile)
    elif style.rows is not None:
        options["rowsperstrip"] = max(1, min(style.rows, len(image)))
    if style.resolution is not None:
        options["resolution"], options["resolutionunit"] = style.resolution[:2], style.resolution[2]
    return options


def _extratag(tag: Tag, byteorder: str, wanted: str) -> tuple[int, int, int, Any]:
    data = tag.data
    size = (ITEM_BYTES | ITEM_BYTES_BIG)[tag.kind]
    if tag.kind in RATIONALS:
        numbers = np.frombuffer(data, f"{byteorder}{RATIONALS[tag.kind]}")
        return tag.code, tag.kind, len(numbers) // 2, tuple(numbers.tolist())
    if size > 1 and byteorder != wanted:
        data = np.frombuffer(data, f"u{size}").byteswap().tobytes()
    return tag.code, tag.kind, len(data) // size, data
