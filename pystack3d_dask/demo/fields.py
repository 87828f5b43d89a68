"""Randomness as a function of position: smooth fields and grain, hashed from a key.

Nothing is drawn in sequence, so a value depends on its key and its place only: not on the
slices that were made before, on the number of threads, or on the extent that was asked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled

Triplet = tuple[float, float, float]

VOXEL_SIZE = 0.01
"""Edge of a voxel, and nominal thickness of a slice, in micrometers."""


@dataclass(frozen=True)
class Plane:
    """The points of a volume that one slice shows: a grid of pixels at one depth.

    Parameters
    ----------
    seed : int
        Which volume.
    start : tuple of float
        Position z, y, x of the first pixel; pixels are one apart.
    shape : tuple of int
        Rows and columns.
    """

    seed: int
    start: Triplet
    shape: tuple[int, int]


def hashed(seed: int, name: str) -> np.uint64:
    """Return the key that belongs to a seed and a name."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def smooth_field(plane: Plane, name: str, period: float | Triplet, depth: float = 0.0) -> Array:
    """Return a slice of the smooth random field called ``name``, float32, shape of the plane.

    Random values on a lattice, interpolated by cubic B-splines whose weights are scaled so
    that the field has mean 0 and variance 1 everywhere; close to normally distributed.

    Parameters
    ----------
    plane : Plane
        Where.
    name : str
        Fields of other names are independent.
    period : float or tuple of float
        Spacing of the lattice in pixels, the same or one each along z, y and x. Blobs of the
        field are about twice as wide.
    depth : float
        Pixels along z from the plane to where the field is wanted.
    """
    periods = (period, period, period) if isinstance(period, int | float) else period
    z, y, x = plane.start
    (layer,), z_weights = _taps(z + depth, 1, periods[0])
    rows, y_weights = _taps(y, plane.shape[0], periods[1])
    columns, x_weights = _taps(x, plane.shape[1], periods[2])
    lattice = np.empty((rows[-1] - rows[0] + 4, columns[-1] - columns[0] + 4), np.float32)
    _lattice(hashed(plane.seed, name), layer, rows[0], columns[0], z_weights[0], lattice)
    out = np.empty(plane.shape, np.float32)
    _interpolate(lattice, rows - rows[0], y_weights, columns - columns[0], x_weights, out)
    return out


def _taps(start: float, count: int, period: float) -> tuple[Array, Array]:
    """Return the first of four lattice points and their weights, for each of ``count`` pixels."""
    place = (start + np.arange(count)) / period
    first = np.floor(place)
    t, u = place - first, 1 - (place - first)
    weights = np.stack([u**3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * u**2 + 3 * u**3, t**3])
    weights /= np.sqrt(np.square(weights).sum(axis=0))
    return first.astype(np.int64) - 1, np.ascontiguousarray(weights.T, dtype=np.float32)


@compiled()
def _mixed(bits: np.uint64) -> np.uint64:
    """Return 64 bits, each of which depends on each of the given ones (splitmix64's last step)."""
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@compiled()
def _row_key(key: np.uint64, z: int, y: int) -> np.uint64:
    return _mixed(_mixed(key + np.uint64(z)) + np.uint64(y))


@compiled()
def normal(row: np.uint64, x: int) -> np.float32:
    """Return a nearly normal number, mean 0 and variance 1: the sum of four uniform ones."""
    bits = _mixed(row + np.uint64(x) * np.uint64(0x9E3779B97F4A7C15))
    mask = np.uint64(0xFFFF)
    total = (bits & mask) + ((bits >> np.uint64(16)) & mask)
    total += ((bits >> np.uint64(32)) & mask) + (bits >> np.uint64(48))
    return (np.float32(total) - np.float32(131070)) * np.float32(2.6429e-5)


@compiled()
def _lattice(key: np.uint64, z: int, y: int, x: int, weights: Array, out: Array) -> None:
    """Fill ``out`` with the lattice from (y, x) on, interpolated between four of its layers."""
    out[:] = 0
    for i in range(4):
        for j in range(out.shape[0]):
            row = _row_key(key, z + i, y + j)
            for k in range(out.shape[1]):
                out[j, k] += weights[i] * normal(row, x + k)


@compiled()
def _interpolate(
    lattice: Array, rows: Array, y_weights: Array, columns: Array, x_weights: Array, out: Array
) -> None:
    line = np.empty(lattice.shape[1], np.float32)
    for y in range(out.shape[0]):
        j, v = rows[y], y_weights[y]
        for k in range(line.size):
            line[k] = (
                v[0] * lattice[j, k]
                + v[1] * lattice[j + 1, k]
                + v[2] * lattice[j + 2, k]
                + v[3] * lattice[j + 3, k]
            )
        for x in range(out.shape[1]):
            k, w = columns[x], x_weights[x]
            out[y, x] = (
                w[0] * line[k] + w[1] * line[k + 1] + w[2] * line[k + 2] + w[3] * line[k + 3]
            )


def grain(seed: int, name: str, index: int, shape: tuple[int, int]) -> Array:
    """Return white noise for slice ``index``, float32, mean 0 and variance 1."""
    out = np.empty(shape, np.float32)
    _grain(hashed(seed, name), index, out)
    return out


@compiled()
def _grain(key: np.uint64, index: int, out: Array) -> None:
    for y in range(out.shape[0]):
        row = _row_key(key, index, y)
        for x in range(out.shape[1]):
            out[y, x] = normal(row, x)
