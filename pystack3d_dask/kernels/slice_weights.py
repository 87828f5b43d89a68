"""Weights of the slices around a position between slices, by the schemes of interpolation.

Slices may lie at uneven distances. The schemes are those between pixels
(`kernels.registration.interpolation`), as far as they go there:

- "linear": the slices below and above.
- "catmull-rom": two below and two above. A cubic polynomial between the inner two, with the
  slopes of the parabolas through three slices each; of even slices the scheme of that name. Slices
  that lie closer together than the inner two tell less of a slope: what they differ by is noise.
- "cubic": the cubic spline through the `AROUND` slices nearest on either side, where these lie
  evenly enough; else "catmull-rom", for a spline would multiply the noise.
- "lanczos3": three below and three above, counted as if they were evenly spaced: for slices that
  nearly are.
- "whole": the nearest slice; of two as near the lower one.

Beyond the first and the last slice there is nothing: schemes make do with fewer slices there.

Where slices are made that lie further apart than those there are, a scheme passes most of these
over, and what changes from one to the next comes out as if it changed slowly. With their
``spacing``, from `THINNED` times the usual distance on, all slices count, the less the further they
are away, down to nothing at the next slice that is made: local linear regression with a triangular
kernel (Fan and Gijbels, Local Polynomial Modelling and Its Applications, 1996, section 2.3). What
changes evenly along z stays in its place, also at uneven distances and at the ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.registration.interpolation import LANCZOS3, Scheme, weigh

AROUND = 8  # slices: one more on either side would count less than a part in 30,000
REACHES: dict[Scheme, int] = {
    "linear": 1,
    "catmull-rom": 2,
    "cubic": AROUND,
    "lanczos3": 3,
    "whole": 1,
}


THINNED = 1.5  # usual distances of slices: what is made closer together passes over too few to tell

MOST = 1.1
"""Sum of the squared weights of a spline that is used: by it the variance of noise grows."""


class SliceWeights(NamedTuple):
    """Weights of the slices that each slice at another position is made of.

    Parameters
    ----------
    first : ndarray of int, shape (outputs,)
        The first slice that counts.
    weights : ndarray of float64, shape (outputs, slices)
        Of that one and those behind it; they add up to 1, and are 0 behind the last slice.
    """

    first: Array
    weights: Array


def slice_weights(
    positions: Array,
    below: Array,
    distance: Array,
    gap: Array,
    scheme: Scheme,
    spacing: Array | None = None,
) -> SliceWeights:
    """Return how much slices count at positions between them.

    Parameters
    ----------
    positions : ndarray, shape (slices,)
        Of the slices, ascending.
    below : ndarray of int, shape (outputs,)
        The slice below or at each wanted position, ascending.
    distance, gap : ndarray, shape (outputs,)
        From there to the position, 0 where the slice is to be copied, and to the next slice.
    scheme : {"linear", "catmull-rom", "cubic", "lanczos3", "whole"}
        How to interpolate.
    spacing : ndarray, shape (outputs,), optional
        How far the wanted positions lie apart, to count all slices where these lie much closer.
    """
    reach = REACHES[scheme]
    first, rows = np.maximum(below - reach + 1, 0), []
    thinned = are_thinned(positions, np.zeros(len(below)) if spacing is None else spacing)
    for k, (start, base) in enumerate(zip(first, below, strict=True)):
        if spacing is not None and thinned[k] and not _is_in_gap(positions, base, spacing[k]):
            first[k], found = _thinned(positions, positions[base] + distance[k], spacing[k])
        elif distance[k] == 0:
            found = np.eye(1, 2 * reach, base - start)[0]
        else:
            own = positions[start : base + reach + 1]
            found = _weights(own, base - start, distance[k] / gap[k], scheme)
        rows.append(found)
    weights = np.zeros((len(below), max(2 * reach, *map(len, rows), 0)))
    for row, found in zip(weights, rows, strict=True):
        row[: len(found)] = found
    return SliceWeights(first, weights)


def are_thinned(positions: Array, spacing: Array) -> Array:
    """Return which positions lie so far apart that slices between them would be passed over."""
    usual = np.median(np.diff(positions)) if len(positions) > 1 else np.inf
    return np.asarray(spacing >= THINNED * usual)


def _is_in_gap(positions: Array, base: int, width: float) -> bool:
    """Return whether a slice is no nearer to the next one than a width, the last to that before."""
    base = min(base, len(positions) - 2)
    return bool(positions[base + 1] - positions[base] >= width)


def _thinned(positions: Array, z: float, width: float) -> tuple[int, Array]:
    """Return the first slice nearer to a position than a width, and the weights of all of them."""
    near = np.flatnonzero(np.abs(positions - z) < width)
    away = (positions[near] - z) / width
    kernel = 1 - np.abs(away)
    total, lean, spread = (float(np.sum(kernel * away**power)) for power in range(3))
    return int(near[0]), kernel * (spread - lean * away) / (total * spread - lean * lean)


def _weights(own: Array, base: int, t: float, scheme: Scheme) -> Array:
    """Return the weights of some slices, a share ``t`` of the gap above the one ``base``."""
    found = np.zeros(len(own))
    if scheme == "cubic":
        from scipy.interpolate import CubicSpline  # not at the top: workers start sooner

        z = own[base] + t * (own[base + 1] - own[base])
        spline = np.asarray(CubicSpline(own, np.eye(len(own)))(z))
        if np.square(spline).sum() <= MOST:
            return spline
    if scheme in ("cubic", "catmull-rom"):
        _add_hermite(own, base, t, found)
    elif scheme == "lanczos3":
        wide = np.empty(6)
        weigh(LANCZOS3, t, wide)
        start = 2 - base
        found[:] = wide[start : start + len(own)]
        found /= found.sum()
    elif scheme == "whole":
        found[base + (t > 0.5)] = 1
    else:
        found[base : base + 2] = 1 - t, t
    return found


def _add_hermite(own: Array, base: int, t: float, weights: Array) -> None:
    """Add the weights of the cubic polynomial between two slices, of their values and slopes."""
    weights[base] += (1 + 2 * t) * (1 - t) ** 2
    weights[base + 1] += t * t * (3 - 2 * t)
    gaps = np.diff(own)
    shares = t * (1 - t) ** 2 * gaps[base], -t * t * (1 - t) * gaps[base]
    for share, beside in zip(shares, (base - 1, base + 1), strict=True):
        _add_slope(gaps, base, beside, share, weights)


def _add_slope(gaps: Array, inner: int, beside: int, share: float, weights: Array) -> None:
    """Add what a slope is made of: what slices differ by in the inner gap, and in that beside."""
    part = 0.0  # of the one beside; none at the ends of the stack
    if 0 <= beside < len(gaps):
        part = gaps[inner] / (gaps[inner] + gaps[beside]) * min(1.0, gaps[beside] / gaps[inner])
    for gap, each in ((inner, 1 - part), (beside, part)):
        if each:
            weights[gap + 1] += share * each / gaps[gap]
            weights[gap] -= share * each / gaps[gap]
