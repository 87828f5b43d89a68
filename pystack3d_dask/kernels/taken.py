"""Harm of a correction, from what it took away and what neighboring slices show.

What is a defect of one slice alone, as a stripe, is in no other slice, and the specimen is in its
neighbors, too. With a = s + d + n the slice (specimen, defect, noise), r what a correction takes
away, and <> the mean over pixels and slices, the squared error against s changes by

    change = <r r> - 2 <r (d + n)>,        <r (d + n)> = <r a> - <r s>,

and since neither d nor n of a slice at distance k goes together with r, <r s> is what <r a_k> tends
to for k -> 0: as it is even in k, (4 <r a_1> - <r a_2>) / 3, but for terms of fourth order. No
truth is needed.

What goes on through slices, as some curtains do, counts as specimen here. A control tells them
apart where the specimen looks alike in both directions: what the correction would take from slices
that are turned by 90 degrees, by the share that it takes at each frequency. Curtains are not there
then, and as much of the specimen is. Of a specimen that is upright it tells nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import fft

from pystack3d_dask.core.typing import Array, Arrays

RUN = 3  # slices one after the other that are compared
FEWEST = 3  # runs that tell how much they differ
APART = 1  # pixels: by which shifts of parts of slices may differ that move as one
LEAST = 0.1  # of the square of what was taken: less of it in the slices is chance
NAMES = ("taken_square", "taken_own", "taken_shared", "taken_if_turned", "given_square")


class Harm(NamedTuple):
    """Change of the squared error of slices by a correction, and what tells its cause.

    Parameters
    ----------
    rms : float
        Of what it took away, in gray levels.
    share : float
        Of what slices had of it, the share that neighboring slices show as well, 0 to 1: the
        specimen, or what goes on through slices. NaN where they had none of it, or nothing was
        taken.
    turned : float
        Square of what would be taken from slices that are turned by 90 degrees, over that of what
        was taken; 0 where nothing was.
    change : float
        Of the mean squared error, in squared gray levels: below 0 the slices are better for it.
    uncertainty : float
        Standard error of that, from runs of slices; NaN for fewer than `FEWEST`.
    contrast : float
        Standard deviation of the slices before, in gray levels.
    """

    rms: float
    share: float
    turned: float
    change: float
    uncertainty: float
    contrast: float


def products(before: Array, after: Array) -> Arrays:
    """Return the means that the harm of a correction is found from, of slices that follow.

    Parameters
    ----------
    before, after : ndarray, shape (RUN, windows, rows, columns)
        The same windows of each slice, any real type, without NaN.

    Returns
    -------
    dict of ndarray of float64, shape ()
        In squared gray levels, by `NAMES`: <r r>, <r a>, <r s>, <r r> of the control, and the
        variance of ``before``.
        Means of windows are taken away first, and slices are laid upon each other by whole pixels,
        where their parts agree on how far they are moved.
    """
    given, left = _centered(before), _centered(after)
    taken = given - left
    # by what is left: stripes that were taken tell nothing of where the specimen is
    places = np.cumsum([(0, 0), *(_shift(left[k], left[k + 1]) for k in range(RUN - 1))], axis=0)
    by_distance = []
    for distance in range(RUN):
        pairs = [(k, k + distance) for k in range(RUN - distance)]
        means = [
            _product(one[i], other[j], places[j] - places[i])
            for i, j in pairs
            for one, other in ((taken, given), (given, taken))
        ]
        by_distance.append(float(np.mean(means)))
    own, near, far = by_distance
    square = float(np.mean(taken**2))
    control = square * _control(given, taken)
    found = (square, own, (4 * near - far) / 3, control, np.mean(given**2))
    return {name: np.array(value, np.float64) for name, value in zip(NAMES, found, strict=True)}


def harm(found: Arrays) -> Harm:
    """Return the harm of a correction to a stack.

    Parameters
    ----------
    found : dict of ndarray, shape (runs,)
        What `products` returned of some runs of slices, by name.
    """
    square, own, specimen, control, given = (np.asarray(found[name], np.float64) for name in NAMES)
    change = square - 2 * (own - specimen)
    is_theirs = own.sum() > LEAST * square.sum()
    share = float(np.clip(specimen.sum() / own.sum(), 0, 1)) if is_theirs else np.nan
    is_known = len(change) >= FEWEST
    spread = np.std(change, ddof=1) / np.sqrt(len(change)) if is_known else np.nan
    return Harm(
        rms=float(np.sqrt(square.mean())),
        share=share,
        turned=float(control.sum() / square.sum()) if square.any() else 0.0,
        change=float(change.mean()),
        uncertainty=float(spread),
        contrast=float(np.sqrt(given.mean())),
    )


def _centered(windows: Array) -> Array:
    values = windows.astype(np.float64)
    values -= values.mean(axis=(-2, -1), keepdims=True)
    return values


def _control(given: Array, taken: Array) -> float:
    """Return the square of what would be taken from slices that are turned, over what was taken."""
    side = min(given.shape[-2:])
    taper = np.hanning(side + 2)[1:-1, None] * np.hanning(side + 2)[1:-1]
    square = given[..., :side, :side]
    power_given, power_taken, power_turned = (
        np.sum(np.abs(fft.fft2(each * taper)) ** 2, axis=(0, 1))
        for each in (square, taken[..., :side, :side], np.rot90(square, axes=(-2, -1)))
    )
    is_there = power_given > 0
    gain = np.divide(power_taken, power_given, out=np.zeros_like(power_taken), where=is_there)
    total = float(power_taken.sum())
    return float(np.sum(gain.clip(0, 1) * power_turned)) / total if total else 0.0


def _shift(one: Array, other: Array) -> tuple[int, int]:
    """Return by how many rows and columns a slice is moved against the one before it.

    Stripes look alike somewhere by chance, and the specimen in all its parts at one place: 0 where
    halves of the windows do not agree.
    """
    rows, columns = (n // 2 for n in one.shape[-2:])
    halves = (
        np.s_[..., :columns],
        np.s_[..., columns:],
        np.s_[..., :rows, :],
        np.s_[..., rows:, :],
    )
    best = _alike(one, other)
    parts = [_alike(one[half], other[half]) for half in halves]
    is_agreed = all(abs(a - b) <= APART for part in parts for a, b in zip(part, best, strict=True))
    return best if is_agreed else (0, 0)


def _alike(one: Array, other: Array) -> tuple[int, int]:
    """Return where windows are alike best, all of them together; a quarter of one at most."""
    rows, columns = one.shape[-2:]
    taper = np.hanning(rows + 2)[1:-1, None] * np.hanning(columns + 2)[1:-1]
    spectra = fft.rfft2(other * taper) * fft.rfft2(one * taper).conj()
    alike = fft.irfft2(spectra.sum(axis=0), (rows, columns))
    y, x = (fft.fftfreq(n, 1 / n).astype(int) for n in (rows, columns))
    near = (np.abs(y) <= rows // 4)[:, None] & (np.abs(x) <= columns // 4)
    best = np.unravel_index(np.argmax(np.where(near, alike, -np.inf)), alike.shape)
    return int(y[best[0]]), int(x[best[1]])


def _product(one: Array, other: Array, shift: Array) -> float:
    """Return the mean product of windows, the second of which show what the first do, moved."""
    rows, columns = one.shape[-2:]
    y, x = int(shift[0]), int(shift[1])
    first = one[:, max(0, -y) : rows - max(0, y), max(0, -x) : columns - max(0, x)]
    second = other[:, max(0, y) : rows - max(0, -y), max(0, x) : columns - max(0, -x)]
    return float(np.mean(first * second)) if first.size else 0.0
