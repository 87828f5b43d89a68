"""VSNR for long stripes: their spectrum is nothing but in a few rows, so that one sweep does.

Between the spectrum and the image there is then no two-dimensional transform: along y a sum
over those few waves, made row by row within the sweep, along x transforms of one row per
wave. Noise and divergence are never written to memory as images.
What is small, spectra and sums, is in float64.
"""

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
from pystack3d_dask.steps.vsnr_noise import FewRows, difference_power

BAND = 4  # rows that are summed at a time: the waves' amplitudes are read once for all of them
BANDS = 16  # whose sums are added in float32, before float64 takes over


class FewRowsSolver:
    """The state of the iterations on one image.

    Parameters
    ----------
    u0 : ndarray of float32, shape (rows, columns)
        The image.
    noise : FewRows
        Where its spectrum is not nothing.
    scale : float
        Factor of the noise's power, for this image.
    beta : float
        Weight of the constraint.
    """

    def __init__(self, u0: Array, noise: FewRows, scale: float, beta: float) -> None:
        self._transposed = noise.transposed
        self._u0 = np.ascontiguousarray(u0.T if noise.transposed else u0)
        rows, columns = self._u0.shape
        count = len(noise.frequencies)
        self._count, self._beta = count, np.float32(beta)
        self._psi = np.sqrt(scale * noise.power.astype(np.float64))
        self._across = difference_power(columns)[: columns // 2 + 1].astype(np.float64)
        self._down = np.tile(difference_power(rows)[noise.frequencies], 2).astype(np.float64)
        self._waves = _waves(noise.frequencies, rows)
        is_own_mirror = 2 * noise.frequencies % rows == 0
        self._weights = np.where(is_own_mirror, 0.5, 1.0)[:, None] / rows
        self._dual = np.zeros((2, rows, columns), np.float32)
        self._spectrum = np.zeros((2 * count, 2 * self._psi.shape[1]))
        self._amplitudes = np.zeros((2 * count, columns), np.float32)
        self._sums = np.empty((2 * count, columns))

    def iterate(self) -> float:
        """Do one iteration; return how much the spectrum of x changed."""
        limit = np.float32(1) / self._beta
        _sweep(self._u0, self._dual, self._waves, self._amplitudes, limit, self._sums)
        cosines, sines = np.split(fft.rfft(self._sums, axis=1), 2)
        transformed = np.concatenate([cosines - 1j * sines, cosines + 1j * sines])
        change = update_spectrum(
            transformed.view(np.float64),
            self._spectrum,
            self._psi,
            self._across,
            self._down,
            float(self._beta),
        )
        plus, minus = np.split(transformed, 2)
        columns = self._u0.shape[1]
        self._amplitudes[: self._count] = fft.irfft(self._weights * (plus + minus), n=columns)
        self._amplitudes[self._count :] = fft.irfft(self._weights * 1j * (plus - minus), n=columns)
        return change

    def image(self) -> Array:
        """Return the image without the noise found so far."""
        clean = np.empty_like(self._u0)
        _clean(self._u0, self._waves, self._amplitudes, clean)
        return np.ascontiguousarray(clean.T) if self._transposed else clean


def _waves(frequencies: Array, rows: int) -> Array:
    """Return cosines and sines along y, shape (rows + padding, 2 * frequencies)."""
    angles = 2 * np.pi / rows * (np.arange(rows)[:, None] * frequencies % rows)
    waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return np.pad(waves, ((0, BAND - 1), (0, 0))).astype(np.float32)


@compiled(fastmath=FINITE)
def _sweep(
    u0: Array, dual: Array, waves: Array, amplitudes: Array, limit: np.float32, sums: Array
) -> None:
    """Update the dual in place, and sum the divergence of ``2 p' - p`` over each wave."""
    rows, columns = u0.shape
    image = np.empty((BAND + 1, columns + 1), np.float32)
    coming = np.empty((BAND, columns + 1), np.float32)
    across = np.empty(columns + 1, np.float32)
    down = np.zeros((2, columns), np.float32)
    divergence = np.zeros((BAND, columns), np.float32)
    few = np.zeros(sums.shape, np.float32)
    sums[:] = 0
    _clean_band(u0, waves, amplitudes, 0, coming)
    for top in range(0, rows, BAND):
        image[:BAND] = coming
        _clean_band(u0, waves, amplitudes, top + BAND, coming)
        image[BAND] = coming[0]
        for j in range(min(BAND, rows - top)):
            row = top + j
            update_dual(
                image[j],
                image[j + 1],
                dual[0, row],
                dual[1, row],
                limit,
                across,
                down[row % 2],
            )
            write_divergence(across, down[row % 2], down[(row + 1) % 2], divergence[j])
        divergence[max(0, rows - top) :] = 0
        _add_band(divergence, waves, top, few)
        if (top // BAND + 1) % BANDS == 0:
            sums += few
            few[:] = 0
    sums += few
    for k in range(waves.shape[1]):
        sums[k] -= waves[0, k] * down[(rows - 1) % 2]


@compiled(fastmath=FINITE)
def _clean_band(u0: Array, waves: Array, amplitudes: Array, top: int, out: Array) -> None:
    """Write four rows without noise, going on at the first one, each with its first pixel again."""
    rows, columns = u0.shape
    r0, r1, r2, r3 = top % rows, (top + 1) % rows, (top + 2) % rows, (top + 3) % rows
    out0, out1, out2, out3 = out[0], out[1], out[2], out[3]
    out[:] = 0  # the noise is summed by itself: its rounding errors are those of small numbers
    for k in range(0, waves.shape[1], 2):
        a0, a1, a2, a3 = waves[r0, k], waves[r1, k], waves[r2, k], waves[r3, k]
        b0, b1, b2, b3 = waves[r0, k + 1], waves[r1, k + 1], waves[r2, k + 1], waves[r3, k + 1]
        first, second = amplitudes[k], amplitudes[k + 1]
        for c in range(columns):
            a, b = first[c], second[c]
            out0[c] += a0 * a + b0 * b
            out1[c] += a1 * a + b1 * b
            out2[c] += a2 * a + b2 * b
            out3[c] += a3 * a + b3 * b
    for c in range(columns):
        out0[c] = u0[r0, c] - out0[c]
        out1[c] = u0[r1, c] - out1[c]
        out2[c] = u0[r2, c] - out2[c]
        out3[c] = u0[r3, c] - out3[c]
    for row in range(BAND):
        out[row, columns] = out[row, 0]


@compiled(fastmath=FINITE)
def _add_band(values: Array, waves: Array, top: int, sums: Array) -> None:
    """Add four rows, times each wave, to the sums."""
    v0, v1, v2, v3 = values[0], values[1], values[2], values[3]
    for k in range(0, waves.shape[1], 2):
        a0, a1, a2, a3 = waves[top, k], waves[top + 1, k], waves[top + 2, k], waves[top + 3, k]
        b0, b1 = waves[top, k + 1], waves[top + 1, k + 1]
        b2, b3 = waves[top + 2, k + 1], waves[top + 3, k + 1]
        first, second = sums[k], sums[k + 1]
        for c in range(v0.size):
            first[c] += a0 * v0[c] + a1 * v1[c] + a2 * v2[c] + a3 * v3[c]
            second[c] += b0 * v0[c] + b1 * v1[c] + b2 * v2[c] + b3 * v3[c]


@compiled(fastmath=FINITE)
def _clean(u0: Array, waves: Array, amplitudes: Array, out: Array) -> None:
    rows, columns = u0.shape
    band = np.empty((BAND, columns + 1), np.float32)
    for top in range(0, rows, BAND):
        _clean_band(u0, waves, amplitudes, top, band)
        for j in range(min(BAND, rows - top)):
            out[top + j] = band[j, :columns]
