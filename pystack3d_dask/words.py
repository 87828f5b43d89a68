"""Numbers in words, for people: of things, bytes, seconds, and the extent of stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands that only print help do without numpy
    from pystack3d_dask.spec import StackSpec


def extent(spec: StackSpec) -> str:
    """Return the shape of a stack, in words."""
    slices, height, width = spec.shape
    return f"{counted(slices, 'slice')} of {width} x {height}"


def counted(number: int, what: str) -> str:
    """Return a number of things, in words."""
    return f"{number} {what}{'s' * (number != 1)}"


def in_units(count: float) -> str:
    """Return a number of bytes for people to read."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


def duration(seconds: float) -> str:
    """Return a time for people to read, in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
