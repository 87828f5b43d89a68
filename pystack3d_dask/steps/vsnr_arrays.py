"""VSNR by operations on whole arrays, of numpy or cupy: the solver for GPUs."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from pystack3d_dask.backend import namespace, to_host
from pystack3d_dask.steps.vsnr_kernels import EPSILON
from pystack3d_dask.steps.vsnr_noise import Filter, difference_power, noise_power


@lru_cache(maxsize=2)
def noise_power_on(xp: ModuleType, shape: tuple[int, int], filters: tuple[Filter, ...]) -> Any:
    """Return `noise_power` as an array of numpy or cupy: it is sent to a GPU once for all slices.

    Parameters
    ----------
    xp : module
        numpy or cupy.
    shape, filters
        As there.
    """
    return xp.asarray(noise_power(shape, filters))


class ArraySolver:
    """The state of the iterations on one image.

    Parameters
    ----------
    u0 : ndarray of float32, shape (rows, columns)
        The image; all else is of the same kind of array.
    psi : ndarray of float32, shape (rows, columns // 2 + 1)
        Amplitude of the noise.
    beta : float
        Weight of the constraint.
    """

    def __init__(self, u0: Any, psi: Any, beta: float) -> None:
        self._xp = xp = namespace(u0)
        rows, columns = u0.shape
        down, across = (xp.asarray(difference_power(count)) for count in (rows, columns))
        power, weight = down[:, None] + across[None, : columns // 2 + 1], np.float32(beta)
        self._u0, self._psi, self._limit = u0, psi, np.float32(1) / weight
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
        largest = [xp.abs(each).max() for each in (found - self._spectrum, found)]
        change, size = to_host(xp.stack(largest)).tolist()  # one wait for the GPU
        self._spectrum = found
        self._noise = xp.fft.irfft2(self._psi * found, s=rest.shape).astype(np.float32)
        return float(change / size) if size else 0.0

    def image(self) -> Any:
        """Return the image without the noise found so far."""
        return self._u0 - self._noise
