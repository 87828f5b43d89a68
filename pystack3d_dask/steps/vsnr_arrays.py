"""VSNR by operations on whole arrays, of numpy or cupy: the solver for GPUs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.backend import namespace
from pystack3d_dask.spec import Array
from pystack3d_dask.steps.vsnr_kernels import EPSILON
from pystack3d_dask.steps.vsnr_noise import difference_power


class ArraySolver:
    """The state of the iterations on one image.

    Parameters
    ----------
    u0 : ndarray of float32, shape (rows, columns)
        The image; all else is of the same kind of array.
    psi : ndarray of float32, shape (rows, columns // 2 + 1)
        Amplitude of the noise, of numpy.
    beta : float
        Weight of the constraint.
    """

    def __init__(self, u0: Any, psi: Array, beta: float) -> None:
        self._xp = xp = namespace(u0)
        rows, columns = u0.shape
        half = difference_power(columns)[None, : columns // 2 + 1]
        power, weight = xp.asarray(difference_power(rows)[:, None] + half), np.float32(beta)
        self._u0, self._psi, self._limit = u0, xp.asarray(psi), np.float32(1) / weight
        self._gain = self._psi * weight / (1 + weight * power * self._psi**2)
        self._feedback = power * self._psi
        self._noise, self._across, self._down = (xp.zeros_like(u0) for _ in range(3))
        self._spectrum = xp.zeros(psi.shape, np.complex64)

    def iterate(self) -> float:
        """Do one iteration; return how much the spectrum of x changed."""
        xp, rest = self._xp, self.image()
        across = rest - xp.roll(rest, -1, 1) + self._across
        down = rest - xp.roll(rest, -1, 0) + self._down
        length = xp.sqrt(across * across + down * down) + EPSILON
        factor = self._limit / xp.maximum(length, self._limit)
        across, down = across * factor, down * factor
        wx, wy = 2 * across - self._across, 2 * down - self._down
        self._across, self._down = across, down
        divergence = wx - xp.roll(wx, 1, 1) + wy - xp.roll(wy, 1, 0)
        transformed = xp.fft.rfft2(divergence).astype(np.complex64)
        found = self._gain * (transformed + self._feedback * self._spectrum)
        change, largest = (float(xp.abs(each).max()) for each in (found - self._spectrum, found))
        self._spectrum = found
        self._noise = xp.fft.irfft2(self._psi * found, s=rest.shape).astype(np.float32)
        return change / largest if largest else 0.0

    def image(self) -> Any:
        """Return the image without the noise found so far."""
        return self._u0 - self._noise
