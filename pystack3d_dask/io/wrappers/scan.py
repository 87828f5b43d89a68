"""Looking through a stack for slices that cannot be read, and remembering what was found."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

from pystack3d_dask.errors import SourceError
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.wrappers.mended import Picked, decoded
from pystack3d_dask.io.zarr.chunk import replacing

THREADS = 8  # decoding releases the interpreter; each holds a slice


class Unreadable(NamedTuple):
    """A slice that cannot be read: the indices of channel and slice, and why."""

    channel: int
    z: int
    reason: str


@dataclass(frozen=True)
class Scan:
    """Which slices of a source cannot be read.

    Parameters
    ----------
    fingerprint : str
        That of the source.
    unreadable : tuple of Unreadable
        By channel and slice.
    """

    fingerprint: str
    unreadable: tuple[Unreadable, ...]

    @property
    def slices(self) -> tuple[int, ...]:
        """The slices that cannot be read in any of the channels, ascending."""
        return tuple(sorted({each.z for each in self.unreadable}))

    def save(self, path: Path) -> None:
        """Write it to a file."""
        with replacing(path) as file:
            file.write(json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, path: Path, fingerprint: str) -> Scan | None:
        """Return what a file remembers of a source; None if it is about another, or damaged."""
        try:
            content = json.loads(path.read_bytes())
            found = cls(
                content["fingerprint"], tuple(Unreadable(*each) for each in content["unreadable"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.fingerprint == fingerprint else None


def scan(source: Source) -> Scan:
    """Decode every slice once.

    Raises
    ------
    PixelError
        When the operating system refused to read; see `decoded`.
    """
    slices = list(product(range(len(source.channels)), range(source.specs[0].shape[0])))
    with ThreadPoolExecutor(THREADS) as pool:
        reasons = pool.map(lambda each: decoded(source, *each)[1], slices)
        found = [
            Unreadable(*each, reason)
            for each, reason in zip(slices, reasons, strict=True)
            if reason
        ]
    return Scan(source.fingerprint, tuple(found))


def without_unreadable(source: Source, found: Scan) -> Picked:
    """Return a source without the slices that cannot be read in any of its channels.

    Raises
    ------
    SourceError
        When none is left.
    """
    lost, count = set(found.slices), source.specs[0].shape[0]
    if len(lost) == count:
        msg = (
            f"no slice is left: none of {count} can be read in every channel; "
            f"the first: {found.unreadable[0].reason}"
        )
        raise SourceError(msg)
    return Picked(source, tuple(z for z in range(count) if z not in lost))
