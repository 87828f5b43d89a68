"""TIFF files for tests, written by tifffile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from pystack3d_dask.io.tiff.stack import TiffStack, open_tiff

DTYPES = ("uint8", "int8", "uint16", "int16", "float32", "float64")
COMPRESSIONS: dict[str, dict[str, Any]] = {
    "raw": {},
    "deflate": {"compression": "zlib"},
    "deflate-predictor": {"compression": "zlib", "predictor": True},
    "lzw": {"compression": "lzw"},
    "lzw-predictor": {"compression": "lzw", "predictor": True},
    "zstd": {"compression": "zstd"},
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one-strip": {"rowsperstrip": 61},
    "strips-of-7": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "tile-larger-than-image": {"tile": (128, 256)},
}
SHAPE = (61, 53)


def image(dtype: str, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Any:
    """Return values over the whole range of the type, not compressible to nothing."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.standard_normal(shape) * 1e3).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def write(folder: Path, stack: Sequence[Any], name: str = "s{:03d}.tif", **options: Any) -> Path:
    """Write one file per slice."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"photometric": "minisblack"} | options
    for k, pixels in enumerate(stack):
        tifffile.imwrite(folder / name.format(k), pixels, **options)
    return folder


def opened(path: Path, **options: Any) -> TiffStack:
    return open_tiff({".": path}, **options)


def whole(stack: TiffStack, channel: int = 0) -> Any:
    return stack.read(channel, stack.specs[channel].region)


def segments(path: Path) -> list[tuple[int, int]]:
    """Return offset and size of every strip or tile of the first page."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        return list(zip(page.dataoffsets, page.databytecounts, strict=True))
