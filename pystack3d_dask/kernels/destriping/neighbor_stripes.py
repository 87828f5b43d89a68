"""The stripes of a slice, from its spectrum and those of its neighbors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.destriping.stripe_frequencies import Frequencies, image_of
from pystack3d_dask.kernels.destriping.stripe_model import StripeModel

CHANCE = 0.15  # of the usual power, that may be found in slices without stripes
STRONGEST = 4.0  # power of stripes, over the usual one, up to which a slice may have more


def stripes_of(
    z: int,
    spectra: Mapping[int, Array],
    moves: Mapping[int, Array],
    model: StripeModel,
    frequencies: Frequencies,
) -> Array:
    """Return the stripes of a slice.

    Parameters
    ----------
    z : int
        Index of the slice.
    spectra : mapping of int to ndarray
        Spectra of the slice and its neighbors, by index; of NumPy or CuPy.
    moves : mapping of int to ndarray, each of shape (2,)
        By how many pixels, along (y, x), each has moved against the slice.
    model : StripeModel
        Powers of the stack.
    frequencies : Frequencies
        Of the slices.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        0 where the slice has no stripes, though others may.
    """
    xp = namespace(spectra[z])
    near = sorted(spectra)
    weights, power = model.weights(near, near.index(z))
    wedge = frequencies.wedge
    where, groups = xp.asarray(wedge.places), xp.asarray(wedge.groups)
    found = xp.zeros(len(wedge.places), np.complex64)
    for k, weight in zip(near, weights.astype(np.float32), strict=True):
        values = spectra[k].ravel()[where]
        if moves[k].any():
            values *= xp.asarray(frequencies.phases(wedge.places, -moves[k]))
        found += xp.asarray(weight)[groups] * values
    found *= xp.asarray(_strength(found, weights[near.index(z)], power, model, frequencies))[groups]
    whole = xp.zeros(np.prod(frequencies.spectrum), np.complex64)
    whole[where] = found
    return image_of(whole.reshape(frequencies.spectrum), frequencies)


def _strength(
    found: Array, own: Array, power: Array, model: StripeModel, frequencies: Frequencies
) -> Array:
    """Return the factor for each group that a slice with fewer stripes, or more, needs.

    Its power of stripes is the share of the usual one that makes what was found as strong as it is;
    the weights for this power are those of the usual one, times the factor (nearly, where stripes
    go on: those of its neighbors stay as strong as they are).
    """
    counts = frequencies.wedge.counts
    pixels = float(np.prod(frequencies.extended))
    strength = float((found.real**2 + found.imag**2).sum()) / pixels
    usual = float((counts * power).sum())
    none = power * (1 - 2 * own) + (model.stripes + model.lasting) * own**2
    without = float((counts * none).sum())
    if usual <= without:
        return np.ones(len(counts), np.float32)
    over = (strength - without) / (usual - without) - CHANCE
    share = min(max(over / (1 - CHANCE), 0.0), STRONGEST)
    return np.asarray(share / (1 + (share - 1) * own), np.float32)
