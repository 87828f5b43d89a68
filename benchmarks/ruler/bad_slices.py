"""Slices that show something else than the specimen, or nothing usable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from ruler.acquired import WHITE, Array

Rng = np.random.Generator


class Spoiled(Protocol):
    """A way in which a slice can be bad."""

    def spoil(self, stack: Array, k: int, rng: Rng) -> Array:
        """Return what is delivered for slice ``k`` of a stack of uint8, in gray levels."""
        ...


@dataclass(frozen=True)
class NoiseOnly:
    """Noise around the mean of the slice, as strong as its contrast."""

    def spoil(self, stack: Array, k: int, rng: Rng) -> Array:
        """Return noise."""
        return rng.normal(stack[k].mean(), stack[k].std(), stack.shape[1:])


@dataclass(frozen=True)
class Blank:
    """Rows or columns that are 0, from a random one on.

    Parameters
    ----------
    share : float
        Of the rows or columns, above 0 to 1.
    rows : bool
        Rows, or else columns.
    """

    share: float
    rows: bool = True

    def spoil(self, stack: Array, k: int, rng: Rng) -> Array:
        """Return the slice with a part of it blank."""
        return _within(stack[k], self.share, self.rows, np.zeros_like(stack[k]), rng)


@dataclass(frozen=True)
class OutOfFocus:
    """A slice blurred by a Gaussian of so many pixels."""

    sigma: float

    def spoil(self, stack: Array, k: int, rng: Rng) -> Array:
        """Return the slice out of focus, without its fine noise."""
        return np.asarray(ndimage.gaussian_filter(stack[k].astype(np.float32), self.sigma))


@dataclass(frozen=True)
class NoiseAdded:
    """A slice with more noise, of so many gray levels."""

    sigma: float

    def spoil(self, stack: Array, k: int, rng: Rng) -> Array:
        """Return the slice with noise added."""
        return np.asarray(stack[k] + rng.normal(0, self.sigma, stack.shape[1:]))


@dataclass(frozen=True)
class Duplicated:
    """The slice before once more."""

    def spoil(self, stack: Array, k: int, rng: Rng) -> Array:
        """Return the slice before."""
        return np.asarray(stack[k - 1])


@dataclass(frozen=True)
class Exposed:
    """A slice too bright or too dark by a factor, and clipped where white is exceeded."""

    gain: float

    def spoil(self, stack: Array, k: int, rng: Rng) -> Array:
        """Return the slice over- or underexposed."""
        return np.asarray(stack[k] * self.gain)


@dataclass(frozen=True)
class ShiftedInside:
    """A slice whose stage moved during the scan: a band of rows lies beside the others.

    Parameters
    ----------
    pixels : int
        To the right, or to the left where negative.
    share : float
        Of the rows.
    """

    pixels: int
    share: float = 0.4

    def spoil(self, stack: Array, k: int, rng: Rng) -> Array:
        """Return the slice with a band of it shifted."""
        moved = ndimage.shift(stack[k], (0, self.pixels), order=0, mode="reflect")
        return _within(stack[k], self.share, True, moved, rng)


KINDS: tuple[Spoiled, ...] = (
    NoiseOnly(),
    Blank(1.0),
    Blank(0.5),
    Blank(0.05),
    Blank(0.2, rows=False),
    OutOfFocus(2.0),
    OutOfFocus(5.0),
    Duplicated(),
    Exposed(1.8),
    Exposed(0.3),
    ShiftedInside(20),
)
"""All kinds, mild and severe."""


def spoil(
    stack: Array, kinds: Sequence[Spoiled], share: float, rng: Rng
) -> tuple[Array, dict[int, Spoiled]]:
    """Return the stack with a share of its slices spoiled, and which ones are.

    Parameters
    ----------
    stack : ndarray of uint8, shape (slices, rows, columns)
        Never changed.
    kinds : sequence
        Ways of being bad: all of them occur before one occurs again.
    share : float
        Of the slices; one or more are spoiled where it is above 0, the first one never.
    rng : numpy.random.Generator
        Decides which slices and in which way.

    Returns
    -------
    stack : ndarray of uint8, shape (slices, rows, columns)
    bad : dict
        The way of being bad by the index of the slice, rising.
    """
    count = min(max(round(share * len(stack)), int(share > 0)), len(stack) - 1)
    chosen = np.sort(rng.permutation(np.arange(1, len(stack)))[:count]).tolist()
    rounds = -(-count // len(kinds))
    ways = [int(way) for _ in range(rounds) for way in rng.permutation(len(kinds))]
    bad = {k: kinds[way] for k, way in zip(chosen, ways, strict=False)}
    out = stack.copy()
    for k, kind in bad.items():
        out[k] = np.rint(np.clip(kind.spoil(out, k, rng), 0, WHITE))
    return out, bad


def _within(image: Array, share: float, rows: bool, other: Array, rng: Rng) -> Array:
    """Return an image with a band of rows, or of columns, from another image."""
    axis = 0 if rows else 1
    size = image.shape[axis]
    width = max(round(share * size), 1)
    start = int(rng.integers(size - width + 1))
    place = np.arange(size)
    band = (place >= start) & (place < start + width)
    return np.where(band[:, None] if rows else band, other, image)
