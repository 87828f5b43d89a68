"""VSNR for any noise: two Fourier transforms of the image and one sweep per iteration."""

from __future__ import annotations

import numpy as np
from scipy import fft

from pystack3d_dask.compiled import compiled
from pystack3d_dask.spec import Array
from pystack3d_dask.steps.vsnr_kernels import (
    FINITE,
    update_dual,
    update_spectrum,
    write_divergence,
)
from pystack3d_dask.steps.vsnr_noise import difference_power


class FourierSolver:
    """The state of the iterations on one image.

    Parameters
    ----------
    u0 : ndarray of float32, shape (rows, columns)
        The image.
    psi : ndarray of float32, shape (rows, columns // 2 + 1)
        Amplitude of the noise.
    beta : float
        Weight of the constraint.
    """

    def __init__(self, u0: Array, psi: Array, beta: float) -> None:
        rows, columns = u0.shape
        self._u0, self._psi, self._beta = u0, psi, np.float32(beta)
        self._across = difference_power(columns)[: columns // 2 + 1]
        self._down = difference_power(rows)
        self._noise = np.zeros_like(u0)
        self._dual = np.zeros((2, *u0.shape), np.float32)
        self._spectrum = np.zeros((rows, 2 * psi.shape[1]), np.float32)
        self._divergence = np.empty_like(u0)

    def iterate(self) -> float:
        """Do one iteration; return how much the spectrum of x changed."""
        limit = np.float32(1) / self._beta
        _sweep(self._u0, self._noise, self._dual, limit, self._divergence)
        transformed = fft.rfft2(self._divergence)
        change = update_spectrum(
            transformed.view(np.float32),
            self._spectrum,
            self._psi,
            self._across,
            self._down,
            self._beta,
        )
        self._noise = fft.irfft2(transformed, s=self._u0.shape, overwrite_x=True)
        return change

    def image(self) -> Array:
        """Return the image without the noise found so far."""
        return np.asarray(self._u0 - self._noise)


@compiled(fastmath=FINITE)
def _sweep(u0: Array, noise: Array, dual: Array, limit: np.float32, divergence: Array) -> None:
    """Update the dual in place, and write the divergence of ``2 p' - p``."""
    rows, columns = u0.shape
    image = np.empty((2, columns + 1), np.float32)
    across = np.empty(columns + 1, np.float32)
    down = np.zeros((2, columns), np.float32)
    _clean_row(u0[0], noise[0], image[0])
    for row in range(rows):
        below = (row + 1) % rows
        _clean_row(u0[below], noise[below], image[(row + 1) % 2])
        update_dual(
            image[row % 2],
            image[(row + 1) % 2],
            dual[0, row],
            dual[1, row],
            limit,
            across,
            down[row % 2],
        )
        write_divergence(across, down[row % 2], down[(row + 1) % 2], divergence[row])
    divergence[0] -= down[(rows - 1) % 2]


@compiled(fastmath=FINITE)
def _clean_row(image: Array, noise: Array, out: Array) -> None:
    """Write a row without noise, and its first pixel again."""
    for c in range(image.size):
        out[c] = image[c] - noise[c]
    out[image.size] = out[0]
