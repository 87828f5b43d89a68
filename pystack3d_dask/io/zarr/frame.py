"""What holds the pixels of an OME-Zarr image together: metadata and coordinates.

Records of blocks speak of pixels; this is how damage of the rest is noticed. Attributes of the
root and further groups are left out: others may write there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import google_crc32c

from pystack3d_dask.core.spec import AXES

METADATA = "zarr.json"


def frame_checksum(path: Path | str) -> int:
    """Return the CRC-32C of the metadata below the root, and of all coordinates."""
    checksum = 0
    for file in _files(path):
        checksum = google_crc32c.extend(checksum, file.read_bytes())
    return checksum


def has_frame(path: Path | str, checksum: object) -> bool:
    """Return whether an image has a frame with this checksum, and a root that agrees with it."""
    try:
        root = json.loads(Path(path, METADATA).read_bytes())
        consolidated = root["consolidated_metadata"]["metadata"]
        return frame_checksum(path) == checksum and all(
            _without_members(consolidated[file.parent.relative_to(path).as_posix()])
            == _without_members(json.loads(file.read_bytes()))
            for file in _files(path)
            if file.name == METADATA
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _without_members(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != "consolidated_metadata"}


def _files(path: Path | str) -> list[Path]:
    found: list[Path] = []
    for scale in sorted(Path(path).glob("scale*")):
        found += [scale / METADATA, scale / "image" / METADATA]
        for name in ("c", *AXES):
            found += sorted(file for file in (scale / name).rglob("*") if file.is_file())
    return found
