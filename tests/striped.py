"""Specimens that go on along z, and stripes that do not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Stack = NDArray[np.float32]
SHAPE = (16, 160, 176)
CONTRAST = 30.0


def specimen(shape=SHAPE, sigmas=(3.0, 4.0, 4.0), seed=0) -> Stack:
    """Return smooth blobs with a standard deviation of `CONTRAST` around 120."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    field = ndimage.gaussian_filter(noise, sigmas, mode="wrap")
    return np.asarray(120 + CONTRAST * field / field.std(), np.float32)


def columns(shape=SHAPE, seed=0) -> Stack:
    """Return a specimen of upright fibers, which are as long as its slices."""
    return specimen(shape, (3.0, 60.0, 1.5), seed)


def fibers(shape=SHAPE, radius=3.0, count=100, seed=3) -> Stack:
    """Return round fibers along y, as long as slices, 40 gray levels bright."""
    random = np.random.default_rng(seed)
    z, x = np.mgrid[: shape[0], : shape[2]]
    section = np.zeros(z.shape)
    for _ in range(count):
        middle = random.uniform((-5, 0), (shape[0] + 5, shape[2]))
        inside = radius * random.uniform(0.7, 1.3) + 0.5 - np.hypot(z - middle[0], x - middle[1])
        section = np.maximum(section, inside.clip(0, 1))
    return np.asarray(np.broadcast_to(40 * section[:, np.newaxis], shape), np.float32)


def stripes(shape=SHAPE, rms=10.0, length=np.inf, width=2.0, seed=1, along_z=0.0) -> Stack:
    """Return stripes along y, new in each slice or with a correlation between neighbors."""
    rows = 1 if np.isinf(length) else shape[1]
    white = np.random.default_rng(seed).standard_normal((shape[0], rows, shape[2]))
    for z in range(1, shape[0]):
        white[z] = along_z * white[z - 1] + np.sqrt(1 - along_z**2) * white[z]
    sigmas = (0, 0 if rows == 1 else length / 2, width / 2)
    field = np.broadcast_to(ndimage.gaussian_filter(white, sigmas, mode="wrap"), shape)
    return np.asarray(field * (rms / field.std()), np.float32)


def rms(stack) -> float:
    """Return the root mean square of slices without their means."""
    centered = stack - stack.mean(axis=(1, 2), keepdims=True)
    return float(np.sqrt(np.mean(np.square(centered, dtype=np.float64))))
