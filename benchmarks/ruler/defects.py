"""All that can be wrong with a stack, and in which order it happens.

Defects are data: each is a frozen dataclass whose fields are the known values. Gray levels are
those of 8 bits, 0 to 255, not rounded and not clipped before the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ruler.acquired import Array
from ruler.exposures import (
    Border,
    FocusSawtooth,
    GainDrift,
    GainJumps,
    GammaJumps,
    OffsetJumps,
    RowOffsets,
    Voids,
)
from ruler.faces import NO_DATA, Defect, Faces, Noise
from ruler.milling import Curtains, Stripes
from ruler.noises import ElectronNoise, ScanNoise
from ruler.shading import (
    BlackLevel,
    EdgeShadow,
    ObjectHalo,
    Polynomial,
    PoreHalo,
    ShineThrough,
    TrendAlongZ,
    Vignetting,
)

__all__ = [
    "NO_DATA",
    "ORDER",
    "BlackLevel",
    "Border",
    "Curtains",
    "Defect",
    "EdgeShadow",
    "ElectronNoise",
    "Faces",
    "FocusSawtooth",
    "GainDrift",
    "GainJumps",
    "GammaJumps",
    "Noise",
    "ObjectHalo",
    "OffsetJumps",
    "Polynomial",
    "PoreHalo",
    "RowOffsets",
    "ScanNoise",
    "ShineThrough",
    "Stripes",
    "TrendAlongZ",
    "Vignetting",
    "Voids",
    "damaged",
    "noises",
]

ORDER: tuple[type[Defect], ...] = (
    # what the face shows
    ShineThrough,
    Curtains,
    Stripes,
    # what the light does
    PoreHalo,
    ObjectHalo,
    EdgeShadow,
    Vignetting,
    Polynomial,
    TrendAlongZ,
    # what the beam and the detector do
    FocusSawtooth,
    RowOffsets,
    GainDrift,
    GainJumps,
    OffsetJumps,
    GammaJumps,
    BlackLevel,
    # what is lost
    Voids,
    Border,
)
"""In which order defects happen, whatever the order they are given in."""


def damaged(faces: Faces, defects: Sequence[Defect], seed: int) -> Array:
    """Return the faces with defects, float32, shape (slices, rows, columns).

    What is random about a defect depends on the seed and on its class only, so that defects can be
    left out and the others stay as they are.
    """
    stack = faces.clean.copy()
    for defect in sorted(defects, key=lambda each: ORDER.index(type(each))):
        stack = defect.damage(stack, faces, generator(seed, type(defect).__name__))
    return stack


def noises(stack: Array, kinds: Sequence[Noise], seed: int) -> Array:
    """Return the sum of all noise that is added to a stack, float32, of its shape."""
    total = np.zeros(stack.shape, np.float32)
    for noise in kinds:
        total += noise.of(stack, generator(seed, type(noise).__name__))
    return total


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the random numbers that belong to a seed and a name."""
    return np.random.default_rng([seed, *name.encode()])
