"""What stationary noise looks like: patterns, their spectra, and where these are not nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.destriping.wave_bands import Bands, bands

NOTHING = 1e-6  # of the largest amplitude: frequencies with less are left out, rows at a time
ALIGNED = 1e-12  # sine times cosine of an angle that is meant to be a multiple of 90 degrees
ROWS_AT_ONCE = 64  # of a spectrum: what is computed with them stays in the caches
ROWS_PER_WAVE = 16  # with fewer, transforms of the whole image are faster and more exact


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A pattern of the noise, as parameter files name it; `Gabor` or `Dirac` in Python.

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


@dataclass(frozen=True, kw_only=True)
class Gabor(Filter):
    """Stripes: an elongated Gaussian.

    Parameters
    ----------
    noise_level : float
        Strength of the noise, 1e-6 to 1e6; the larger, the more is removed.
    sigma : tuple of float
        Standard deviations in pixels across and along the stripe, the latter along y while
        ``theta`` is 0.
    theta : float
        Degrees by which the stripe is turned, clockwise on the screen.

    References
    ----------
    .. [1] J. Fehrenbach, P. Weiss, C. Lorenzo, "Variational algorithms to remove stationary
       noise: applications to microscopy imaging", IEEE Transactions on Image Processing 21(10),
       2012. https://doi.org/10.1109/TIP.2012.2206037

    Examples
    --------
    >>> Gabor(noise_level=20, sigma=(1, 30)).theta
    0.0
    """

    name: Literal["Gabor", "Dirac"] = field(init=False, default="Gabor")
    sigma: tuple[float, float]  # not optional here
    theta: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Dirac(Filter):
    """White noise: single pixels.

    Parameters
    ----------
    noise_level : float
        Strength of the noise, 1e-6 to 1e6; the larger, the more is removed.

    Examples
    --------
    >>> Dirac(noise_level=1).name
    'Dirac'
    """

    name: Literal["Gabor", "Dirac"] = field(init=False, default="Dirac")
    sigma: None = field(init=False, default=None)
    theta: float = field(init=False, default=0.0)


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
    bands : Bands
        The waves of these frequencies.
    """

    transposed: bool
    frequencies: Array
    power: Array
    bands: Bands


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
        maximum over both differences and all frequencies. It is 0 at frequency (0, 0): a
        constant has no gradient to be judged by, so the mean of an image stays what it is.
    """
    rows, columns = shape[::-1] if transposed else shape
    half = columns // 2 + 1
    down, across = difference_power(rows)[:, None], difference_power(columns)[:half]
    parts = [slice(first, first + ROWS_AT_ONCE) for first in range(0, rows, ROWS_AT_ONCE)]
    total = np.zeros((rows, half))
    for each in filters:
        power = _pattern_power(shape, each, transposed)
        top = max((np.sqrt(np.maximum(down[part], across)) * power(part)).max() for part in parts)
        for part in parts:
            total[part] += each.noise_level * power(part) / top
    total[0, 0] = 0
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
    power_there = power[np.concatenate([frequencies, mirrored])]
    return FewRows(transposed, frequencies, power_there, bands(frequencies, power.shape[0]))


def _not_nothing(power: Array) -> Array:
    return np.flatnonzero(power > NOTHING**2 * power.max())


def _pattern_power(
    shape: tuple[int, int], kind: Filter, transposed: bool
) -> Callable[[slice], Array]:
    """Return what returns rows of the power spectrum of a pattern, or of the transposed one."""
    from scipy import fft  # not at the top: workers start sooner

    if kind.sigma is not None and not _is_aligned(kind):
        image = pattern(shape, kind)
        power = np.abs(fft.rfft2(image.T if transposed else image)) ** 2
        return lambda part: power[part]
    profiles = _profiles(shape, kind)
    along_y, along_x = profiles[::-1] if transposed else profiles
    down, across = np.abs(fft.fft(along_y)) ** 2, np.abs(fft.rfft(along_x)) ** 2
    return lambda part: np.outer(down[part], across)


def pattern(shape: tuple[int, int], kind: Filter) -> Array:
    """Return one piece of noise, in the middle of an image, as float64."""
    if kind.sigma is None or _is_aligned(kind):
        return np.outer(*_profiles(shape, kind))
    y, x = (_offsets(count) for count in shape)
    cosine, sine = _direction(kind)
    across = x * cosine + y[:, None] * sine
    along = y[:, None] * cosine - x * sine
    a, b = kind.sigma[0] ** 2, kind.sigma[1] ** 2
    return np.asarray(np.exp(-(across**2 / a + along**2 / b) / 2))


def _profiles(shape: tuple[int, int], kind: Filter) -> tuple[Array, Array]:
    """Return the two functions, of y and of x, whose product an aligned pattern is."""
    if kind.name == "Dirac" or kind.sigma is None:
        along_y, along_x = (np.eye(1, count)[0] for count in shape)
        return along_y, along_x
    cosine, sine = _direction(kind)
    across, along = kind.sigma
    sigmas = (along, across) if abs(cosine) > abs(sine) else (across, along)
    along_y, along_x = (
        np.exp(-(_offsets(count) ** 2) / (2 * sigma**2))
        for count, sigma in zip(shape, sigmas, strict=True)
    )
    return along_y, along_x


def _is_aligned(kind: Filter) -> bool:
    """Return whether the pattern is a product of a function of y and one of x."""
    if kind.name == "Dirac":
        return True
    cosine, sine = _direction(kind)
    return abs(cosine * sine) < ALIGNED


def _direction(kind: Filter) -> tuple[float, float]:
    angle = np.deg2rad(kind.theta)
    return float(np.cos(angle)), float(np.sin(angle))


def _offsets(count: int) -> Array:
    return np.asarray(count / 2 + 1 - np.arange(count))


@lru_cache(maxsize=8)
def difference_power(count: int) -> Array:
    """Return ``|D|^2``, the power spectrum of a periodic difference, as float32."""
    power = (4 * np.sin(np.pi * np.arange(count) / count) ** 2).astype(np.float32)
    power.flags.writeable = False
    return power
