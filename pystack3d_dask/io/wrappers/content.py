"""A source that is known by the content of its files instead of their times."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest, sha256

from pystack3d_dask.errors import SourceError
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.wrappers.mended import Wrapper

THREADS = 8  # hashing releases the interpreter, and hides the latency of network drives


@dataclass(frozen=True)
class ByContent(Wrapper):
    """A source whose fingerprint depends on every byte of its files, and on no time.

    Parameters
    ----------
    source : Source
        Whose files they are.
    digests : dict of str to str
        SHA-256 by what the source calls its files, or arrays.
    """

    digests: Mapping[str, str]

    @property
    def contents(self) -> dict[str, str]:
        """SHA-256 by what the source calls its files, or arrays."""
        return dict(self.digests)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content of the files, and of what is made of them."""
        made = (self.channels, self.names, self.specs, sorted(self.digests.items()))
        return sha256(repr(made).encode()).hexdigest()

    def selected(self, start: int, stop: int) -> ByContent:
        """Return the source without the slices outside ``start:stop``."""
        source = self.source.selected(start, stop)
        return ByContent(source, {name: self.digests[name] for name in source.paths})


def by_content(source: Source) -> ByContent:
    """Read all files of a source, for what they hold to be its fingerprint.

    Raises
    ------
    SourceError
        When the operating system refuses one.
    """
    paths = sorted({path for found in source.paths.values() for path in found})
    with ThreadPoolExecutor(THREADS) as pool:
        digests = dict(zip(paths, pool.map(_digest, paths), strict=True))
    return ByContent(
        source, {name: _joined(found, digests) for name, found in source.paths.items()}
    )


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        msg = f"{path}: {error.strerror or error}"
        raise SourceError(msg) from error


def _joined(paths: Sequence[str], digests: Mapping[str, str]) -> str:
    """Return the digest of several files, wherever the directory that they share may lie."""
    if len(paths) == 1:
        return digests[paths[0]]
    shared = os.path.commonpath(paths)
    found = sorted((os.path.relpath(path, shared), digests[path]) for path in paths)
    return sha256(repr(found).encode()).hexdigest()
