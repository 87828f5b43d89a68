"""Stacks of all types, for the corrections of exposure."""

from __future__ import annotations

import numpy as np
from conftest import textured

SHAPE = (7, 36, 42)
TOPS = {"uint8": 255, "uint16": 65535, "float32": 1.0}  # what is white


def stack(dtype: str) -> np.ndarray:
    """Return a textured stack; one of floats between 0 and 1."""
    if dtype == "float32":
        return (textured(SHAPE, "uint16") / np.float32(50_000)).astype(np.float32)
    return textured(SHAPE, dtype)
