"""Zarr's store of files, careful about what damaged files ask of it."""

from __future__ import annotations

from typing import Any

from zarr.abc.store import RangeByteRequest
from zarr.storage import LocalStore


class CarefulStore(LocalStore):  # type: ignore[misc]  # zarr is not typed
    """A store that does not read behind the end of a file.

    The damaged index of a shard may say that a chunk has any number of bytes, and zarr would
    ask for that much memory.
    """

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Return bytes of a file; None where there is no such file."""
        path = self.root / key
        if isinstance(byte_range, RangeByteRequest) and path.is_file():
            size = path.stat().st_size
            # sums that are too large for zarr's integers come as ends before the start
            if not byte_range.start <= byte_range.end <= size:
                message = (
                    f"{path} is cut short or its index is damaged: bytes {byte_range.start} to "
                    f"{byte_range.end} of {size} wanted"
                )
                raise ValueError(message)
        return await super().get(key, prototype, byte_range)
