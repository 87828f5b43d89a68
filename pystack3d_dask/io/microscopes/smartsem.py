"""Metadata that Zeiss SmartSEM writes into TIFF tag 34118 (``CZ_SEM``).

The tag holds text in Latin-1: a few unnamed numbers in SI units, then pairs of lines, a key such
as ``AP_IMAGE_PIXEL_SIZE`` and a label with a value, such as ``Image Pixel Size = 5.000 nm``. There
is no published schema. Keys and units were compared with independent readers (tifffile,
rosettasciio) and published dumps of LEO 1550 and Merlin instruments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from pystack3d_dask.io.microscopes.slice_metadata import (
    MetadataError,
    SliceMetadata,
    check_length,
    number,
    pixels,
    sizes,
    xyz,
)
from pystack3d_dask.io.units import micrometers_per

TAG = 34118
KEY = re.compile(r"[A-Z]{2}_[A-Z0-9_]+")
QUANTITY = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S*)")
STORED = re.compile(r"(\d{1,6})\s*\*\s*(\d{1,6})")  # columns and rows
METER = 1e6  # micrometers
DISPLAY = 1024  # columns of the display that AP_PIXEL_SIZE and the unnamed number refer to
UNNAMED_PIXEL_SIZE = 3  # line of the unnamed number that is the pixel size in meters


def parse(data: bytes, origin: str) -> SliceMetadata:
    """Return the metadata in tag 34118 of a slice.

    ``AP_IMAGE_PIXEL_SIZE`` is the size of a pixel of the stored image. Without it, it is
    computed from ``AP_PIXEL_SIZE``, which refers to a display of 1024 columns, or from the
    unnamed number, or from the field width ``AP_WIDTH``; these need the number of stored
    columns, ``DP_IMAGE_STORE``, without which ``AP_PIXEL_SIZE`` is used as it stands.

    Parameters
    ----------
    data : bytes
        Value of the tag.
    origin : str
        The file, as messages name it.

    Raises
    ------
    MetadataError
        When it is too large, or holds none of the keys.
    """
    check_length(len(data), origin)
    lines = data.decode("latin-1").replace("\0", "\n").splitlines()
    values = _values(lines)
    if not values:
        msg = f"{origin}: its metadata in tag {TAG} are damaged: no key such as AP_... in them"
        raise MetadataError(msg)
    stored = STORED.fullmatch(values.get("DP_IMAGE_STORE", ""))
    shape = pixels(int(stored[2]), int(stored[1])) if stored else None
    size = _pixel_size(values, lines, shape)
    return SliceMetadata(
        maker="Zeiss SmartSEM",
        shape=shape,
        pixel_size=sizes(size, size),
        detector=values.get("DP_DETECTOR_CHANNEL") or values.get("DP_DETECTOR_TYPE"),
        stage=xyz(_length(values.get(f"AP_STAGE_AT_{axis}", "")) for axis in "XYZ"),
        tilt=_first_number(values.get("AP_STAGE_AT_T", "")),
        bar=0,
    )


def _values(lines: list[str]) -> dict[str, str]:
    """Return the value of each key: what stands behind ``=`` or ``:`` in the line below it."""
    found: dict[str, str] = {}
    for key, line in pairwise(lines):
        if KEY.fullmatch(key.strip()) and (parts := re.split("[=:]", line, maxsplit=1))[1:]:
            found.setdefault(key.strip(), parts[1].strip())
    return found


def _pixel_size(
    values: Mapping[str, str], lines: list[str], shape: tuple[int, int] | None
) -> float | None:
    if size := _length(values.get("AP_IMAGE_PIXEL_SIZE", "")):
        return size
    displayed = _length(values.get("AP_PIXEL_SIZE", ""))
    if shape is None:
        return displayed
    unnamed = lines[UNNAMED_PIXEL_SIZE].strip() if len(lines) > UNNAMED_PIXEL_SIZE else ""
    if displayed := displayed or number(unnamed, METER):
        return displayed * DISPLAY / shape[1]
    width = _length(values.get("AP_WIDTH", ""))
    return width / shape[1] if width else None


def _length(text: str) -> float | None:
    """Return a length in micrometers; None without a number or with another unit."""
    found = QUANTITY.fullmatch(text)
    # the micro sign is often lost on the way
    scale = micrometers_per(found[2].replace("?", "u")) if found else None
    return number(found[1], scale) if found and scale else None


def _first_number(text: str) -> float | None:
    found = QUANTITY.match(text)
    return number(found[1]) if found else None
