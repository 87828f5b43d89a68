"""Blosc buffers that are not whole are refused: the library reads on behind their end.

What it finds there is no error, but other pixels each time, or the end of the process. These codecs
look at the length first; what is damaged inside the library finds out by itself.
"""

from __future__ import annotations

import struct
from typing import Any

import numcodecs
import zarr
from zarr.codecs import BloscCodec
from zarr.registry import register_codec

HEADER = struct.Struct("<4B3I")  # versions, flags, type size; bytes decoded, of a block, of all


def check_whole(buffer: Any) -> None:
    """Check that a buffer is as long as its header tells.

    Raises
    ------
    ValueError
        When it is not.
    """
    data = memoryview(buffer).cast("B")
    told = HEADER.unpack_from(data)[-1] if len(data) >= HEADER.size else HEADER.size
    if len(data) != told:
        message = f"a Blosc buffer of {told} bytes is cut short or damaged: {len(data)} are there"
        raise ValueError(message)


class WholeBlosc(numcodecs.Blosc):  # type: ignore[misc]  # numcodecs is not typed
    """The codec of Zarr format 2."""

    codec_id = "blosc"

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a buffer that is whole."""
        check_whole(buf)
        return super().decode(buf, out)


class WholeBloscCodec(BloscCodec):  # type: ignore[misc]  # nor is zarr
    """The codec of Zarr format 3."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check_whole(chunk_bytes.as_numpy_array())
        return super()._decode_sync(chunk_bytes, chunk_spec)

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check_whole(chunk_bytes.as_numpy_array())
        return await super()._decode_single(chunk_bytes, chunk_spec)


def refuse_cut_buffers() -> None:
    """Have zarr decode with these, in all arrays that this process opens from now on."""
    numcodecs.register_codec(WholeBlosc)
    register_codec("blosc", WholeBloscCodec)
    name = f"{WholeBloscCodec.__module__}.{WholeBloscCodec.__qualname__}"
    zarr.config.set({"codecs.blosc": name})
