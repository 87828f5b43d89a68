"""What stationary noise looks like: patterns, their spectra, and where these are not nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from pystack3d_dask.spec import Array

NOTHING = 1e-6  # of the largest amplitude: frequencies with less are left out, rows at a time
ALIGNED = 1e-12  # sine times cosine of an angle that is meant to be a multiple of 90 degrees
ROWS_PER_WAVE = 16  # with fewer, transforms of the whole image are faster and more exact


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What the noise looks like.

    Parameters
    ----------
    name : {"Gabor", "Dirac"}
        An elongated Gaussian, for stripes; or single pixels, for white noise.
    noise_level : float
        Strength of the noise; the larger, the more is removed.
    sigma : tuple of float, optional
        Of the Gaussian: standard deviations in pixels across and along the stripe, the
        latter along y while ``theta`` is 0.
    theta : float
        Degrees by which the stripe is turned, clockwise on the screen.
    """

    name: Literal["Gabor", "Dirac"]
    noise_level: float
    sigma: tuple[float, float] | None = None
    theta: float = 0.0


@dataclass(frozen=True)
class FewRows:
    """A spectrum that is nothing but in a few rows.

    Parameters
    ----------
    transposed : bool
        Whether it is that of the transposed image: the few are columns of the image's own.
    frequencies : ndarray of int, shape (count,)
        The rows, 0 to half of them: each stands for its mirror image too.
    power : ndarray of float32, shape (2 * count, frequencies along x)
        The power spectrum there, in the rows and then in their mirror images.
    """

    transposed: bool
    frequencies: Array
    power: Array


@lru_cache(maxsize=4)
def noise_power(
    shape: tuple[int, int], filters: tuple[Filter, ...], transposed: bool = False
) -> Array:
    """Return the power spectrum of the noise for an image of root mean square 1.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    filters : tuple of Filter
        The kinds of noise; their powers add.
    transposed : bool
        Return that of the transposed image.

    Returns
    -------
    ndarray of float32, shape (rows, columns // 2 + 1)
        ``sum of noise_level |P|^2 / max(|D| |P|^2)``, P the transform of a pattern, the
        maximum over both differences and all frequencies.
    """
    from scipy import fft  # not at the top: workers start sooner

    rows, columns = shape[::-1] if transposed else shape
    half = columns // 2 + 1
    largest = np.sqrt(
        np.maximum(difference_power(rows)[:, None], difference_power(columns)[None, :half])
    )
    total = np.zeros((rows, half))
    for each in filters:
        image = pattern(shape, each)
        power = np.abs(fft.rfft2(image.T if transposed else image)) ** 2
        total += each.noise_level * power / (largest * power).max()
    total = total.astype(np.float32)
    total.flags.writeable = False
    return total


@lru_cache(maxsize=4)
def few_rows(shape: tuple[int, int], filters: tuple[Filter, ...]) -> FewRows | None:
    """Return the few rows, or columns, that hold the spectrum of the noise; None if many do."""
    power = noise_power(shape, filters)
    rows = _not_nothing(power.max(axis=1))
    columns = _not_nothing(power.max(axis=0))
    rows = np.unique(np.minimum(rows, shape[0] - rows))
    transposed = len(columns) < len(rows)
    frequencies = columns if transposed else rows
    if len(frequencies) > shape[transposed] // ROWS_PER_WAVE:
        return None
    if transposed:
        power = noise_power(shape, filters, transposed=True)
    mirrored = -frequencies % power.shape[0]
    return FewRows(transposed, frequencies, power[np.concatenate([frequencies, mirrored])])


def _not_nothing(power: Array) -> Array:
    return np.flatnonzero(power > NOTHING**2 * power.max())


def pattern(shape: tuple[int, int], kind: Filter) -> Array:
    """Return one piece of noise, in the middle of an image, as float64."""
    if kind.name == "Dirac" or kind.sigma is None:
        image = np.zeros(shape)
        image[0, 0] = 1
        return image
    rows, columns = shape
    y = (rows / 2 + 1 - np.arange(rows))[:, None]
    x = (columns / 2 + 1 - np.arange(columns))[None, :]
    a, b = kind.sigma[0] ** 2, kind.sigma[1] ** 2
    cosine, sine = np.cos(np.deg2rad(kind.theta)), np.sin(np.deg2rad(kind.theta))
    if abs(cosine * sine) < ALIGNED:  # a product of two functions, each of a few numbers
        across, along = x * cosine, y * cosine
        if abs(sine) > abs(cosine):
            across, along = y * sine, -x * sine
        image = np.exp(-(across**2) / (2 * a)) * np.exp(-(along**2) / (2 * b))
    else:
        across, along = x * cosine + y * sine, y * cosine - x * sine
        image = np.exp(-(across**2 / a + along**2 / b) / 2)
    return np.asarray(image.astype(np.float32), np.float64)


@lru_cache(maxsize=8)
def difference_power(count: int) -> Array:
    """Return ``|D|^2``, the power spectrum of a periodic difference, as float32."""
    power = (4 * np.sin(np.pi * np.arange(count) / count) ** 2).astype(np.float32)
    power.flags.writeable = False
    return power
