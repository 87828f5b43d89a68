"""Other ways to solve VSNR: on arrays of any kind, and by the package pyvsnr."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from pystack3d_dask.backend import namespace
from pystack3d_dask.spec import Array
from pystack3d_dask.steps.vsnr import Solution
from pystack3d_dask.steps.vsnr_kernels import EPSILON
from pystack3d_dask.steps.vsnr_noise import (
    Filter,
    difference_power,
    noise_power,
)

PYVSNR = Lock()  # it changes numpy while it works: one thread at a time


def remove_noise_on_arrays(
    image: Any,
    filters: Sequence[Filter],
    *,
    beta: float = 10.0,
    maxit: int = 100,
    threshold: float = 0.0,
) -> Solution:
    """Remove stationary noise from one image, of numpy or cupy, by operations on whole arrays.

    Parameters and result are those of `pystack3d_dask.steps.vsnr.remove_noise`, whose
    formulas it follows; the image that it returns is of the same kind as the one given.
    """
    xp = namespace(image)
    top = float(image.max())
    top = top if top > 0 else float(-image.min())
    if top == 0 or image.min() == image.max():
        return Solution(image.astype(np.float32), ())
    u0 = image.astype(np.float32) / np.float32(top)
    rows, columns = u0.shape
    scale = float(xp.sqrt(xp.square(u0, dtype=np.float64).sum() / u0.size))
    psi = xp.sqrt(np.float32(scale) * xp.asarray(noise_power(u0.shape, tuple(filters))))
    power = xp.asarray(
        difference_power(rows)[:, None] + difference_power(columns)[None, : columns // 2 + 1]
    )
    weight, limit = np.float32(beta), np.float32(1 / beta)
    gain = psi * weight / (1 + weight * power * psi**2)
    noise, across, down = xp.zeros_like(u0), xp.zeros_like(u0), xp.zeros_like(u0)
    spectrum = xp.zeros(psi.shape, np.complex64)
    changes: list[float] = []
    while len(changes) + 1 < maxit and not (changes and not changes[-1] > threshold):
        rest = u0 - noise
        one, other = rest - xp.roll(rest, -1, 1) + across, rest - xp.roll(rest, -1, 0) + down
        factor = limit / xp.maximum(xp.sqrt(one * one + other * other) + EPSILON, limit)
        one, other = one * factor, other * factor
        across, down = 2 * one - across, 2 * other - down
        divergence = across - xp.roll(across, 1, 1) + down - xp.roll(down, 1, 0)
        across, down = one, other
        found = gain * (xp.fft.rfft2(divergence).astype(np.complex64) + power * psi * spectrum)
        largest = float(xp.abs(found).max())
        changes.append(float(xp.abs(found - spectrum).max()) / largest if largest else 0.0)
        spectrum = found
        noise = xp.fft.irfft2(psi * found, s=u0.shape).astype(np.float32)
    return Solution((u0 - noise) * np.float32(top), tuple(changes))


def pyvsnr_solution(
    image: Array,
    filters: Sequence[Filter],
    *,
    beta: float = 10.0,
    maxit: int = 100,
    threshold: float = 0.0,
) -> Solution:
    """Remove stationary noise from one image by pyvsnr, on the CPU.

    Parameters and result are those of `pystack3d_dask.steps.vsnr.remove_noise`.
    """
    import pyvsnr  # an extra, under another licence

    if image.min() == image.max():
        return Solution(image.astype(np.float32), ())
    with PYVSNR:
        transforms = np.fft
        try:
            found, changes = pyvsnr.vsnr2d(
                image[None].astype(np.float32),  # of integers it would make integers
                [_described(each) for each in filters],
                maxit=maxit,
                algo="numpy",
                beta=beta,
                norm=False,
                cvg_threshold=threshold,
                return_cvg=True,
            )
        finally:
            np.fft = transforms  # pyvsnr puts another library in its place, for everybody
    return Solution(np.asarray(found, np.float32).reshape(image.shape), tuple(changes))


def _described(kind: Filter) -> dict[str, Any]:
    described: dict[str, Any] = {"name": kind.name, "noise_level": kind.noise_level}
    if kind.sigma is not None:
        described |= {"sigma": kind.sigma, "theta": kind.theta}
    return described
