"""Chunks of Zarr arrays as bytes, and files that appear whole or not at all.

Chunks are coded here, not by zarr, where they are many: one call of zarr's costs more than
compressing a small slice. The arrays stay ordinary ones that zarr reads.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import imagecodecs
import numpy as np
from zarr.codecs import BloscCodec, Crc32cCodec

from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import DamageError

# what `encode` does, in words for the array's metadata; bitshuffle is what makes lz4
# gain anything on noise
LEVEL = 5
CODECS = (BloscCodec(cname="lz4", clevel=LEVEL, shuffle="bitshuffle"), Crc32cCodec())
CHECKSUM_BYTES = 4
PARTIAL = re.compile(r"(?P<name>.+)\.[0-9a-f]{32}\.partial")  # what `replacing` writes to


READ_BYTES = 2**22  # at a time


class WrongBytesError(ValueError):
    """Bytes that are not those that were written."""


@dataclass(frozen=True)
class Written:
    """A file that was written: what it must still be when it is looked at again.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Its bytes.
    checksum : int
        Their CRC-32C.
    """

    path: Path
    size: int
    checksum: int

    def problem(self) -> str | None:
        """Return what is wrong with the file now; None if it is as it was written.

        Raises
        ------
        OSError
            When the operating system refuses to read, which says nothing about the file.
        """
        checksum, size = 0, 0
        try:
            with self.path.open("rb") as file:
                while data := file.read(READ_BYTES):
                    checksum = google_crc32c.extend(checksum, data)
                    size += len(data)
        except FileNotFoundError:
            return "it is missing"
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return "the disk cannot read it"
        if size != self.size:
            return f"it has {size} bytes, {self.size} were written"
        return None if checksum == self.checksum else "its checksum does not match"


def write_file(path: Path, parts: Iterable[bytes]) -> Written:
    """Write a file that takes the place of ``path`` when it is complete."""
    checksum, size = 0, 0
    with replacing(path) as file:
        for part in parts:
            file.write(part)
            checksum = google_crc32c.extend(checksum, part)
            size += len(part)
    return Written(path, size, checksum)


def encode(chunk: Array) -> bytes:
    """Return a chunk as the files hold it, compressed, with its checksum."""
    return with_checksum(compress(chunk, "lz4"))


def compress(chunk: Array, compressor: str) -> bytes:
    """Return the values of a chunk, little-endian, as a bit-shuffled Blosc buffer."""
    values: Any = np.ascontiguousarray(chunk, chunk.dtype.newbyteorder("<"))
    # imagecodecs, since numcodecs takes its number of threads from a global; the array itself,
    # since bytes would be shuffled as values of one byte, whatever size it is told
    data = imagecodecs.blosc_encode(
        values, level=LEVEL, compressor=compressor, shuffle="bitshuffle", numthreads=1
    )
    return bytes(data)


def decode(data: bytes, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """Return the chunk that `encode` made these bytes of, read-only.

    Raises
    ------
    WrongBytesError
        When the checksum does not match.
    """
    body, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if len(checksum) < CHECKSUM_BYTES or _checksum(body) != checksum:
        message = f"the checksum of its {len(data)} bytes does not match"
        raise WrongBytesError(message)
    values = np.frombuffer(imagecodecs.blosc_decode(body, numthreads=1), dtype.newbyteorder("<"))
    return values.reshape(shape)


def with_checksum(data: bytes) -> bytes:
    """Return the bytes with their CRC-32C behind them."""
    return data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    checksum: int = google_crc32c.value(data)
    return checksum.to_bytes(CHECKSUM_BYTES, "little")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of ``path`` when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where it is
        raise
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(directory: Path, names: Collection[str]) -> None:
    """Remove what processes that were killed left of files with these names."""
    for path in directory.iterdir():
        match = PARTIAL.fullmatch(path.name)
        if match is not None and match["name"] in names:
            path.unlink()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file when stored pixels turn out to be missing or damaged.

    Raises
    ------
    DamageError
    """
    try:
        yield
    except (FileNotFoundError, WrongBytesError) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
        raise DamageError(str(path), reason) from error
