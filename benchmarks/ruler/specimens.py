"""Specimens: what a perfect microscope sees, as a function of the position.

Generated ones are exact at any place and go on without end. Real ones are stacks of others, which
are interpolated between their voxels and reflected beyond their sides; what is noise in them is
structure here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage, special
from skimage.filters import threshold_otsu

from pystack3d_dask.demo.fields import Plane, smooth_field
from pystack3d_dask.demo.textures import TEXTURES
from ruler.acquired import WHITE, Array, Specimen

Triple = tuple[int, int, int]
Draw = Callable[[Plane, float, int], Array]
"""Draws a plane, given the distance between features in pixels and the slices of the specimen."""

DARK, GRAY, BRIGHT = 0.22, 0.48, 0.60
"""Gray levels of a pore and of two solids."""
SMOOTH = 1.5
"""Pixels by which a real stack is smoothed before dark and bright are told apart."""


def specimen(name: str, seed: int, shape: Triple, data: Path | None = None) -> Specimen:
    """Return a specimen by name.

    Parameters
    ----------
    name : str
        One of `GENERATED` or of `STACKS`.
    seed : int
        Decides a generated specimen, and where an excerpt of a real one begins.
    shape : tuple of int
        Slices, rows and columns.
    data : path, optional
        Where the real stacks are; the generated ones need none.
    """
    if name in GENERATED:
        return Generated(name, seed, shape)
    if name not in STACKS:
        known = ", ".join([*GENERATED, *STACKS])
        message = f"unknown texture {name!r}, expected one of {known}"
        raise ValueError(message)
    if data is None:
        message = f"the texture {name!r} is a real stack, give the folder that holds {STACKS[name]}"
        raise ValueError(message)
    return Real(name, data / STACKS[name], shape, seed)


@dataclass(frozen=True)
class Generated:
    """A specimen made of smooth random fields.

    Parameters
    ----------
    texture : str
        One of `GENERATED`.
    seed : int
        Another one makes another specimen.
    shape : tuple of int
        Slices, rows and columns.
    """

    texture: str
    seed: int
    shape: Triple

    @property
    def name(self) -> str:
        """The texture."""
        return self.texture

    @property
    def feature(self) -> float:
        """Typical distance of features in pixels: 1.5 times the root of the shorter side."""
        return 1.5 * float(np.sqrt(min(self.shape[1:])))

    def at(self, z: float, y: float = 0.0, x: float = 0.0) -> Array:
        """Return a slice in gray levels, float32, shape (rows, columns)."""
        draw, _ = GENERATED[self.texture]
        plane = Plane(self.seed, (z, y, x), self.shape[1:])
        return np.asarray(draw(plane, self.feature, self.shape[0]) * WHITE, np.float32)

    def pores(self, z: float, y: float = 0.0, x: float = 0.0) -> Array:
        """Return where the truth is darker than halfway between the dark class and the others."""
        _, level = GENERATED[self.texture]
        return np.asarray(self.at(z, y, x) < level * WHITE)


@dataclass(frozen=True)
class Real:
    """A real stack: cubic splines between its pixels, a line between its slices.

    Parameters
    ----------
    name : str
        What it shows.
    path : path
        A TIFF file of 8 bits with a slice or more.
    shape : tuple of int
        Slices, rows and columns; a larger one than the stack's shows the stack reflected.
    seed : int
        Decides where the excerpt begins, along axes that have more than the shape wants.
    """

    name: str
    path: Path
    shape: Triple
    seed: int = 0

    @cached_property
    def volume(self) -> Array:
        """The whole stack, float32, in gray levels."""
        volume = tifffile.imread(self.path)
        if volume.dtype != np.uint8 or volume.ndim not in (2, 3):
            found = f"{volume.ndim} axes of {volume.dtype}"
            message = f"{self.path}: found {found}, expected 2 or 3 of uint8"
            raise ValueError(message)
        return np.asarray(volume.reshape(-1, *volume.shape[-2:]), np.float32)

    @cached_property
    def start(self) -> Triple:
        """The first voxel of the excerpt."""
        room = np.maximum(np.subtract(self.volume.shape, self.shape), 0)
        z, y, x = np.random.default_rng(self.seed).integers(0, room + 1).tolist()
        return z, y, x

    @cached_property
    def level(self) -> float:
        """The threshold of Otsu between dark and bright, of the smoothed stack."""
        return float(threshold_otsu(np.stack([_smoothed(image) for image in self.volume])))

    def at(self, z: float, y: float = 0.0, x: float = 0.0) -> Array:
        """Return a slice in gray levels, float32, shape (rows, columns)."""
        first, top, left = self.start
        low = int(np.floor(first + z))
        share = np.float32(first + z - low)
        lower, upper = (self.volume[_reflected(k, len(self.volume))] for k in (low, low + 1))
        return np.asarray(
            ndimage.affine_transform(
                (1 - share) * lower + share * upper,
                np.eye(2),
                offset=(top + y, left + x),
                output_shape=self.shape[1:],
                order=3,
                mode="mirror",
            )
        )

    def pores(self, z: float, y: float = 0.0, x: float = 0.0) -> Array:
        """Return where the smoothed slice is darker than `level`."""
        return np.asarray(_smoothed(self.at(z, y, x)) < self.level)


def _smoothed(image: Array) -> Array:
    return np.asarray(ndimage.gaussian_filter(image, SMOOTH))


def _reflected(index: int, count: int) -> int:
    """Return an index from 0 to ``count`` - 1: beyond the first and the last one turns back."""
    period = max(2 * (count - 1), 1)
    return min(index % period, period - index % period)


def porous(plane: Plane, feature: float, slices: int) -> Array:
    """Return the demo's electrode: two solids, pores large and small that one sees into."""
    return TEXTURES["porous"](plane, feature)


def cellular(plane: Plane, feature: float, slices: int) -> Array:
    """Return the demo's tissue: cells with dark membranes and what is in them."""
    return TEXTURES["cellular"](plane, feature)


def gradient(plane: Plane, feature: float, slices: int) -> Array:
    """Return a solid whose porosity grows along z, from 10 % in the first slice to 40 %."""
    porosity = 0.1 + 0.3 * np.clip(plane.start[0] / max(slices - 1, 1), 0, 1)
    return _pierced(_solids(plane, feature), _pores(plane, feature / 2, porosity))


def giant(plane: Plane, feature: float, slices: int) -> Array:
    """Return a solid around one pore, a bumpy ball with a diameter of 0.6 of the shorter side."""
    center = ((size - 1) / 2 for size in (slices, *plane.shape))
    extent = (1, *plane.shape)
    z, y, x = (
        start + np.arange(size) - middle
        for start, size, middle in zip(plane.start, extent, center, strict=True)
    )
    distance = np.sqrt(z**2 + y[:, None] ** 2 + x**2)
    bumps = 0.5 * feature * smooth_field(plane, "bumps", feature)
    inside = 0.3 * min(plane.shape) + bumps - distance
    return _pierced(_solids(plane, feature), np.maximum(inside, _pores(plane, feature / 4, 0.03)))


def upright(plane: Plane, feature: float, slices: int) -> Array:
    """Return bright lamellae that stand upright and go on through the slices, and some pores."""
    across = smooth_field(plane, "lamellae", (2 * feature, 8 * feature, feature / 6))
    bright = _rise(across * feature / 6)
    image = GRAY + (BRIGHT - GRAY) * bright + 0.012 * smooth_field(plane, "grains", feature / 3)
    return _pierced(image, _pores(plane, feature / 3, 0.08))


def layers(plane: Plane, feature: float, slices: int) -> Array:
    """Return wavy horizontal layers, each with a gray level of its own, and some pores."""
    levels = np.array([0.42, 0.58, 0.48, 0.64, 0.52])
    thickness = 3 * feature
    rows = (plane.start[1] + np.arange(plane.shape[0]))[:, None]
    place = (rows + 0.3 * feature * smooth_field(plane, "waves", 2 * feature)) / thickness
    border = np.rint(place)
    above, below = (levels[np.mod(border + side, 5).astype(int)] for side in (-1, 0))
    image = above + (below - above) * _rise((place - border) * thickness)
    image += 0.012 * smooth_field(plane, "grains", feature / 3)
    return _pierced(image, _pores(plane, feature / 3, 0.08))


def _solids(plane: Plane, feature: float) -> Array:
    """Return two solids with grains."""
    phase = smooth_field(plane, "phase", 0.7 * feature) - 0.45
    grains = 0.012 * smooth_field(plane, "grains", feature / 3)
    return GRAY + (BRIGHT - GRAY) * _rise(phase * 0.4 * feature) + grains


def _pores(plane: Plane, period: float, porosity: float) -> Array:
    """Return about how many pixels each place is inside a pore; negative in the solid."""
    field = smooth_field(plane, "pores", period)
    return np.asarray((field - special.ndtri(1 - porosity)) * 0.9 * period)


def _pierced(solid: Array, inside: Array) -> Array:
    return np.asarray(solid + (DARK - solid) * _rise(inside / 1.2))


def _rise(value: Array) -> Array:
    """Return a smooth step from 0 at -1 to 1 at 1."""
    t = np.clip(0.5 * value + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


GENERATED: dict[str, tuple[Draw, float]] = {
    "porous": (porous, 0.39),
    "cellular": (cellular, 0.40),
    "gradient": (gradient, 0.35),
    "giant": (giant, 0.35),
    "upright": (upright, 0.35),
    "layers": (layers, 0.33),
}
"""Generated textures, and the level below which a pixel is of the dark class."""

STACKS: dict[str, str] = {
    "medulla": "flyem_medulla_250/flyem_medulla_250.tif",
    "noisy": "noisy_fibsem/fibsem.tif",
    "curtained": "curtained_fibsem/curtained_fibsem.tif",
}
"""Real stacks, and where they are in the folder of the data. "curtained" is a single slice."""
