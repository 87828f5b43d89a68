"""Small arrays that belong together, as a Zarr group that tells when it is damaged.

Zarr takes a missing chunk for zeros: what was written is therefore compared, as a whole, with
a checksum in the attributes of the group.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr

from pystack3d_dask.core.typing import Arrays
from pystack3d_dask.io.work import attributes, remove_store


def save_arrays(path: Path, arrays: Arrays, token: str, **attrs: Any) -> None:
    """Store arrays, in place of what there was; they count once all are there.

    Parameters
    ----------
    path : Path
        Directory of the group.
    arrays : dict of str to ndarray
        By name; slashes in names make groups inside.
    token : str
        What `load_arrays` asks for.
    attrs
        Further attributes of the group.
    """
    remove_store(path)
    group = zarr.create_group(path)
    for name, value in arrays.items():
        inside, _, last = name.rpartition("/")
        parent = group.require_group(inside) if inside else group
        parent.create_array(last, data=np.asarray(value), compressors=None)
    group.update_attributes({**attrs, "token": token, "checksum": _checksum(arrays)})


def load_arrays(path: Path, token: str) -> tuple[Arrays, dict[str, Any]] | None:
    """Return arrays and attributes; None if they are of another token, or not as written."""
    attrs = attributes(path)
    if attrs.get("token") != token:
        return None
    try:
        members = zarr.open_group(path, mode="r").members(max_depth=None)
        arrays = {
            name: np.asarray(member[...])
            for name, member in members
            if isinstance(member, zarr.Array)
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError, RuntimeError):  # as zarr raises
        return None
    return (arrays, attrs) if _checksum(arrays) == attrs.get("checksum") else None


def _checksum(arrays: Mapping[str, Any]) -> int:
    found = 0
    for name, value in sorted(arrays.items()):
        array = np.ascontiguousarray(value)
        described = f"{name} {array.dtype.newbyteorder('<')} {np.shape(value)}"
        found = google_crc32c.extend(found, described.encode() + array.tobytes())
    return found
