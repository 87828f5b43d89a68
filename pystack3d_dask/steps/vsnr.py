"""Variational stationary noise removal, VSNR: the solver.

Fehrenbach, Weiss, Lorenzo, "Variational algorithms to remove stationary noise: applications
to microscopy imaging", IEEE Transactions on Image Processing 21(10), 2012: the noise is a
filter psi convolved with white noise x, found as the minimum of the total variation of
``u0 - psi * x`` plus ``|x|^2 / 2``, by ADMM with periodic boundaries.

With D the differences along x and y, p the dual variable divided by -beta and e the image
less the noise found so far, an iteration of the paper's algorithm becomes

    t = D e + p,   p' = t min(1, 1 / (beta |t|)),   w = D z + 2 p' - p,
    X = beta Psi conj(D) W / (1 + beta |Psi D|^2),   Z = Psi X,   e = u0 - z,

which takes two real Fourier transforms and one sweep over the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import fft

from pystack3d_dask.compiled import compiled
from pystack3d_dask.spec import Array

EPSILON = np.float32(2**-23)  # added to |t|, so that it is never 0


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
class Solution:
    """What the solver found.

    Parameters
    ----------
    image : ndarray of float32
        The image without its noise.
    changes : tuple of float
        Largest change of the spectrum of x over its largest magnitude, from the second
        iteration on.
    """

    image: Array
    changes: tuple[float, ...]

    @property
    def iterations(self) -> int:
        """Number of iterations."""
        return len(self.changes) + 1


def remove_noise(
    image: Array,
    filters: Sequence[Filter],
    *,
    beta: float = 10.0,
    maxit: int = 100,
    threshold: float = 0.0,
) -> Solution:
    """Remove stationary noise from one image.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Any real type; computed in float32.
    filters : sequence of Filter
        The kinds of noise.
    beta : float
        Weight of the constraint in ADMM: it decides how fast iterations converge, not
        where to.
    maxit : int
        Iterations at most.
    threshold : float
        Stop as soon as the change is not larger than this.

    Returns
    -------
    Solution
        Of an image of one grey level the image itself.
    """
    u0, top = normalised(image)
    if top == 0 or u0.min() == u0.max():
        return Solution(np.array(image, np.float32), ())
    rows, columns = u0.shape
    scale = float(np.sqrt(np.square(u0, dtype=np.float64).sum() / u0.size))
    psi = np.sqrt(np.float32(scale) * noise_power(u0.shape, tuple(filters)))
    across, down = difference_power(columns)[: columns // 2 + 1], difference_power(rows)
    noise, dual = np.zeros_like(u0), np.zeros((2, *u0.shape), np.float32)
    spectrum = np.zeros(psi.shape, np.complex64)
    divergence = np.empty_like(u0)
    changes: list[float] = []
    while len(changes) + 1 < maxit and not (changes and not changes[-1] > threshold):
        _sweep(u0, noise, dual, np.float32(1 / beta), divergence)
        transformed = fft.rfft2(divergence)
        changes.append(_update(transformed, spectrum, psi, across, down, np.float32(beta)))
        noise = fft.irfft2(transformed, s=u0.shape, overwrite_x=True)
    return Solution((u0 - noise) * np.float32(top), tuple(changes))


def normalised(image: Array) -> tuple[Array, float]:
    """Return the image divided by its maximum, as float32, and that maximum.

    Where nothing is above 0 it is the largest magnitude instead, 0 for an image of zeros.
    """
    top = float(image.max())
    if top <= 0:
        top = float(-image.min())
    return (image.astype(np.float32) / np.float32(top or 1.0)), top


@lru_cache(maxsize=4)
def noise_power(shape: tuple[int, int], filters: tuple[Filter, ...]) -> Array:
    """Return the power spectrum of the noise for an image of root mean square 1.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    filters : tuple of Filter
        The kinds of noise; their powers add.

    Returns
    -------
    ndarray of float32, shape (rows, columns // 2 + 1)
        ``sum of noise_level |P|^2 / max(|D| |P|^2)``, P the transform of a pattern, the
        maximum over both differences and all frequencies.
    """
    rows, columns = shape
    half = columns // 2 + 1
    largest = np.sqrt(
        np.maximum(difference_power(rows)[:, None], difference_power(columns)[None, :half])
    )
    total = np.zeros((rows, half))
    for each in filters:
        power = np.abs(fft.rfft2(pattern(shape, each))) ** 2
        total += each.noise_level * power / (largest * power).max()
    total = total.astype(np.float32)
    total.flags.writeable = False
    return total


def pattern(shape: tuple[int, int], kind: Filter) -> Array:
    """Return one piece of noise, in the middle of an image, as float64."""
    if kind.name == "Dirac" or kind.sigma is None:
        image = np.zeros(shape)
        image[0, 0] = 1
        return image
    rows, columns = shape
    y = (rows / 2 + 1 - np.arange(rows))[:, None]
    x = (columns / 2 + 1 - np.arange(columns))[None, :]
    cosine, sine = np.cos(np.deg2rad(kind.theta)), np.sin(np.deg2rad(kind.theta))
    across, along = x * cosine + y * sine, y * cosine - x * sine
    exponent = (across / kind.sigma[0]) ** 2 + (along / kind.sigma[1]) ** 2
    return np.asarray(np.exp(-exponent / 2).astype(np.float32), np.float64)


@lru_cache(maxsize=8)
def difference_power(count: int) -> Array:
    """Return ``|D|^2``, the power spectrum of a periodic difference, as float32."""
    power = (4 * np.sin(np.pi * np.arange(count) / count) ** 2).astype(np.float32)
    power.flags.writeable = False
    return power


@compiled()
def _sweep(u0: Array, noise: Array, dual: Array, limit: np.float32, divergence: Array) -> None:
    """Update the dual in place, and write the divergence of ``2 p' - p``."""
    rows, columns = u0.shape
    image = np.empty((2, columns + 1), np.float32)
    across = np.empty(columns + 1, np.float32)
    down = np.zeros((2, columns), np.float32)
    _difference_row(u0, noise, 0, image[0])
    for row in range(rows):
        here, below = image[row % 2], image[(row + 1) % 2]
        _difference_row(u0, noise, (row + 1) % rows, below)
        now, before = down[row % 2], down[(row + 1) % 2]
        for c in range(columns):
            p1, p2 = dual[0, row, c], dual[1, row, c]
            t1 = here[c] - here[c + 1] + p1
            t2 = here[c] - below[c] + p2
            length = np.sqrt(t1 * t1 + t2 * t2) + EPSILON
            factor = limit / max(length, limit)
            t1 *= factor
            t2 *= factor
            dual[0, row, c], dual[1, row, c] = t1, t2
            across[c + 1] = t1 + t1 - p1
            now[c] = t2 + t2 - p2
        across[0] = across[columns]
        for c in range(columns):
            divergence[row, c] = across[c + 1] - across[c] + now[c] - before[c]
    last = down[(rows - 1) % 2]
    for c in range(columns):
        divergence[0, c] -= last[c]


@compiled()
def _difference_row(u0: Array, noise: Array, row: int, out: Array) -> None:
    """Write a row of the image without noise, and its first pixel again."""
    columns = u0.shape[1]
    for c in range(columns):
        out[c] = u0[row, c] - noise[row, c]
    out[columns] = out[0]


@compiled()
def _update(
    transformed: Array, spectrum: Array, psi: Array, across: Array, down: Array, beta: np.float32
) -> float:
    """Replace the divergence's transform by Z and update X; return how much X changed."""
    largest, change = np.float32(0), np.float32(0)
    one = np.float32(1)
    for row in range(psi.shape[0]):
        for c in range(psi.shape[1]):
            power, strength = down[row] + across[c], psi[row, c]
            before = spectrum[row, c]
            total = beta * (transformed[row, c] + power * strength * before)
            now = strength * total / (one + beta * power * strength * strength)
            step = now - before
            change = max(change, step.real * step.real + step.imag * step.imag)
            largest = max(largest, now.real * now.real + now.imag * now.imag)
            spectrum[row, c] = now
            transformed[row, c] = strength * now
    return float(np.sqrt(change / largest)) if largest > 0 else 0.0
