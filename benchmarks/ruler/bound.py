"""Bound of the error that a linear guess at stripes leaves, which knows specimen and stripes.

For groups of frequencies, the covariances of specimen and stripes between neighboring slices are
taken from the truth. The best guess that is linear in the slice and its neighbors leaves a known
error (Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, chapter 12).
No filter that is linear and the same everywhere can leave less; others may.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy import fft

from ruler.acquired import Acquired, Array
from ruler.cases import STRIPED

REACH = 3
"""Slices on each side."""
ROWS, COLUMNS = 3, 9
"""Frequencies of a group, along y and x: a stripe's are few along y, and alike along x."""
REGULAR = 1e-6
"""Share of the power that is added to each slice, so that covariances can be inverted."""


def stripe_bound(acquired: Acquired) -> float:
    """Return the root mean square that is left of stripes at best; NaN of other cases.

    Parameters
    ----------
    acquired : Acquired
        A stack with stripes alone; with at least ``2 * REACH + 1`` slices.
    """
    if acquired.name.partition(": ")[2] not in STRIPED or len(acquired.slices) <= 2 * REACH:
        return np.nan
    clean = acquired.clean.astype(np.float64)
    stripes = acquired.slices - clean - acquired.noise
    total = 0.0
    for specimen, lines in zip(_groups(clean), _groups(stripes), strict=True):
        ours, theirs = _covariance(specimen), _covariance(lines)
        whole = ours + theirs
        whole += REGULAR * np.trace(whole).real / len(whole) * np.eye(len(whole))
        wanted = theirs[REACH]
        left = theirs[REACH, REACH] - wanted @ np.linalg.solve(whole, wanted.conj())
        total += max(float(left.real), 0.0) * specimen[0].size
    return float(np.sqrt(total) / np.prod(clean.shape[1:]))


def _groups(stack: Array) -> Iterator[Array]:
    """Yield the spectra of slices in groups, each of shape (slices, frequencies)."""
    spectra = fft.fft2(stack - stack.mean(axis=(1, 2), keepdims=True))
    spectra = fft.fftshift(spectra, axes=(1, 2))
    _, rows, columns = spectra.shape
    for y in _parts(rows, ROWS):
        for x in _parts(columns, COLUMNS):
            yield spectra[:, y, x].reshape(len(spectra), -1)


def _parts(extent: int, step: int) -> list[slice]:
    """Return parts of some frequencies, of which the zero is the middle of one."""
    first = (extent // 2 - step // 2) % step or step
    return [slice(a, b) for a, b in pairwise([0, *range(first, extent, step), extent])]


def _covariance(group: Array) -> Array:
    """Return the covariance of a slice and its neighbors, shape (2 * REACH + 1,) * 2."""
    width = 2 * REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(group, width, axis=0)
    samples = windows.reshape(-1, width)
    return np.asarray(samples.T @ samples.conj() / len(samples))
