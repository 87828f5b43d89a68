"""Numbers in words, for people: of things, bytes, seconds, and the extent of stacks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice


def extent(shape: tuple[int, int, int]) -> str:
    """Return the shape of a stack, in words."""
    slices, height, width = shape
    return f"{counted(slices, 'slice')} of {width} x {height}"


def counted(number: int, what: str) -> str:
    """Return a number of things, in words."""
    return f"{number} {what}{'s' * (number != 1)}"


def listed(names: Collection[str], most: int) -> str:
    """Return names in a line: the first of them, and how many more there are."""
    shown = ", ".join(islice(names, most))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def quoted(names: Iterable[str]) -> str:
    """Return names in quotes, in a line."""
    return ", ".join(map(repr, names))


def listed_below(lines: Sequence[str], most: int) -> list[str]:
    """Return the first of some lines, and a line that says how many more there are."""
    more = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]


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


def percent(share: float) -> str:
    """Return a share as percent, with two digits where it is small."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """Return a time for people to read, in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
