"""VSNR by the package pyvsnr, on the CPU: for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.destriping.noise_model import Filter
from pystack3d_dask.kernels.destriping.vsnr import Solution

PYVSNR = Lock()  # it changes numpy while it works: one thread at a time


def pyvsnr_solution(
    image: Array,
    filters: Sequence[Filter],
    *,
    beta: float = 10.0,
    maxit: int = 100,
    threshold: float = 0.0,
) -> Solution:
    """Remove stationary noise from one image by pyvsnr, on the CPU.

    Parameters and result are those of `pystack3d_dask.kernels.destriping.vsnr.remove_noise`.
    """
    import pyvsnr  # an extra, under another license

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
