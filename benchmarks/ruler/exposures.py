"""Defects that differ from slice to slice: brightness, focus, the scan, lost pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pystack3d_dask.demo.fields import Plane, smooth_field
from ruler.acquired import WHITE, Array
from ruler.faces import NO_DATA, Faces, float32

Rng = np.random.Generator


@dataclass(frozen=True)
class GainJumps:
    """Slices that are brighter or darker by a factor.

    Parameters
    ----------
    lowest, highest : float
        Factors are anything between.
    share : float
        Of slices that differ; the others keep their brightness.
    """

    lowest: float
    highest: float
    share: float = 1.0

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with jumps."""
        return float32(stack * _some(len(stack), (self.lowest, self.highest), self.share, 1, rng))


@dataclass(frozen=True)
class OffsetJumps:
    """Slices that are brighter or darker by so many gray levels at most.

    Parameters
    ----------
    levels : float
        Largest offset, up or down.
    share : float
        Of slices that differ.
    """

    levels: float
    share: float = 1.0

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with jumps."""
        return float32(stack + _some(len(stack), (-self.levels, self.levels), self.share, 0, rng))


@dataclass(frozen=True)
class GammaJumps:
    """Slices whose gray levels are bent: black and white stay.

    Parameters
    ----------
    lowest, highest : float
        Exponents are anything between; those above 1 darken.
    share : float
        Of slices that differ.
    """

    lowest: float
    highest: float
    share: float = 1.0

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with jumps."""
        gamma = _some(len(stack), (self.lowest, self.highest), self.share, 1, rng)
        return float32(WHITE * (np.clip(stack, 0, WHITE) / WHITE) ** gamma)


@dataclass(frozen=True)
class GainDrift:
    """A gain that changes slowly, up and down once and on average 1.

    Parameters
    ----------
    spread : float
        Largest gain minus the smallest one, in a stack that is long enough to show both.
    """

    spread: float

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with the slow change."""
        phase = np.linspace(0, 1, len(stack), endpoint=False) + rng.uniform()
        gain = 1 + self.spread / 2 * np.sin(2 * np.pi * phase)
        return float32(stack * gain[:, None, None])


@dataclass(frozen=True)
class RowOffsets:
    """Rows of the scan that are brighter or darker than their neighbors.

    Parameters
    ----------
    rms : float
        Of the offsets, in gray levels.
    """

    rms: float

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with its rows moved in brightness."""
        return float32(stack + self.rms * rng.standard_normal((*stack.shape[:2], 1)))


@dataclass(frozen=True)
class FocusSawtooth:
    """A focus that is lost little by little, and set again.

    Parameters
    ----------
    sigma : float
        Of the Gaussian that blurs the worst slice, in pixels.
    period : int
        Slices from one setting of the focus to the next; the first slice is in focus.
    """

    sigma: float
    period: int = 10

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack, blurred in the plane."""
        steps = np.arange(len(stack)) % self.period / max(self.period - 1, 1)
        blurred = [
            ndimage.gaussian_filter(image, self.sigma * step)
            for image, step in zip(stack, steps, strict=True)
        ]
        return float32(np.stack(blurred))


@dataclass(frozen=True)
class Border:
    """An empty margin: exact zeros around every slice.

    Parameters
    ----------
    width : float
        As a share of the shorter side; the margin is half as wide to the left and right.
    """

    width: float

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack inside its margin."""
        y = round(self.width * min(stack.shape[1:]))
        x = y // 2
        out = np.full(stack.shape, NO_DATA, np.float32)
        inner = np.s_[:, y : stack.shape[1] - y, x : stack.shape[2] - x]
        out[inner] = stack[inner]
        return out


@dataclass(frozen=True)
class Voids:
    """Rounded holes in the data: exact zeros at the same places of all slices.

    Parameters
    ----------
    share : float
        Of the pixels.
    """

    share: float

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack with holes."""
        plane = Plane(int(rng.integers(2**31)), (0, 0, 0), stack.shape[1:])
        field = smooth_field(plane, "voids", min(stack.shape[1:]) / 6)
        return float32(np.where(field < np.quantile(field, self.share), NO_DATA, stack))


def _some(count: int, between: tuple[float, float], share: float, usual: float, rng: Rng) -> Array:
    """Return random values for a share of the slices, the usual one for the others.

    Returns
    -------
    ndarray, shape (count, 1, 1)
    """
    values = rng.uniform(*between, count)
    chosen = rng.permutation(count) < round(share * count)
    return np.where(chosen, values, usual)[:, None, None]
