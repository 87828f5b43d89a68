"""Stripes and curtains: what the ion beam, which comes from the top, leaves on the faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from pystack3d_dask.demo.fields import Plane, smooth_field
from ruler.acquired import Array
from ruler.faces import Faces, float32

Rng = np.random.Generator

STEP = 12.0
"""Gray levels over two rows from which on an edge is an interface."""


@dataclass(frozen=True)
class Stripes:
    """Stripes anywhere, bright and dark, whatever the specimen shows.

    Parameters
    ----------
    rms : float
        Of all stripes of the stack, in gray levels.
    width : float
        Of a stripe in pixels: its profile is white noise after a Gaussian half as wide.
    length : float
        Of a stripe in pixels; infinite ones run from the upper to the lower edge.
    angles : tuple of float
        Degrees by which they lean to the right on the way down; several make sets of stripes
        that cross and are equally strong.
    along_z : float
        Correlation between neighboring slices, 0 to 1.
    """

    rms: float
    width: float = 2.0
    length: float = float("inf")
    angles: tuple[float, ...] = (0.0,)
    along_z: float = 0.0

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the striped stack."""
        field = sum(self._leaning(stack.shape, angle, rng) for angle in self.angles)
        return float32(stack + _of_rms(np.asarray(field), self.rms))

    def _leaning(self, shape: tuple[int, ...], angle: float, rng: Rng) -> Array:
        """Return one set of stripes with an rms of 1, shape (slices, rows, columns)."""
        slices, rows, columns = shape
        lean = np.tan(np.deg2rad(angle)) * (np.arange(rows) - (rows - 1) / 2)
        margin = int(np.abs(lean).max()) + 2
        y, x = np.mgrid[:rows, :columns]
        places = [y, x + margin - lean[:, None]]
        upright = self._upright((slices, rows, columns + 2 * margin), rng)
        field = np.stack([ndimage.map_coordinates(each, places, order=1) for each in upright])
        return _of_rms(field, 1.0)

    def _upright(self, shape: tuple[int, int, int], rng: Rng) -> Array:
        """Return stripes along y, correlated along z as they should be."""
        slices, rows, columns = shape
        endless = np.isinf(self.length)
        white = rng.standard_normal((slices, 1 if endless else rows, columns), np.float32)
        sigmas = (0, 0 if endless else self.length / 2, self.width / 2)
        field = np.broadcast_to(ndimage.gaussian_filter(white, sigmas, mode="wrap"), shape).copy()
        for k in range(1, slices):
            field[k] = self.along_z * field[k - 1] + np.sqrt(1 - self.along_z**2) * field[k]
        return field


@dataclass(frozen=True)
class Curtains:
    """Streaks that begin where the beam leaves a pore or an interface, and fade on the way down.

    Nothing is above an interface that lies highest. How strong a streak is depends on the place
    in the specimen, so that it moves with the drift, and goes on through some slices.

    Parameters
    ----------
    rms : float
        Of all curtains of the stack, in gray levels; 0 where there is no interface.
    width : float
        Of a streak in pixels.
    length : float
        Rows over which a streak fades to 37 %.
    persistence : tuple of float
        Slices through which streaks go on; several make streaks of several kinds.
    in_pores : float
        Share that is seen in the dark class, where there is no face.
    """

    rms: float
    width: float = 2.0
    length: float = 80.0
    persistence: tuple[float, ...] = (3.0, 12.0, 40.0)
    in_pores: float = 0.25

    def damage(self, stack: Array, faces: Faces, rng: Rng) -> Array:
        """Return the stack behind curtains."""
        seed = int(rng.integers(2**31))
        streaks = np.stack([self._streaks(faces, k, seed) for k in range(len(stack))])
        return float32(stack + _of_rms(streaks, self.rms))

    def _streaks(self, faces: Faces, k: int, seed: int) -> Array:
        """Return the streaks of a slice, of some strength."""
        y, x = faces.shifts[k]
        plane = Plane(seed, (k, -float(y), -float(x)), faces.clean.shape[1:])
        sources = interfaces(faces.clean[k]) * self._roughness(plane)
        keep = np.exp(-1 / self.length)
        streaks = signal.lfilter([1 - keep], [1, -keep], sources, axis=0)
        return np.asarray(streaks * np.where(faces.pores[k], self.in_pores, 1))

    def _roughness(self, plane: Plane) -> Array:
        """Return how bright or dark a streak would begin at each pixel; few are strong."""
        fields = [
            smooth_field(plane, f"persistent {slices}", (slices, 12 * self.width, self.width))
            for slices in self.persistence
        ]
        return np.asarray(np.sum([field * np.abs(field) for field in fields], axis=0))


def interfaces(face: Array) -> Array:
    """Return by how much the contrast to two rows above exceeds `STEP`, 0 in the uppermost rows."""
    contrast = np.zeros_like(face)
    contrast[2:] = np.abs(face[2:] - face[:-2])
    return np.asarray(np.maximum(contrast - STEP, 0))


def _of_rms(field: Array, rms: float) -> Array:
    found = float(np.sqrt(np.mean(np.square(field, dtype=np.float64))))
    return field * (rms / found) if found else field
