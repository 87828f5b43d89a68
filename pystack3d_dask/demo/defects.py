"""What microscopes do to a stack, one function for each defect.

Gray levels are fractions of the full range. What a function adds or moves is what it
returns, so that the injected defect is known as exactly as the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.demo.fields import Plane, grain, smooth_field
from pystack3d_dask.kernels.jit import compiled

Edges = tuple[float, float, float, float]
Random = np.random.Generator

BACKGROUND_BASIS = "1 + x + y + z + x**2 + y**2 + x*y"
"""Terms of the background."""
RESOLUTION = 1e-4
"""Micrometers to which positions are known: the digits in the names of files."""
LAYER, TRENCH = 0.64, 0.2
"""Gray levels around the specimen: the protective layer on top, the milled trench elsewhere."""


def drift(count: int, largest: float, rng: Random) -> Array:
    """Return how far the image of each slice moved: a slow drift, and jumps of the stage.

    Parameters
    ----------
    count : int
        Slices.
    largest : float
        Greatest distance from the first slice along either axis, in pixels.
    rng : numpy.random.Generator
        Decides everything else.

    Returns
    -------
    ndarray, shape (count, 2)
        Pixels down and to the right; the first slice is where it is.
    """
    place = np.linspace(0, 1, count)[:, None]
    slow = rng.uniform(-1, 1, 2) * place + 0.4 * np.sin(2 * np.pi * (place + rng.uniform(0, 1, 2)))
    jumps = rng.uniform(-1, 1, (count, 2)) * (rng.uniform(size=(count, 1)) < 4 / count)
    jitter = rng.normal(0, 0.05, (count, 2))
    moved = slow + np.cumsum(jumps, axis=0) + jitter
    moved -= moved[0]
    furthest = np.abs(moved).max(axis=0)
    return np.asarray(largest * moved / np.where(furthest > 0, furthest, 1))


def positions(count: int, step: float, uneven: float, rng: Random) -> Array:
    """Return where the slices lie: some thinner, some thicker, now and then some missing.

    Parameters
    ----------
    count : int
        Slices.
    step : float
        Nominal thickness of a slice in micrometers.
    uneven : float
        0 for equal distances, 1 for thicknesses between half and one and a half of ``step``
        and about one gap in ten slices.

    Returns
    -------
    ndarray, shape (count,)
        Micrometers from the first slice on, rising, multiples of ``RESOLUTION``.
    """
    thickness = 1 + uneven * rng.uniform(-0.5, 0.5, count)
    missing = (rng.uniform(size=count) < 0.1 * uneven) * rng.integers(1, 3, count)
    gaps = step * (thickness + missing)
    gaps[0] = 0
    return np.asarray(np.rint(np.cumsum(gaps) / RESOLUTION) * RESOLUTION).round(10)


def brightness(count: int, strength: float, rng: Random) -> tuple[Array, Array]:
    """Return the gain and the offset of each slice: small changes, and some large ones.

    Parameters
    ----------
    count : int
        Slices.
    strength : float
        Largest relative change of the gain; a third of it is the largest offset.

    Returns
    -------
    gains, offsets : ndarray, shape (count,)
        Around 1, and around 0 in fractions of the full range.
    """
    size = np.where(rng.uniform(size=count) < 0.25, 1.0, 0.4)
    gains = 1 + strength * size * rng.uniform(-1, 1, count)
    return gains, strength / 3 * size * rng.uniform(-1, 1, count)


@dataclass(frozen=True)
class Background:
    """A polynomial over the whole stack, like shadowing and charging.

    Parameters
    ----------
    coefficients : ndarray, shape (6,)
        Of `BACKGROUND_BASIS`, its constant aside; every coordinate is 0 to 1 from the first
        to the last voxel.
    constant : float
        What is added everywhere.
    shape : tuple of int
        Slices, rows and columns.
    """

    coefficients: Array
    constant: float
    shape: Triple

    @classmethod
    def random(cls, shape: Triple, strength: float, rng: Random) -> Background:
        """Return one whose brightest and darkest points are ``strength`` apart, around 0."""
        unscaled = cls(rng.uniform(0.3, 1, 6) * rng.choice([-1, 1], 6), 0.0, shape)
        z = np.linspace(0, 1, min(shape[0], 33))[:, None, None]
        y = np.linspace(0, 1, min(shape[1], 33))[:, None]
        values = unscaled.at(z, y, np.linspace(0, 1, min(shape[2], 33)))
        scale = strength / max(float(np.ptp(values)), 1e-12)
        constant = -0.5 * scale * float(values.min() + values.max())
        return cls(scale * unscaled.coefficients, constant, shape)

    def at(self, z: Array | float, y: Array, x: Array) -> Array:
        """Return the values at coordinates that are broadcast against each other."""
        a, b, c, d, e, f = self.coefficients.tolist()
        of_z_y = self.constant + c * z + b * y + e * y**2
        values: Array = of_z_y + (a + f * y) * x + d * x**2
        return values

    def slice(self, z: int) -> Array:
        """Return what is added to slice ``z``, float32, shape (rows, columns)."""
        slices, rows, columns = self.shape
        y, x = (np.linspace(0, 1, size, dtype=np.float32) for size in (rows, columns))
        return self.at(z / max(slices - 1, 1), y[:, None], x)


def curtains(image: Array, plane: Plane, strength: float) -> Array:
    """Return the stripes that milling leaves on a slice, to be added.

    The ion beam comes from the top. Behind each pore, where it meets the solid again, it
    leaves streaks that fade over a fifth of the image; others run down the whole face,
    stronger and weaker. They are one to a few pixels wide and alike in neighboring slices.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        The milled face.
    plane : Plane
        Where it lies, its depth counted in slices.
    strength : float
        About twice the standard deviation of the stripes.
    """
    rows = plane.shape[0]
    fine = smooth_field(plane, "fine stripes", (1.5, rows / 1.5, 1.8))
    broad = smooth_field(plane, "broad stripes", (2.5, rows / 1.2, 5.0))
    sources = smooth_field(plane, "streaks", (1.5, rows / 4, 1.6))
    _streaks(image, fine, broad, sources, 0.2 * rows, strength)
    return fine


@compiled()
def _streaks(
    image: Array, fine: Array, broad: Array, sources: Array, length: float, strength: float
) -> None:
    """Add up the stripes in ``fine``, row by row from the top."""
    columns = image.shape[1]
    streak = np.zeros(columns, np.float32)
    decay = np.float32(np.exp(-1 / length))
    for y in range(image.shape[0]):
        for x in range(columns):
            emerged = image[y, x] - image[max(y - 2, 0), x] - np.float32(0.06)
            source = np.float32(2.5) * max(emerged, np.float32(0)) * sources[y, x]
            streak[x] = _limited(decay * streak[x] + source)
            through = np.float32(0.25) * (fine[y, x] * abs(fine[y, x]) + broad[y, x])
            fine[y, x] = np.float32(strength) * (streak[x] + _limited(through))


@compiled()
def _limited(value: float) -> float:
    return min(max(value, -1.0), 1.0)


def framed(image: Array, specimen: Edges, plane: Plane) -> Array:
    """Surround the specimen: a bright protective layer above it, the dark trench elsewhere.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        The specimen, changed in place.
    specimen : tuple of float
        Its top, bottom, left and right edge in pixels of the image.
    plane : Plane
        Where the image lies in the volume: the layer has a structure of its own.
    """
    top, bottom, left, right = specimen
    rows, columns = (np.arange(size) for size in image.shape)
    above = image[: np.searchsorted(rows, top)]
    layer = replace(plane, shape=above.shape)
    above[:] = LAYER + 0.02 * smooth_field(layer, "layer", (20, 6, 20))
    image[:, (columns < left) | (columns >= right)] = TRENCH
    image[rows >= bottom] = TRENCH
    return image


def noisy(image: Array, strength: float, seed: int, name: str, index: int) -> Array:
    """Return the image with the noise of counted electrons and of the amplifier.

    The counts are many, so that Poisson's distribution is nearly normal: nine tenths of the
    variance of white grow with the signal, one tenth is always there.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Without noise.
    strength : float
        Standard deviation of white.
    seed, name, index : int, str, int
        Which noise.
    """
    out = grain(seed, name, index, image.shape)
    _scale_noise(image, strength, out)
    return out


@compiled()
def _scale_noise(image: Array, strength: float, out: Array) -> None:
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            signal = min(max(image[y, x], np.float32(0)), np.float32(1))
            variance = np.float32(0.1) + np.float32(0.9) * signal
            deviation = np.float32(strength) * np.sqrt(variance)
            out[y, x] = image[y, x] + deviation * out[y, x]
