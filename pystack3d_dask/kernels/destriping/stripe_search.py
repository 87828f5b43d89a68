"""The search for stripes that change from slice to slice, with a control.

Stripes along x are those along y of slices whose axes are exchanged. What is found along the other
axis, where nobody looks for stripes, tells how much may be found without any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.destriping.stripe_frequencies import (
    MARGIN,
    Frequencies,
    frequencies_of,
    spectrum_of,
)
from pystack3d_dask.kernels.destriping.stripe_model import (
    LAGS,
    MOST_CAUTIOUS,
    StripeModel,
    rms_removed,
    slice_powers,
    stripe_model,
)
from pystack3d_dask.kernels.registration.overlay import CellView, shift_between

Direction = Literal["y", "x"]
OURS, CONTROL = "stripes_", "control_"  # before the names of powers along either axis
OTHER: Mapping[Direction, Direction] = {"y": "x", "x": "y"}
SMALLEST = 48  # rows and columns
FEWEST = 4  # slices that are compared with three others
FEWEST_SLICES = FEWEST + LAGS - 1  # of a stack
STILL = 0.25  # pixels: smaller movements are not told from errors
TIMES_CONTROL = 3.0  # what is found along the axis of stripes, over what is found along the other
TAILS, TAILS_APART = (2.3, 97.7), 4.0  # percentiles, and their distance in standard deviations
NOTICEABLE = 0.05  # of the contrast
MOST_POWER, LEAST_SHARED = 4.0, 0.5  # of what is usual: other slices show something else


@dataclass(frozen=True)
class Found:
    """Stripes, as far as there are any.

    Parameters
    ----------
    model : StripeModel
        Of the stack.
    expected : float
        What will be removed, in gray levels.
    rms : float
        The same, at least.
    control : float
        What would be, had it been looked for along the other axis.
    contrast : float
        Standard deviation of slices.
    """

    model: StripeModel
    expected: float
    rms: float
    control: float
    contrast: float

    @property
    def are_stripes(self) -> bool:
        """True if it is more than what may be found without stripes, and noticeable."""
        least = max(TIMES_CONTROL * self.control, NOTICEABLE * self.contrast)
        return bool(self.rms > least)


def compare(images: Sequence[Array], along: Direction) -> Arrays:
    """Return what a slice has in common with those before it.

    Parameters
    ----------
    images : sequence of ndarray, each of shape (rows, columns)
        The slice, the one before it, and so on, `LAGS` of them or fewer; of NumPy.
    along : {"y", "x"}
        Direction of the stripes.

    Returns
    -------
    dict of ndarray
        Small ones, for `find`. Slices that have moved out of reach do not count.
    """
    moves = from_slice(0, steps(images))
    low, high = np.percentile(images[0], TAILS)  # a few hot pixels are no contrast
    found: Arrays = {"contrast": np.array((high - low) / TAILS_APART)}
    for name, direction in ((OURS, along), (CONTROL, OTHER[along])):
        turned = [upright(image, direction) for image in images]
        frequencies = frequencies_of(turned[0].shape)
        every_place = np.arange(np.prod(frequencies.spectrum))
        spectra = []
        for image, move in zip(turned, moves, strict=True):
            if is_out_of_reach(move, image.shape):
                break
            spectrum = spectrum_of(image, frequencies)
            if move.any():
                phases = frequencies.phases(every_place, -_turned(move, direction))
                spectrum *= phases.reshape(spectrum.shape)
            spectra.append(spectrum)
        powers = slice_powers(spectra, frequencies)
        found.update({name + key: values for key, values in powers.items()})
    return found


def exchanged(compared: Arrays) -> Arrays:
    """Return what `compare` would return for stripes along the other axis."""
    found = {"contrast": compared["contrast"]}
    for one, other in ((OURS, CONTROL), (CONTROL, OURS)):
        for key in compared:
            if key.startswith(one):
                found[other + key.removeprefix(one)] = compared[key]
    return found


def find(
    compared: Sequence[Arrays], shape: tuple[int, int], neighbors: int, along: Direction
) -> Found | None:
    """Return the stripes of slices that were compared; None where too few could be.

    Parameters
    ----------
    compared : sequence of dict
        What `compare` returned for each.
    shape : tuple of int
        Their rows and columns.
    neighbors : int
        Slices on each side that are to tell stripes from the specimen.
    along : {"y", "x"}
        Direction of the stripes.
    """
    usual = _usual(compared)
    if len(usual) < FEWEST:
        return None
    models, expected, rms = [], [], []
    for name, direction in ((OURS, along), (CONTROL, OTHER[along])):
        frequencies = frequencies_of(shape if direction == "y" else shape[::-1])
        wedge, rings = (_means([each[name + key] for each in usual]) for key in ("wedge", "rings"))
        count = _effective([each[name + "wedge"] for each in usual], frequencies)
        models.append(stripe_model(wedge, rings, count, frequencies))
        expected.append(rms_removed(models[-1], frequencies, neighbors))
        cautious = stripe_model(wedge, rings, count, frequencies, MOST_CAUTIOUS, 0.0)
        rms.append(min(rms_removed(cautious, frequencies, neighbors), expected[-1]))
    contrast = float(np.median([each["contrast"] for each in usual]))
    return Found(models[0], expected[0], rms[0], rms[1], contrast)


def steps(images: Sequence[Array]) -> Array:
    """Return by how many pixels each slice moved on to the next one, shape (slices - 1, 2)."""
    views = [CellView.of(image) for image in images]
    found = np.zeros((len(images) - 1, 2))
    for k, (one, other) in enumerate(pairwise(views)):
        step = shift_between(one, other)
        found[k] = 0 if step is None or np.abs(step).max() < STILL else step
    return found


def from_slice(k: int, moved: Array) -> Array:
    """Return by how many pixels each slice has moved against slice ``k``, shape (slices, 2).

    Parameters
    ----------
    k : int
        Index of the slice.
    moved : ndarray, shape (slices - 1, 2)
        What `steps` returns. Sums begin at the slice: they are the same however a stack is cut.
    """
    none = np.zeros((1, 2))
    before = -np.cumsum(np.concatenate([none, moved[:k][::-1]]), axis=0)[::-1]
    after = np.cumsum(np.concatenate([none, moved[k:]]), axis=0)
    return np.concatenate([before, after[1:]])


def is_out_of_reach(move: Array, shape: tuple[int, ...]) -> bool:
    """Return whether a slice has moved so far that its edges matter."""
    return bool(np.abs(move).max() > min(MARGIN, min(shape) // 8))


def upright(image: Array, along: Direction) -> Array:
    """Return a slice whose stripes are along y; from there, it leads back, too."""
    return image if along == "y" else image.swapaxes(0, 1)


def _turned(move: Array, along: Direction) -> Array:
    return move if along == "y" else move[::-1]


def _usual(compared: Sequence[Arrays]) -> list[Arrays]:
    """Return what was seen of slices with a usual power, and much in common with the one before."""
    rings = f"{OURS}rings"
    seen = [each for each in compared if np.isfinite(each[rings]).all()]
    if not seen:
        return []
    power = np.array([each[rings][0].sum() for each in seen])
    shared = np.array([each[rings][1].sum() for each in seen])
    shared /= np.maximum(power, np.finfo(float).tiny)
    is_usual = power <= MOST_POWER * np.median(power)
    is_usual &= shared >= LEAST_SHARED * np.median(shared)
    return [each for each, usual in zip(seen, is_usual, strict=True) if usual]


def _effective(wedges: Sequence[Array], frequencies: Frequencies) -> float:
    """Return how many slices count for means: fewer where some have far stronger stripes."""
    own = np.array([each[0] - each[1] for each in wedges]) @ frequencies.wedge.counts
    own = np.maximum(own, 0)
    return float(own.sum() ** 2 / (own**2).sum()) if own.any() else float(len(wedges))


def _means(values: Sequence[Array]) -> Array:
    return np.asarray(np.mean(values, axis=0))
