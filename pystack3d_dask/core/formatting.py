"""Numbers in words, for people: of things, bytes, seconds, and the extent of stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands that only print help do without numpy
    from pystack3d_dask.core.spec import StackSpec


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
        if count < 1023.5:  # what rounds to more than that is one of the next unit
            return f"{count:.0f} {unit}" if unit == "B" else f"{short(count)} {unit}"
        count /= 1024
    return f"{short(count)} TiB"


def short(value: float, digits: int = 3) -> str:
    """Return a number with so many digits, and with all that it has before the point."""
    rounded = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in rounded and abs(value) < 1e9 else rounded


def duration(seconds: float) -> str:
    """Return a time for people to read, in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
