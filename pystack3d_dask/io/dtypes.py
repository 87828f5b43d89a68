"""The types that the values of a source may have."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = ("uint8", "int8", "uint16", "int16", "float32", "float64")


def read_dtype(name: str) -> np.dtype[Any]:
    """Return the type that values of one of `DTYPES` are read as: float32 for float64."""
    return np.dtype("float32" if name == "float64" else name)
