"""Lengths as metadata write them: names of units, and numbers that may be damaged."""

from __future__ import annotations

import math
import unicodedata

from pystack3d_dask.io.microscopes.slice_metadata import FARTHEST, FINEST

_PREFIXES = {  # in micrometers
    "femto": ("f", 1e-9),
    "pico": ("p", 1e-6),
    "nano": ("n", 1e-3),
    "micro": ("\N{GREEK SMALL LETTER MU}", 1.0),
    "milli": ("m", 1e3),
    "centi": ("c", 1e4),
    "deci": ("d", 1e5),
    "": ("", 1e6),
    "kilo": ("k", 1e9),
}
_OTHERS = {
    "um": 1.0,
    "mu": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "\N{GREEK SMALL LETTER MU}": 1.0,
    "angstrom": 1e-4,
    "angstroms": 1e-4,
    "a": 1e-4,  # also with its ring
    "thou": 25.4,
    "mil": 25.4,
    "inch": 25_400.0,
    "inches": 25_400.0,
    "in": 25_400.0,
    '"': 25_400.0,
}
_NAMES = _OTHERS | {
    spelling: micrometers
    for prefix, (symbol, micrometers) in _PREFIXES.items()
    for spelling in (
        f"{symbol}m",
        *(f"{prefix}{name}" for name in ("meter", "meters", "metre", "metres")),
    )
}
# the escape of a micro sign in ImageJ's descriptions, and its UTF-8 read as Latin-1
_ESCAPES = {"\\u00b5": "\u00b5", "\\u03bc": "\u03bc", "\u00c2\u00b5": "\u00b5"}


def micrometers_per(unit: object) -> float | None:
    """Return how many micrometers a unit has; None for what is no known unit of length.

    Parameters
    ----------
    unit : object
        As metadata write it: symbols and names, American or British, of femtometers to
        kilometers, microns, angstroms, inches; case and spaces around do not matter, nor does
        which of the two characters for micro it has, or ImageJ's escape of one. A pixel is no
        unit of length.
    """
    if not isinstance(unit, str):
        return None
    text = unit.strip()
    for escape, sign in _ESCAPES.items():
        text = text.replace(escape, sign).replace(escape.replace("b5", "B5"), sign)
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _NAMES.get("".join(letter for letter in plain if not unicodedata.combining(letter)))


def is_length(value: object) -> bool:
    """Return whether a number can be an extent of a voxel in micrometers."""
    return isinstance(value, int | float) and FINEST <= value <= FARTHEST


def is_position(value: object) -> bool:
    """Return whether a number can be a position in micrometers."""
    return isinstance(value, int | float) and abs(value) <= FARTHEST


def number(text: object) -> float:
    """Return a number that metadata tell as text or as a number; NaN for what is none."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return math.nan
    try:
        return float(text)
    except (ValueError, OverflowError):
        return math.nan
