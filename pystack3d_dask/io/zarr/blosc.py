"""Blosc buffers that are not whole are refused: the library reads on behind their end.

What it finds there is no error, but other pixels each time, or the end of the process. These codecs
look at the length first; what is damaged inside the library finds out by itself.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numcodecs
import zarr
from zarr import AsyncArray
from zarr.codecs import BloscCodec, ShardingCodec
from zarr.core.metadata import ArrayV2Metadata

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


def refusing_cut_buffers(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return an array that is decoded with these codecs; no other array is."""
    opened = array._async_array
    metadata: Any = opened.metadata
    if isinstance(metadata, ArrayV2Metadata):
        checked: Any = replace(metadata, compressor=_refusing(metadata.compressor))
    else:
        checked = replace(metadata, codecs=tuple(map(_refusing, metadata.codecs)))
    return zarr.Array(AsyncArray(metadata=checked, store_path=opened.store_path))


def _refusing(codec: Any) -> Any:
    if isinstance(codec, ShardingCodec):
        return replace(codec, codecs=tuple(map(_refusing, codec.codecs)))
    if isinstance(codec, BloscCodec):
        return WholeBloscCodec.from_dict(codec.to_dict())
    if isinstance(codec, numcodecs.Blosc):
        options = {name: value for name, value in codec.get_config().items() if name != "id"}
        return WholeBlosc(**options)
    return codec
