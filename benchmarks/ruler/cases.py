"""The cases of the ruler: specimens, and what is wrong with the stacks of them.

A name is that of a texture and that of a recipe: "porous: vignetting". Every texture has the
recipes "nothing" (slices that are rounded, no more) and "clean" (noise). A recipe with one kind of
defect has no noise, so that what is left of the defect is seen: rounding leaves 0.3 gray levels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pystack3d_dask.demo.defects import positions
from ruler.acquired import WHITE, Acquired, Array, Specimen
from ruler.bad_slices import KINDS, spoil
from ruler.defects import (
    BlackLevel,
    Border,
    Curtains,
    Defect,
    EdgeShadow,
    ElectronNoise,
    Faces,
    FocusSawtooth,
    GainDrift,
    GainJumps,
    GammaJumps,
    Noise,
    ObjectHalo,
    OffsetJumps,
    Polynomial,
    PoreHalo,
    RowOffsets,
    ScanNoise,
    ShineThrough,
    Stripes,
    TrendAlongZ,
    Vignetting,
    Voids,
    damaged,
    generator,
    noises,
)
from ruler.specimens import GENERATED, STACKS, Triple, specimen

CELL = 30.0
"""Pixels that a cell of the textures is long, in slices of 400 pixels."""


@dataclass(frozen=True)
class Drift:
    """A random walk of the slices, and jumps of the stage, away and back in turn.

    Parameters
    ----------
    step : float
        Standard deviation of what each axis moves by from slice to slice, in pixels.
    jump : float
        Length of a jump, as a share of the shorter side.
    share : float
        Of slices that jump.
    """

    step: float
    jump: float = 0.0
    share: float = 0.05

    def shifts(self, shape: Triple, rng: np.random.Generator) -> Array:
        """Return how far each slice is from the first one, shape (slices, 2), in pixels."""
        count, side = shape[0], min(shape[1:])
        walk = np.cumsum(rng.normal(0, self.step, (count, 2)), axis=0)
        angle = rng.uniform(0, 2 * np.pi)
        jump = self.jump * side * np.array([np.sin(angle), np.cos(angle)])
        jumping = rng.permutation(np.arange(1, count))[: round(self.share * count)]
        away = np.cumsum(np.isin(np.arange(count), jumping)) % 2
        return np.asarray(walk - walk[0] + away[:, None] * jump)


@dataclass(frozen=True)
class Case:
    """A stack that is acquired, and its defects.

    Parameters
    ----------
    defects : tuple of Defect
        In any order.
    noise : tuple of Noise
        Added up.
    drift : Drift, optional
        How the slices move.
    uneven : float
        How unequal their distances are, 0 to 1; above 0 some are missing.
    bad : float
        Share of bad slices, of all kinds.
    texture : str
        Of the specimen.
    name : str
        Texture and recipe.
    """

    defects: tuple[Defect, ...] = ()
    noise: tuple[Noise, ...] = ()
    drift: Drift | None = None
    uneven: float = 0.0
    bad: float = 0.0
    texture: str = "porous"
    name: str = ""


def acquire(case: Case, seed: int, shape: Triple, data: Path | None = None) -> Acquired:
    """Return the stack of a case.

    Parameters
    ----------
    case : Case
        One of `CASES`, or another one.
    seed : int
        Decides everything; cases of the same texture show the same specimen.
    shape : tuple of int
        Slices, rows and columns.
    data : path, optional
        The folder of real stacks; only their cases need it.
    """
    seen = specimen(case.texture, seed, shape, data)
    depths = positions(shape[0], 1.0, case.uneven, generator(seed, "depths"))
    shifts = np.zeros((shape[0], 2))
    if case.drift:
        shifts = case.drift.shifts(shape, generator(seed, "shifts"))
    faces = _faces(seen, depths, shifts)
    stack = damaged(faces, case.defects, seed)
    noise = noises(stack, case.noise, seed)
    slices = np.rint(np.clip(stack + noise, 0, WHITE)).astype(np.uint8)
    slices, bad = spoil(slices, KINDS, case.bad, generator(seed, "bad"))
    return Acquired(case.name, slices, faces.clean, noise, shifts, depths, tuple(bad), seen)


def _faces(seen: Specimen, depths: Array, shifts: Array) -> Faces:
    """Return the specimen at some depths, moved."""
    places = [(float(z), -float(y), -float(x)) for z, (y, x) in zip(depths, shifts, strict=True)]
    clean = np.stack([seen.at(*place) for place in places])
    return Faces(clean, np.stack([seen.pores(*place) for place in places]), shifts)


NOISE: tuple[Noise, ...] = (ElectronNoise(2.8),)
"""Of the recipes with all defects: 2.8 gray levels remain when all else is undone."""

NOTHING = Case()
CLEAN = Case(noise=NOISE)
ALL = Case(
    defects=(
        Polynomial(30, multiplicative=True),
        GainJumps(0.94, 1.06),
        OffsetJumps(3),
        Curtains(2.0),
        Stripes(1.0, along_z=0.5),
    ),
    noise=NOISE,
    drift=Drift(0.12, 0.004),
    uneven=0.5,
)
STRIPES = (Curtains, Stripes)

BACKGROUND: dict[str, Case] = {
    "polynomial 40": Case((Polynomial(40),)),
    "polynomial 90": Case((Polynomial(90),)),
    "multiplicative 40": Case((Polynomial(40, multiplicative=True),)),
    "vignetting": Case((Vignetting(0.5),)),
    "trend along z": Case((TrendAlongZ(54),)),
    "halo": Case((ObjectHalo(52),)),
    "halo around pores": Case((PoreHalo(19),)),
    "shadow": Case((EdgeShadow(43),)),
    "black level": Case((BlackLevel(20),)),
}
BRIGHTNESS: dict[str, Case] = {
    "gain and offset jumps": Case((GainJumps(0.9, 1.1), OffsetJumps(10))),
    "rare gain 0.8": Case((GainJumps(0.8, 0.8, 0.15),)),
    "gamma jumps": Case((GammaJumps(0.88, 1.14),)),
    "slow gain": Case((GainDrift(0.22),)),
    "slow gain and jumps": Case((GainDrift(0.22), GainJumps(0.9, 1.1), OffsetJumps(6))),
}
STRIPED: dict[str, Case] = {
    "long stripes": Case((Stripes(10),)),
    "stripes along z": Case((Stripes(10, along_z=0.7),)),
    "short stripes": Case((Stripes(10, length=CELL),)),
    "wide stripes": Case((Stripes(10, width=16),)),
    "tilted stripes": Case((Stripes(10, angles=(3.0,)),)),
    "two angles": Case((Stripes(10, angles=(-2.0, 3.0)),)),
    "curtains": Case((Curtains(10),)),
}
REGISTERED: dict[str, Case] = {
    "drift": Case(drift=Drift(0.3, 0.01)),
    "drift in noise": Case(noise=(ElectronNoise(30),), drift=Drift(0.3, 0.01)),
    "large jumps": Case(noise=NOISE, drift=Drift(0.3, 0.2)),
    "bad slices": Case(noise=NOISE, bad=0.125),
    "bad slices in drift": Case(noise=NOISE, drift=Drift(0.3, 0.01), bad=0.06),
}
OTHERS: dict[str, Case] = {
    "row offsets": Case((RowOffsets(3),)),
    "focus": Case((FocusSawtooth(2.5),)),
    "shine-through": Case((ShineThrough(0.9),)),
    "border": Case((Border(0.1),)),
    "voids": Case((Voids(0.1),)),
    "uneven": Case(uneven=0.8),
    "scan noise": Case(noise=(ScanNoise(8.0),)),
    "strong noise": Case(noise=(ElectronNoise(8.0),)),
}
WHOLE: dict[str, Case] = {
    "all": ALL,
    "all without stripes": replace(
        ALL, defects=tuple(each for each in ALL.defects if not isinstance(each, STRIPES))
    ),
    "all without background": replace(
        ALL, defects=tuple(each for each in ALL.defects if not isinstance(each, Polynomial))
    ),
    "all within a border": replace(ALL, defects=(*ALL.defects, Border(0.1))),
}
EVERY = {**BACKGROUND, **BRIGHTNESS, **STRIPED, **REGISTERED, **OTHERS, **WHOLE}
MAIN = (
    "polynomial 40",
    "vignetting",
    "trend along z",
    "halo around pores",
    "gain and offset jumps",
    "slow gain",
    "long stripes",
    "curtains",
    "drift",
    "bad slices in drift",
    "strong noise",
)

RECIPES: dict[str, dict[str, Case]] = {
    "porous": EVERY,
    "cellular": {**{name: EVERY[name] for name in MAIN}, **WHOLE},
    "gradient": BRIGHTNESS,
    "giant": {"polynomial 40": EVERY["polynomial 40"]},
    "upright": STRIPED,
    "layers": {name: EVERY[name] for name in ("polynomial 40", "trend along z", "long stripes")},
    "medulla": {**STRIPED, **REGISTERED, **WHOLE},
    "noisy": {name: EVERY[name] for name in ("drift", "bad slices in drift")},
    "curtained": {},
}
"""Recipes for stacks of each texture, besides nothing and noise."""


def _cases() -> Iterator[Case]:
    for texture in (*GENERATED, *STACKS):
        recipes = {"nothing": NOTHING, "clean": CLEAN, **RECIPES[texture]}
        for name, case in recipes.items():
            yield replace(case, texture=texture, name=f"{texture}: {name}")


CASES: dict[str, Case] = {case.name: case for case in _cases()}
"""All cases by name."""
