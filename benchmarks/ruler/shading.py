"""Light and darkness where they do not belong: backgrounds, charging, shadows, backs of pores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from pystack3d_dask.demo.defects import Background
from ruler.acquired import Array
from ruler.faces import Faces, float32

Rng = np.random.Generator


@dataclass(frozen=True)
class Polynomial:
    """A quadratic polynomial in x, y and z over the whole stack.

    Parameters
    ----------
    levels : float
        Gray levels between its brightest and its darkest point.
    multiplicative : bool
        Whether it is a gain; `levels` are then those that the mean gray level changes by.
    """

    levels: float
    multiplicative: bool = False

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack on this background."""
        background = Background.random(stack.shape, self.levels, rng)
        field = np.stack([background.slice(k) for k in range(len(stack))])
        if self.multiplicative:
            return float32(stack * (1 + field / faces.level))
        return float32(stack + field)


@dataclass(frozen=True)
class Vignetting:
    """Slices that grow darker with the square of the distance from a place near their center.

    Parameters
    ----------
    loss : float
        Share of the signal that is missing at the corners of a slice, were it centered.
    """

    loss: float

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the darkened stack."""
        y, x = (np.linspace(-1, 1, size) - rng.uniform(-0.1, 0.1) for size in stack.shape[1:])
        return float32(stack * (1 - self.loss * (y[:, None] ** 2 + x**2) / 2))


@dataclass(frozen=True)
class BlackLevel:
    """A signal of so many gray levels where there is none."""

    levels: float

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the brighter stack."""
        return float32(stack + self.levels)


@dataclass(frozen=True)
class TrendAlongZ:
    """Slices that grow brighter from the first to the last one, faster or slower on the way.

    Parameters
    ----------
    levels : float
        Gray levels between the first and the last slice.
    """

    levels: float

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with the trend, which is 0 on average."""
        z = np.linspace(0, 1, len(stack))
        trend = self.levels * (z + rng.uniform(-0.6, 0.6) * z * (1 - z))
        return float32(stack + (trend - trend.mean())[:, None, None])


@dataclass(frozen=True)
class ObjectHalo:
    """A charged object, with light around it that fades; behind it the beam recovers slowly.

    Parameters
    ----------
    levels : float
        Gray levels that are added on the object and at its edge.
    radius : float
        Of the object, as a share of the shorter side.
    reach : float
        Distance over which the halo fades to 37 %, as a share of the shorter side.
    recovery : float
        How many times longer it fades along the scan, to the right of the object.
    """

    levels: float
    radius: float = 0.12
    reach: float = 0.15
    recovery: float = 2.5

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with the halo, which goes with the specimen."""
        side = min(stack.shape[1:])
        center = rng.uniform(0.35, 0.65, 2) * stack.shape[1:]
        fields = []
        for moved in faces.shifts:
            at = center + moved
            y, x = (np.arange(stack.shape[axis + 1]) - at[axis] for axis in (0, 1))
            x = np.where(x > 0, x / self.recovery, x)
            outside = np.maximum(np.hypot(y[:, None], x) - self.radius * side, 0)
            fields.append(self.levels * np.exp(-outside / (self.reach * side)))
        return float32(stack + np.stack(fields))


@dataclass(frozen=True)
class PoreHalo:
    """Light around pores, whose edges charge, with a tail along the scan.

    Parameters
    ----------
    levels : float
        Gray levels that are added deep inside a wide pore; half of it is at its edge.
    reach : float
        Width of the halo in pixels.
    recovery : float
        Pixels that the beam needs to recover, to the right of a pore.
    """

    levels: float
    reach: float = 5.0
    recovery: float = 10.0

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with the halos."""
        pores = faces.pores.astype(np.float32)
        near = ndimage.gaussian_filter(pores, (0, self.reach, self.reach))
        return float32(stack + self.levels * trailing(near, self.recovery))


@dataclass(frozen=True)
class EdgeShadow:
    """The shadow of the trench on the lower edge of the slices.

    Parameters
    ----------
    levels : float
        Gray levels that are missing at the edge.
    reach : float
        Distance over which the shadow fades to 37 %, as a share of the rows.
    """

    levels: float
    reach: float = 0.25

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with the shadow."""
        above = np.arange(stack.shape[1])[::-1] / stack.shape[1]
        shadow = self.levels * np.exp(-above / self.reach)
        return float32(stack - shadow[:, None])


@dataclass(frozen=True)
class ShineThrough:
    """Pores that one sees into: the solid below them shines through, weaker where it is deeper.

    Parameters
    ----------
    share : float
        Share of the gray level of a solid that lies in the next slice.
    depth : int
        Slices from which on nothing shines through.
    """

    share: float = 0.6
    depth: int = 8

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with the backs of its pores; below the last slice nothing is known."""
        out = float32(stack)
        for k in range(len(stack)):
            hidden = faces.pores[k].copy()
            for j in range(1, min(self.depth, len(stack) - k)):
                move = np.rint(faces.shifts[k] - faces.shifts[k + j]).astype(int)
                solid = ~_moved(faces.pores[k + j], move)
                seen = hidden & solid
                light = self.share * (1 - (j - 1) / self.depth)
                below = light * _moved(faces.clean[k + j], move)
                out[k][seen] = np.maximum(out[k], below)[seen]
                hidden &= ~solid
        return out


def trailing(stack: Array, length: float) -> Array:
    """Return the stack with tails along x that fade to 37 % over ``length`` pixels.

    A stack that is the same everywhere stays as it is.
    """
    keep = np.exp(-1 / length) if length else 0.0
    start = keep * stack[..., :1]
    out, _ = signal.lfilter([1 - keep], [1, -keep], stack, axis=-1, zi=start)
    return np.asarray(out)


def _moved(image: Array, pixels: Array) -> Array:
    """Return the image down and to the right by whole pixels; what comes in is what goes out."""
    return np.roll(image, pixels, (0, 1))
