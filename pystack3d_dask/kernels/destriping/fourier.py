"""VSNR for any noise: two Fourier transforms of the image and one sweep per iteration."""

from __future__ import annotations

import numpy as np
from scipy import fft

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.destriping.noise_model import difference_power
from pystack3d_dask.kernels.destriping.sweeps import (
    FINITE,
    relative_change,
    subtract_row,
    update_dual,
    update_spectrum,
    write_divergence,
)
from pystack3d_dask.kernels.jit import compiled

CACHE = 2**19  # bytes of the spectrum, some columns, that are transformed and updated at a time


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
        self._u0, self._beta = u0, np.float32(beta)
        self._across = difference_power(columns)[: columns // 2 + 1]
        self._down = difference_power(rows)
        self._noise = np.zeros_like(u0)
        self._dual = np.zeros((2, *u0.shape), np.float32)
        step = max(1, CACHE // (rows * np.dtype(np.complex64).itemsize))
        self._parts = [slice(k, k + step) for k in range(0, psi.shape[1], step)]
        self._psi = [np.ascontiguousarray(psi[:, columns]) for columns in self._parts]
        self._spectrum = [np.zeros((rows, 2 * each.shape[1]), np.float32) for each in self._psi]
        self._divergence = np.empty_like(u0)

    def iterate(self) -> float:
        """Do one iteration; return how much the spectrum of x changed."""
        limit = np.float32(1) / self._beta
        _sweep(self._u0, self._noise, self._dual, limit, self._divergence)
        along_x = fft.rfft(self._divergence, axis=1)
        squares = [self._update(along_x, part) for part in range(len(self._parts))]
        self._noise = fft.irfft(along_x, n=self._u0.shape[1], axis=1)
        return relative_change(*np.max(squares, axis=0))

    def _update(self, along_x: Array, part: int) -> tuple[float, float]:
        """Replace some columns of the divergence, transformed along x, by those of the noise."""
        columns = self._parts[part]
        transformed = fft.fft(along_x[:, columns], axis=0)
        squares = update_spectrum(
            transformed.view(np.float32),
            self._spectrum[part],
            self._psi[part],
            self._across[columns],
            self._down,
            self._beta,
        )
        along_x[:, columns] = fft.ifft(transformed, axis=0, overwrite_x=True)
        return squares

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
    subtract_row(u0[0], noise[0], image[0])
    for row in range(rows):
        below = (row + 1) % rows
        subtract_row(u0[below], noise[below], image[(row + 1) % 2])
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
