"""The state of a Zarr array's files, as far as a directory listing shows it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
CHUNK = re.compile(r"(?:c|\d+)(?:\.\d+)*")  # a file, or a directory of them, in both versions
THREADS = 8  # hides the latency of network drives


class ChunkFile(NamedTuple):
    """A file with pixels of an array: a chunk or a shard.

    Parameters
    ----------
    path : str
        Relative to the directory of the array, with ``/`` between its parts.
    size, mtime_ns : int
        Bytes, and the time of the last modification.
    """

    path: str
    size: int
    mtime_ns: int


class Stamp(NamedTuple):
    """A digest of an array's files, and whether they carry times.

    Parameters
    ----------
    digest : str
        SHA-256 of the bytes of the metadata, and of names, sizes and times of the chunks.
    has_times : bool
        Whether the file system dates the chunks; if not, only sizes show a change.
    """

    digest: str
    has_times: bool


def stamp(path: Path) -> Stamp:
    """Return a digest that changes when an array is rewritten, whole or in a single chunk.

    Chunks are listed, not read. A chunk that is replaced by one of the same size and time goes
    unnoticed. The directory itself plays no part: a moved array keeps its digest.

    Parameters
    ----------
    path : Path
        Directory of the array, of Zarr version 2 or 3, with any separator in names of chunks.
    """
    digest = sha256()
    for name in METADATA:
        if (path / name).is_file():
            digest.update(repr((name, (path / name).read_bytes())).encode())
    chunks = chunk_files(path)
    for chunk in chunks:
        digest.update(repr(tuple(chunk)).encode())
    return Stamp(digest.hexdigest(), not chunks or any(chunk.mtime_ns > 0 for chunk in chunks))


def chunk_files(path: Path) -> list[ChunkFile]:
    """Return the chunks and shards in the directory of an array, sorted.

    Other files are left out, such as those of a project that is the same directory.
    """
    found: list[ChunkFile] = []
    folders = [""]
    with ThreadPoolExecutor(THREADS) as pool:
        while folders:
            listings = list(pool.map(lambda folder: list(_listing(path, folder)), folders))
            entries = [entry for listing in listings for entry in listing]
            found += [entry for entry in entries if isinstance(entry, ChunkFile)]
            folders = [entry for entry in entries if isinstance(entry, str)]
    return sorted(found)


def _listing(root: Path, folder: str) -> Iterator[ChunkFile | str]:
    """Yield the files in a folder of an array, and its sub-folders by their relative paths."""
    with os.scandir(root / folder) as entries:
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not CHUNK.fullmatch(entry.name):
                continue
            if entry.is_dir():
                if not _leads_back(entry):
                    yield path
            elif entry.is_file():
                status = entry.stat()
                yield ChunkFile(path, status.st_size, status.st_mtime_ns)


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is a link to one that it is in: following it would never end."""
    return entry.is_symlink() and Path(
        os.path.realpath(os.path.dirname(entry.path))
    ).is_relative_to(os.path.realpath(entry.path))
