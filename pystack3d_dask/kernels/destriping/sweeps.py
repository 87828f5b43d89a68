"""VSNR's sweeps over rows and spectra, shared by its solvers."""

from __future__ import annotations

from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled

EPSILON = np.float32(2**-23)  # added to |t|, so that it is never 0
FINITE = {"nnan", "ninf", "nsz", "contract"}


@compiled(fastmath=FINITE)
def subtract_row(image: Array, noise: Array, out: Array) -> None:
    """Write a row without noise, and its first pixel again behind it."""
    for c in range(image.size):
        out[c] = image[c] - noise[c]
    out[image.size] = out[0]


@compiled(fastmath=FINITE)
def update_dual(
    here: Array,
    below: Array,
    dual_x: Array,
    dual_y: Array,
    limit: np.float32,
    across: Array,
    down: Array,
) -> None:
    """Update one row of the dual, and write ``2 p' - p``.

    Parameters
    ----------
    here, below : ndarray, shape (columns + 1,)
        This row of the image without noise and the next one, first pixel repeated.
    dual_x, dual_y : ndarray, shape (columns,)
        This row of p, changed in place.
    limit : float32
        ``1 / beta``, the largest length of p.
    across : ndarray, shape (columns + 1,)
        Gets the x component, shifted by one, the last one first.
    down : ndarray, shape (columns,)
        Gets the y component.
    """
    columns = dual_x.size
    for c in range(columns):
        px, py = dual_x[c], dual_y[c]
        tx = here[c] - here[c + 1] + px
        ty = here[c] - below[c] + py
        factor = limit / max(np.sqrt(tx * tx + ty * ty) + EPSILON, limit)
        tx *= factor
        ty *= factor
        dual_x[c], dual_y[c] = tx, ty
        across[c + 1] = tx + tx - px
        down[c] = ty + ty - py
    across[0] = across[columns]


@compiled(fastmath=FINITE)
def write_divergence(across: Array, down: Array, above: Array, out: Array) -> None:
    """Write one row of the divergence; ``above`` is ``down`` of the row before."""
    for c in range(out.size):
        out[c] = across[c + 1] - across[c] + down[c] - above[c]


@compiled(fastmath=FINITE)
def update_spectrum(
    transformed: Array, spectrum: Array, psi: Array, across: Array, down: Array, beta: Any
) -> tuple[float, float]:
    """Replace the divergence's transform by Z, and update X.

    Parameters
    ----------
    transformed, spectrum : ndarray, shape (rows, 2 * frequencies)
        The transform, and X: real and imaginary parts in turn. Both are changed in place.
        All arrays are of one type, float32 or float64, and so is beta.
    psi : ndarray, shape (rows, frequencies)
        Amplitude of the noise.
    across, down : ndarray
        ``|D|^2`` along the columns, shape (frequencies,), and the rows, shape (rows,).
    beta : float
        Weight of the constraint.

    Returns
    -------
    tuple of float
        The squares of the largest change of X, and of its largest magnitude.
    """
    one = psi.dtype.type(1)
    largest = change = psi.dtype.type(0)
    for row in range(psi.shape[0]):
        values, found, strengths = transformed[row], spectrum[row], psi[row]
        for c in range(strengths.size):
            strength, power = strengths[c], down[row] + across[c]
            gain = beta * strength / (one + beta * power * strength * strength)
            feedback = power * strength
            real, imaginary = found[2 * c], found[2 * c + 1]
            new_real = gain * (values[2 * c] + feedback * real)
            new_imaginary = gain * (values[2 * c + 1] + feedback * imaginary)
            real -= new_real
            imaginary -= new_imaginary
            change = max(change, real * real + imaginary * imaginary)
            largest = max(largest, new_real * new_real + new_imaginary * new_imaginary)
            found[2 * c], found[2 * c + 1] = new_real, new_imaginary
            values[2 * c], values[2 * c + 1] = strength * new_real, strength * new_imaginary
    return change, largest


def relative_change(change: float, largest: float) -> float:
    """Return the largest change of X over its largest magnitude, from their squares."""
    return float(np.sqrt(change / largest)) if largest > 0 else 0.0
