"""VSNR for long stripes: their spectrum is nothing but in a few rows, so that one sweep does.

Between the spectrum and the image there is then no two-dimensional transform: along y a sum
over those few waves, made band by band within the sweep (`vsnr_bands`), along x transforms of
one row per wave. Noise and divergence are never written to memory as images.
What is small, spectra and sums, is in float64.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.destriping.noise_model import FewRows, difference_power
from pystack3d_dask.kernels.destriping.sweeps import (
    FINITE,
    relative_change,
    subtract_row,
    update_dual,
    update_spectrum,
    write_divergence,
)
from pystack3d_dask.kernels.destriping.wave_bands import GROUP
from pystack3d_dask.kernels.jit import compiled

ROWS_IN_FLOAT32 = 64  # whose sums are added in float32, before float64 takes over


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
        self._count, self._beta = len(noise.frequencies), np.float32(beta)
        self._psi = np.sqrt(scale * noise.power.astype(np.float64))
        self._across = difference_power(columns)[: columns // 2 + 1].astype(np.float64)
        self._down = np.tile(difference_power(rows)[noise.frequencies], 2).astype(np.float64)
        self._bands = noise.bands
        is_own_mirror = 2 * noise.frequencies % rows == 0
        self._weights = np.where(is_own_mirror, 0.5, 1.0)[:, None] / rows
        self._dual = np.zeros((2, rows, columns), np.float32)
        self._spectrum = np.zeros((2 * self._count, 2 * self._psi.shape[1]))
        self._amplitudes = np.zeros((self._bands.mixtures.shape[2], columns), np.float32)
        self._sums = np.empty(self._amplitudes.shape)

    def iterate(self) -> float:
        """Do one iteration; return how much the spectrum of x changed."""
        count, columns = self._count, self._u0.shape[1]
        profiles, mixtures = self._bands.profiles, self._bands.mixtures
        limit = np.float32(1) / self._beta
        last = _sweep(self._u0, self._dual, profiles, mixtures, self._amplitudes, limit, self._sums)
        self._sums[:count] -= last  # it comes before the first row, where cosines are 1
        cosines, sines = np.split(fft.rfft(self._sums[: 2 * count], axis=1), 2)
        transformed = np.concatenate([cosines - 1j * sines, cosines + 1j * sines])
        squares = update_spectrum(
            transformed.view(np.float64),
            self._spectrum,
            self._psi,
            self._across,
            self._down,
            float(self._beta),
        )
        plus, minus = np.split(transformed, 2)
        self._amplitudes[:count] = fft.irfft(self._weights * (plus + minus), n=columns)
        self._amplitudes[count : 2 * count] = fft.irfft(
            self._weights * 1j * (plus - minus), n=columns
        )
        return relative_change(*squares)

    def image(self) -> Array:
        """Return the image without the noise found so far."""
        clean = np.empty_like(self._u0)
        _clean(self._u0, self._bands.profiles, self._bands.mixtures, self._amplitudes, clean)
        return np.ascontiguousarray(clean.T) if self._transposed else clean


@compiled(fastmath=FINITE)
def _sweep(
    u0: Array,
    dual: Array,
    profiles: Array,
    mixtures: Array,
    amplitudes: Array,
    limit: np.float32,
    sums: Array,
) -> Array:
    """Update the dual in place, and sum the divergence of ``2 p' - p`` over each wave.

    Returns the y component of the last row, whose divergence with the first one is left out.
    """
    rows, columns = u0.shape
    height, count = profiles.shape
    noise = np.empty((count + GROUP, columns), np.float32)
    image = np.empty((GROUP + 1, columns + 1), np.float32)
    across = np.empty(columns + 1, np.float32)
    down = np.zeros((2, columns), np.float32)
    divergence = np.zeros((GROUP, columns), np.float32)
    in_band = np.zeros((count, columns), np.float32)
    few = np.zeros(sums.shape, np.float32)
    sums[:] = 0
    _noise_of_group(profiles, mixtures, amplitudes, 0, noise)
    for top in range(0, rows, GROUP):
        for j in range(GROUP):
            subtract_row(u0[(top + j) % rows], noise[count + j], image[j])
        _noise_of_group(profiles, mixtures, amplitudes, top + GROUP, noise)
        subtract_row(u0[(top + GROUP) % rows], noise[count], image[GROUP])
        for j in range(min(GROUP, rows - top)):
            row = top + j
            new, old = down[row % 2], down[(row + 1) % 2]
            update_dual(image[j], image[j + 1], dual[0, row], dual[1, row], limit, across, new)
            write_divergence(across, new, old, divergence[j])
        divergence[max(0, rows - top) :] = 0
        first = top % height
        _spread(profiles[first : first + GROUP], divergence, in_band)
        bottom = top + GROUP
        if bottom % height == 0 or bottom >= rows:
            mixture = mixtures[top // height]
            for i in range(0, count, GROUP):
                _spread(mixture[i : i + GROUP], in_band[i : i + GROUP], few)
            in_band[:] = 0
        if bottom % ROWS_IN_FLOAT32 == 0 or bottom >= rows:
            sums += few
            few[:] = 0
    last: Array = down[(rows - 1) % 2]
    return last


@compiled(fastmath=FINITE)
def _noise_of_group(
    profiles: Array, mixtures: Array, amplitudes: Array, top: int, noise: Array
) -> None:
    """Write the noise of some rows behind that of the profiles, made anew for each band."""
    height, count = profiles.shape
    band, first = top // height, top % height
    if first == 0:
        for i in range(0, count, GROUP):
            _mix(mixtures[band, i : i + GROUP], amplitudes, noise[i : i + GROUP])
    _mix(profiles[first : first + GROUP], noise[:count], noise[count:])


@compiled(fastmath=FINITE)
def _mix(weights: Array, rows: Array, out: Array) -> None:
    """Write four weighted sums of rows: ``weights @ rows``."""
    out[:] = 0
    for k in range(0, len(rows), GROUP):
        _add(weights[:, k : k + GROUP], rows[k : k + GROUP], out)


@compiled(fastmath=FINITE)
def _spread(weights: Array, rows: Array, sums: Array) -> None:
    """Add four rows, each times its weight, to every sum: ``weights.T @ rows``."""
    for k in range(0, len(sums), GROUP):
        _add(weights[:, k : k + GROUP].T, rows, sums[k : k + GROUP])


@compiled(fastmath=FINITE)
def _add(weights: Array, rows: Array, out: Array) -> None:
    """Add ``weights @ rows`` to four rows, four times four weights at once."""
    row0, row1, row2, row3 = rows[0], rows[1], rows[2], rows[3]
    out0, out1, out2, out3 = out[0], out[1], out[2], out[3]
    a0, a1, a2, a3 = weights[0, 0], weights[1, 0], weights[2, 0], weights[3, 0]
    b0, b1, b2, b3 = weights[0, 1], weights[1, 1], weights[2, 1], weights[3, 1]
    c0, c1, c2, c3 = weights[0, 2], weights[1, 2], weights[2, 2], weights[3, 2]
    d0, d1, d2, d3 = weights[0, 3], weights[1, 3], weights[2, 3], weights[3, 3]
    for x in range(out0.size):
        a, b, c, d = row0[x], row1[x], row2[x], row3[x]
        out0[x] += a0 * a + b0 * b + c0 * c + d0 * d
        out1[x] += a1 * a + b1 * b + c1 * c + d1 * d
        out2[x] += a2 * a + b2 * b + c2 * c + d2 * d
        out3[x] += a3 * a + b3 * b + c3 * c + d3 * d


@compiled(fastmath=FINITE)
def _clean(u0: Array, profiles: Array, mixtures: Array, amplitudes: Array, out: Array) -> None:
    """Write the image without noise."""
    rows, columns = u0.shape
    count = profiles.shape[1]
    noise = np.empty((count + GROUP, columns), np.float32)
    for first in range(0, rows, GROUP):
        _noise_of_group(profiles, mixtures, amplitudes, first, noise)
        for j in range(min(GROUP, rows - first)):
            for c in range(columns):
                out[first + j, c] = u0[first + j, c] - noise[count + j, c]
