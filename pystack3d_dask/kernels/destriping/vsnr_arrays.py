"""VSNR by operations on whole arrays, of numpy or cupy: the solver for GPUs.

It takes several images at once: as many operations are started as for one, and starting them is
what takes a GPU most time where images are small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace, to_host
from pystack3d_dask.kernels.destriping.noise_model import Filter, difference_power, noise_power
from pystack3d_dask.kernels.destriping.sweeps import EPSILON
from pystack3d_dask.kernels.destriping.vsnr import Solution, has_ended


def remove_noise_on_arrays(
    images: Any,
    filters: Sequence[Filter],
    *,
    beta: float = 10.0,
    maxit: int = 100,
    threshold: float = 0.0,
) -> list[Solution]:
    """Remove stationary noise from each of some images.

    Parameters
    ----------
    images : ndarray, shape (images, rows, columns)
        Of numpy or cupy, any real type; computed in float32.
    filters, beta, maxit, threshold
        As in `pystack3d_dask.kernels.destriping.vsnr.remove_noise`.

    Returns
    -------
    list of Solution
        Of each image what it would be alone.
    """
    u0, tops, scales = _normalized(images)
    left = np.flatnonzero(scales)
    flat = np.flatnonzero(scales == 0).tolist()
    found = {k: Solution(images[k].astype(np.float32), ()) for k in flat}
    if not left.size:
        return [found[k] for k in flat]
    changes: list[list[float]] = [[] for _ in tops]
    solver = ArraySolver(_some(u0, left), scales[left], tuple(filters), beta)
    del u0  # the solver lets go of images that have ended
    while left.size:
        ended = np.array([has_ended(changes[k], maxit, threshold) for k in left])
        if ended.any():
            cleaned = solver.images(np.flatnonzero(ended))
            for k, image in zip(left[ended].tolist(), cleaned, strict=True):
                found[k] = Solution(image * np.float32(tops[k]), tuple(changes[k]))
            left = left[~ended]
            if left.size:
                solver.keep(np.flatnonzero(~ended))
        else:
            for k, change in zip(left, solver.iterate().tolist(), strict=True):
                changes[k].append(change)
    return [found[k] for k in range(len(tops))]


class ArraySolver:
    """The state of the iterations on some images.

    Parameters
    ----------
    u0 : ndarray of float32, shape (images, rows, columns)
        The images; all else that stays is of the same kind of array.
    scales : ndarray of numpy, shape (images,)
        Of each image, by what the power of the noise is multiplied.
    filters : tuple of Filter
        The kinds of noise.
    beta : float
        Weight of the constraint.
    """

    def __init__(self, u0: Any, scales: Array, filters: tuple[Filter, ...], beta: float) -> None:
        self._xp = xp = namespace(u0)
        shape, weight = u0.shape[1:], np.float32(beta)
        down, across = (xp.asarray(difference_power(count)) for count in shape)
        power = down[:, None] + across[None, : shape[1] // 2 + 1]
        factors = xp.asarray(scales.astype(np.float32))[:, None, None]
        psi = xp.sqrt(factors * noise_power_on(xp, shape, filters))
        self._u0, self._psi, self._limit = u0, psi, np.float32(1) / weight
        self._gain = psi * weight / (1 + weight * power * psi**2)
        self._feedback = power * psi
        self._noise, self._across, self._down = (xp.zeros_like(u0) for _ in range(3))
        self._spectrum = xp.zeros(psi.shape, np.complex64)

    def iterate(self) -> Array:
        """Do one iteration; return how much the spectrum of x changed, one number per image."""
        xp, rest = self._xp, self._u0 - self._noise
        across = rest - xp.roll(rest, -1, 2) + self._across
        down = rest - xp.roll(rest, -1, 1) + self._down
        length = xp.sqrt(across * across + down * down) + EPSILON
        factor = self._limit / xp.maximum(length, self._limit)
        across, down = across * factor, down * factor
        wx, wy = 2 * across - self._across, 2 * down - self._down
        self._across, self._down = across, down
        divergence = wx - xp.roll(wx, 1, 2) + wy - xp.roll(wy, 1, 1)
        transformed = xp.fft.rfft2(divergence).astype(np.complex64, copy=False)
        found = self._gain * (transformed + self._feedback * self._spectrum)
        largest = [xp.abs(each).max(axis=(1, 2)) for each in (found - self._spectrum, found)]
        change, size = to_host(xp.stack(largest)).astype(np.float64)  # one wait for the GPU
        self._spectrum = found
        self._noise = xp.fft.irfft2(self._psi * found, s=rest.shape[1:]).astype(
            np.float32, copy=False
        )
        return np.where(size > 0, change / np.where(size > 0, size, 1), 0)

    def images(self, numbers: Array) -> Any:
        """Return some of the images without the noise found so far."""
        return _some(self._u0, numbers) - _some(self._noise, numbers)

    def keep(self, numbers: Array) -> None:
        """Go on with some of the images."""
        self._u0, self._noise = _some(self._u0, numbers), _some(self._noise, numbers)
        self._across, self._down = _some(self._across, numbers), _some(self._down, numbers)
        self._psi, self._gain = _some(self._psi, numbers), _some(self._gain, numbers)
        self._feedback = _some(self._feedback, numbers)
        self._spectrum = _some(self._spectrum, numbers)


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


def _normalized(images: Any) -> tuple[Any, Array, Array]:
    """Return images divided by their largest magnitudes; on the host these, and root mean squares.

    The root mean square of an image of one gray level is given as 0.
    """
    xp = namespace(images)
    values = images.astype(np.float32)
    low, high = values.min(axis=(1, 2)), values.max(axis=(1, 2))
    tops = xp.maximum(high, -low)
    u0 = values / xp.where(tops > 0, tops, np.float32(1))[:, None, None]
    is_flat = u0.min(axis=(1, 2)) == u0.max(axis=(1, 2))
    roots = xp.sqrt(xp.square(u0).mean(axis=(1, 2), dtype=np.float64))
    roots = xp.where(is_flat, 0, roots)
    tops, roots = to_host(xp.stack([tops.astype(np.float64), roots]))
    return u0, tops, roots


def _some(arrays: Any, numbers: Array) -> Any:
    """Return those of some arrays that ascending numbers, on the host, name: no copy of all."""
    if len(numbers) == len(arrays):
        return arrays
    return arrays[namespace(arrays).asarray(numbers)]
