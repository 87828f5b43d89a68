"""Powers of specimen, stripes and noise, frequency by frequency, and the best guess at stripes.

The specimen goes on from slice to slice, noise does not, and stripes do not, or not for long: what
a slice has in common with those before it tells the power of the specimen, once it is known how
fast that changes along z. This, and the power of noise, are seen at frequencies of the same length
that no stripes have. What is left at those of stripes is theirs. From powers follows the best
linear guess at the stripes of a slice, given the slice and its neighbors (Wiener, "Extrapolation,
Interpolation, and Smoothing of Stationary Time Series", 1949; for vectors: Kay, "Fundamentals of
Statistical Signal Processing: Estimation Theory", 1993, chapter 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.destriping.lasting_stripes import Shared, lasting_stripes
from pystack3d_dask.kernels.destriping.stripe_frequencies import (
    PER_OCTAVE,
    Bins,
    Frequencies,
)

LAGS = 4  # slices by which the specimen is compared: 0 to 3
SMOOTHEST, ROUGHEST = 2.0, 1.0  # powers of the distance along z by which likeness falls off
MOST_CAUTIOUS = 0.5  # the same, where a specimen may have parts that change fast and others slowly
FASTEST = 3.0  # exponent of that, from one slice to the next
LEAST_RATIO = 1.0001  # of what slices have in common, to what they have one slice farther
COARSEST = 2.0  # octaves above the longest waves, to which the coarsest parts of a specimen reach
TINY = 1e-9  # of the largest power
SHRINK = 0.5  # standard errors of the power of stripes, by which small ones are taken for none
SURE = 3.0  # standard errors by which a specimen that leans along z has to show
PER_FREQUENCY = 2.9  # independent parts that a mean of a group is made of: with those beside it
LEAST_SPECIMEN = 1e-3  # of the power that the specimen has at other frequencies of that length
REST = 1e-4  # of the power of the specimen, that nothing predicts


@dataclass(frozen=True)
class StripeModel:
    """Powers at the frequencies of stripes, each an array of shape (groups,).

    Parameters
    ----------
    specimen, stripes, lasting, noise : ndarray of float64
        Power of each: stripes that are new in each slice, and those that go on.
    decay, exponent : ndarray of float64
        Slices that are some distance apart show specimens with a correlation of
        ``exp(-decay * distance ** exponent)``.
    persistence : ndarray of float64, shape ()
        Correlation of stripes that go on, from slice to slice.
    """

    specimen: Array
    stripes: Array
    lasting: Array
    noise: Array
    decay: Array
    exponent: Array
    persistence: Array

    def as_arrays(self) -> Arrays:
        """Return the arrays by name."""
        return dict(vars(self))

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> StripeModel:
        """Return the model that `as_arrays` made arrays of, among others."""
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})

    def weights(self, places: Sequence[int], own: int) -> tuple[Array, Array]:
        """Return how the stripes of a slice are put together from spectra of slices.

        Parameters
        ----------
        places : sequence of int
            Indices along z of the slices that are known.
        own : int
            Which of them it is whose stripes are wanted.

        Returns
        -------
        weights : ndarray of float64, shape (len(places), groups)
            Of each slice.
        power : ndarray of float64, shape (groups,)
            Of the stripes that are found so.
        """
        striped = self.stripes + self.lasting > 0
        z = np.asarray(places, np.float64)
        apart = np.abs(z[:, np.newaxis] - z)
        alike = _alike(self.decay[striped], self.exponent[striped], apart)
        specimen, new, lasting, noise = (
            each[striped, np.newaxis, np.newaxis]
            for each in (self.specimen, self.stripes, self.lasting, self.noise)
        )
        powers = specimen * alike
        powers += lasting * self.persistence**apart
        powers += (new + noise + REST * specimen) * np.eye(len(z))
        wanted = lasting[:, 0] * self.persistence ** apart[own] + new[:, 0] * (z == z[own])
        weights, power = np.zeros((len(z), len(striped))), np.zeros(len(striped))
        weights[:, striped] = np.linalg.solve(powers, wanted[..., np.newaxis])[..., 0].T
        power[striped] = np.einsum("zg,gz->g", weights[:, striped], wanted)
        return weights, power


def slice_powers(spectra: Sequence[Array], frequencies: Frequencies) -> Arrays:
    """Return what a slice has in common with itself and with slices before it.

    Parameters
    ----------
    spectra : sequence of ndarray
        Of the slice, the one before it, and so on, laid upon it; some `LAGS` at most.
    frequencies : Frequencies
        Of the slices.

    Returns
    -------
    dict of ndarray
        Mean products: ``wedge``, shape (4, groups), and ``rings``, shape (4, rings); NaN of slices
        that are not there.
    """
    found = {}
    for name, bins in (("wedge", frequencies.wedge), ("rings", frequencies.rings)):
        found[name] = np.full((LAGS, len(bins.counts)), np.nan)
        for lag, other in enumerate(spectra[:LAGS]):
            found[name][lag] = _common_power(spectra[0], other, bins) / np.prod(
                frequencies.extended
            )
    return found


def _common_power(one: Array, other: Array, bins: Bins) -> Array:
    product = np.multiply(one.real, other.real, dtype=np.float64)
    product += np.multiply(one.imag, other.imag, dtype=np.float64)
    return bins.mean(product)


def stripe_model(
    wedge: Array,
    rings: Array,
    count: float,
    frequencies: Frequencies,
    roughest: float = ROUGHEST,
    sure: float = SURE,
) -> StripeModel:
    """Return the powers that explain what slices have in common.

    Parameters
    ----------
    wedge, rings : ndarray
        Means over slices of what `slice_powers` returns.
    count : float
        How many slices these are means of; fewer where some of these count for more.
    frequencies : Frequencies
        Of the slices.
    roughest : float
        Smallest power of the distance by which likeness may fall off. The smaller, the more of what
        a slice has for itself may be the specimen's.
    sure : float
        Standard errors by which what slices have in common at some distance has to be more than at
        the least one, to count.
    """
    lags = np.arange(LAGS)
    ring = frequencies.ring_of_group
    specimen, decay, exponent = _decay(rings, roughest)
    noise = np.maximum(rings[0] - specimen, 0)[ring]
    specimen = specimen[ring]
    smoothed = np.stack([frequencies.smooth(each) for each in wedge], axis=1)
    whole = smoothed[:, 0]
    error = _error(whole, count, frequencies)
    lasting, persistence = lasting_stripes(
        Shared(
            power=smoothed - noise[:, np.newaxis] * (lags == 0),
            error=error,
            elsewhere=specimen,
            alike=_alike(decay, exponent, lags)[ring],
            slowest=_slowest(rings, roughest, lags),
            rings=ring,
            counts=frequencies.wedge.counts,
        )
    )
    go_on = lasting * persistence ** lags[:, np.newaxis]
    # else what slices have in common is the specimen at all frequencies, which need not be alike
    in_common = rings + frequencies.by_ring(wedge - go_on)
    in_common[0] = rings[0]
    _, decay, exponent = _decay(in_common, roughest)
    decay, exponent = decay[ring], exponent[ring]
    own = _in_common(smoothed.T[1:] - go_on[1:], decay, exponent, sure * error)
    own = np.clip(own, 0, np.maximum(whole, 0))
    left = np.maximum(whole - own - noise, 0)
    lasting = np.minimum(lasting, left)
    return StripeModel(
        specimen=np.maximum(own, LEAST_SPECIMEN * specimen),
        stripes=_surely(left - lasting, error),
        lasting=_surely(lasting, error),
        noise=noise,
        decay=decay,
        exponent=exponent,
        persistence=np.array(persistence),
    )


def _surely(power: Array, error: Array) -> Array:
    """Return powers, less of those that are not certain."""
    certain, uncertain = power**2, (SHRINK * error) ** 2
    either = certain + uncertain
    share = np.divide(certain, either, out=np.zeros_like(power), where=either > 0)
    return np.asarray(power * share)


def _slowest(rings: Array, roughest: float, lags: Array) -> Array:
    """Return the correlation of the coarsest parts of specimens at some distances."""
    coarsest = rings[:, : int(COARSEST * PER_OCTAVE) + 1].sum(axis=1, keepdims=True)
    _, decay, exponent = _decay(coarsest, roughest)
    return np.asarray(_alike(decay, exponent, lags)[0])


def _in_common(shared: Array, decay: Array, exponent: Array, error: Array) -> Array:
    """Return the power of the specimen, from what slices have in common at 1, 2 and 3.

    Round bodies, as of fibers, change slowly at first: their power is at least what goes straight
    on from what slices have in common at 2 and 1. What leans along z moves by some pixels from
    slice to slice, and has less in common, or the opposite, at one distance than at another.
    """
    one, two, *_ = shared
    found = np.maximum(one / _alike(decay, exponent, 1.0), 2 * one - two - error)
    for apart, each in enumerate(shared, start=1):
        leaning = (np.abs(each) - error) / _alike(decay, exponent, float(apart))
        found = np.maximum(found, leaning)
    return np.asarray(found)


def _error(whole: Array, count: float, frequencies: Frequencies) -> Array:
    """Return the standard error of what slices have in common, at most."""
    return np.asarray(whole / np.sqrt(PER_FREQUENCY * frequencies.wedge.counts * count))


def _rms(power: Array, frequencies: Frequencies) -> float:
    """Return the root mean square of what has a power at the frequencies of stripes."""
    total = 2 * float((power * frequencies.wedge.counts).sum())  # the other half of the spectrum
    return float(np.sqrt(total / np.prod(frequencies.extended)))


def rms_removed(model: StripeModel, frequencies: Frequencies, reach: int) -> float:
    """Return the root mean square that is expected of the stripes found, in gray levels.

    Parameters
    ----------
    model : StripeModel
        Powers.
    frequencies : Frequencies
        Of the slices.
    reach : int
        Neighbors on each side.
    """
    _, power = model.weights(range(2 * reach + 1), reach)
    return _rms(power, frequencies)


def _decay(rings: Array, roughest: float) -> tuple[Array, Array, Array]:
    """Return the power of what goes on along z, and how fast it changes.

    That power is what slices would have in common at a distance of 0. Two ratios of what they have
    at 1, 2 and 3 tell exponent and decay; where noise hides them, likeness falls off by a power.
    """
    least = TINY * rings[0].max(initial=0) + np.finfo(float).tiny
    one, two, three = (np.maximum(each, least) for each in rings[1:LAGS])
    first, second = (
        np.log(np.maximum(near / far, LEAST_RATIO)) for near, far in ((one, two), (two, three))
    )
    exponents = np.linspace(roughest, SMOOTHEST, 31)
    ratios = (2**exponents - 1) / (3**exponents - 2**exponents)
    exponent = np.interp(first / second, ratios[::-1], exponents[::-1])
    decay = np.minimum(first / (2**exponent - 1), FASTEST)
    return np.minimum(one * np.exp(decay), np.maximum(rings[0], least)), decay, exponent


def _alike(decay: Array, exponent: Array, apart: Array | float) -> Array:
    """Return the correlation of specimens, shape (groups, ...) for distances of some shape."""
    more = (...,) + (np.newaxis,) * np.ndim(apart)
    return np.asarray(np.exp(-decay[more] * np.asarray(apart) ** exponent[more]))
