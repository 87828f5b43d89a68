"""A result beside the truth, and beside what a perfect program would have made of the slices.

A program is free to choose one shift and one linear gray scale for its whole stack. Both are found
here and taken out; all else that differs from the truth is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import fft, signal

from ruler.acquired import Acquired, Array, Corrected
from ruler.interpolation import Interpolation

MARGIN = 8
"""Pixels left out at the sides: small errors of a program's shifts bring others in there."""
FINE = 10.0
"""Standard deviation in pixels of a Gaussian; what it leaves is not used to find shifts."""
TAPER = 0.1
"""Share of a side along which images fade out at each end before shifts are sought."""

SOME = 0.01
"""Share of an interpolated pixel that may come from where slices are empty."""

CLOSE = 0.02
"""Pixels that the shift of the whole stack may be wrong by."""
PASSES = 4
"""Most times that it is sought. Fading out makes shifts seem some percent smaller than they are."""


@dataclass(frozen=True)
class Aligned:
    """A result, cut to what is compared, and the truth at the same places.

    Arrays are float32 or bool, of shape (slices, rows, columns), unless they say otherwise.

    Parameters
    ----------
    acquired : Acquired
        What the result was made of.
    rows, columns : slice
        Of the first slice, as the program counts them: what is compared.
    depths : ndarray of float64, shape (slices,)
        In slices from the first one on.
    images : ndarray
        The result in its own gray scale.
    truth : ndarray
        The specimen as it is without noise, in gray levels, moved by `shift`.
    pores : ndarray of bool
        Where the truth is of the dark class.
    shift : ndarray of float64, shape (2,)
        The best shift of the whole stack: pixel p shows what the truth has at p - `shift`.
    path : ndarray of float64, shape (slices, 2)
        How far each slice lies from there, in pixels down and to the right.
    interpolation : Interpolation
        Of the program.
    """

    acquired: Acquired
    rows: slice
    columns: slice
    depths: Array
    images: Array
    truth: Array
    pores: Array
    shift: Array
    path: Array
    interpolation: Interpolation

    @cached_property
    def sound(self) -> Array:
        """Slices that are a slice or more away from every bad one, or all if none is; bool."""
        places = _places(self.depths, self.acquired.depths)
        bad = np.array(self.acquired.bad, float)
        found = np.all(abs(places[:, None] - bad) > 1 - 1e-6, axis=1)
        return found if found.any() else ~found

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Gain and offset of the result: the least squares of images - (offset + gain * truth).

        Of the sound slices. Noise of the result does not make this gain smaller.
        """
        return line(self.truth[self.sound], self.images[self.sound])

    @cached_property
    def levels(self) -> Array:
        """The result in gray levels of the truth: (images - offset) / gain; NaN for gain 0."""
        gain, offset = self.scale
        return (self.images - np.float32(offset)) / np.float32(gain or np.nan)

    @cached_property
    def residual(self) -> Array:
        """Errors after the linear fit that makes them smallest: a + b * images - truth."""
        return _residual(self.images, self.truth)

    @cached_property
    def perfect_residual(self) -> Array:
        """The same of slices without defects that are moved by the true shifts to the depths."""
        acquired, straight = self.acquired, np.zeros_like(self.path)
        return _residual(self._sent(acquired.clean + acquired.noise, straight), self.truth)

    @cached_property
    def empty(self) -> Array:
        """Mask of the result where its slices, or some of those they lie between, are empty."""
        empty = self.acquired.empty
        if not empty.any():
            return np.zeros(self.truth.shape, bool)
        return self._sent(empty.astype(np.float32), self.path) > SOME

    def without_empty(self) -> Aligned:
        """Return the same with the truth where slices are empty, so that nothing is wrong there."""
        shown = ~self.empty & self.sound[:, None, None]
        gain, offset = line(self.truth[None, shown], self.images[None, shown])
        filled = np.where(self.empty, gain * self.truth + offset, self.images)
        return replace(self, images=filled.astype(np.float32))

    @cached_property
    def noise(self) -> Array:
        """The noise of the slices, sent by the true shifts to the depths, as the program would."""
        return self._sent(self.acquired.noise, np.zeros_like(self.path))

    @cached_property
    def reference(self) -> Array:
        """The result of a perfect program with the same interpolation: truth and `noise`."""
        return self.truth + self.noise

    @cached_property
    def defect(self) -> Array:
        """The injected defect, moved as the images are: by the true shifts less `path`."""
        return self._sent(self.acquired.defect, self.path)

    @cached_property
    def clean(self) -> Array:
        """The slices without noise and defect, moved in the same way."""
        return self._sent(self.acquired.clean, self.path)

    def _sent(self, stack: Array, path: Array) -> Array:
        """Return a stack of the acquisition where slices end up that miss their place by `path`.

        By the interpolation of the program, from slices that are not bad.
        """
        acquired = self.acquired
        good = np.delete(np.arange(len(stack)), acquired.bad)
        slices = self.interpolation.weights(self.depths, acquired.depths[good])
        out = np.zeros(self.truth.shape, np.float32)
        for image, own, missed in zip(out, slices, self.shift + path, strict=True):
            for near, weight in own.items():
                k = good[near]
                moved = self.interpolation.moved(stack[k], *(missed - acquired.shifts[k]))
                image += np.float32(weight) * moved[self.rows, self.columns]
        return out


def align(acquired: Acquired, corrected: Corrected) -> Aligned:
    """Find the best shift of a result, and lay the truth there.

    Parameters
    ----------
    acquired : Acquired
        What a program got, and the truth.
    corrected : Corrected
        What it made of it.
    """
    rows, columns = compared(acquired, corrected)
    top, left = rows.start - corrected.top, columns.start - corrected.left
    cut = np.s_[:, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
    images = np.asarray(corrected.images[cut], np.float32)
    start = Aligned(
        acquired=acquired,
        rows=rows,
        columns=columns,
        depths=np.asarray(corrected.depths, float),
        images=images,
        truth=images,
        pores=np.zeros(images.shape, bool),
        shift=np.zeros(2),
        path=np.zeros((len(images), 2)),
        interpolation=corrected.interpolation,
    )
    found = _aligned(start)
    return _aligned(found).without_empty() if acquired.empty.any() else found


def _aligned(before: Aligned) -> Aligned:
    """Find the best shift of a result; what is empty, as far as that is known, counts nowhere."""
    acquired, images, rows, columns = before.acquired, before.images, before.rows, before.columns
    shift, more = np.zeros(2), np.zeros(2)
    for _ in range(PASSES):
        shift = shift + more
        places = [(float(z), *map(float, -shift)) for z in before.depths]
        truth = np.stack([acquired.specimen.at(*place)[rows, columns] for place in places])
        more, own = shifts(*(_blanked(each, before.empty) for each in (images, truth)))
        if abs(more).max() < CLOSE:
            break
    return replace(
        before,
        truth=truth,
        pores=np.stack([acquired.specimen.pores(*place)[rows, columns] for place in places]),
        shift=shift,
        path=own - more,
    )


def _blanked(stack: Array, where: Array) -> Array:
    """Return a stack with its mean at some places."""
    return np.where(where, stack[~where].mean(), stack) if where.any() else stack


def align_input(acquired: Acquired, corrected: Corrected) -> Aligned:
    """Align the uncorrected slices as if they were a result: the way that is closer to the truth.

    That is the nearest slices or those interpolated, whichever has the smaller rms error.
    """
    places = _places(corrected.depths, acquired.depths)
    ways = (False, True) if np.any(places % 1) else (False,)
    found = [align(acquired, input_as_result(acquired, corrected, way)) for way in ways]
    return min(found, key=lambda each: float(np.mean(np.square(each.residual))))


def input_as_result(acquired: Acquired, corrected: Corrected, linear: bool) -> Corrected:
    """Return the uncorrected slices where a result lies, and at its depths.

    Parameters
    ----------
    acquired : Acquired
        What a program got.
    corrected : Corrected
        What it made of it.
    linear : bool
        Interpolate between slices, rounded as the slices are, or else take the nearest ones.
    """
    places = _places(corrected.depths, acquired.depths)
    places = places if linear else np.rint(places)
    low = places.astype(int)
    high = np.minimum(low + 1, len(acquired.slices) - 1)
    rows, columns = (
        _overlap(part, slice(0, size))
        for part, size in zip(_window(corrected), acquired.slices.shape[1:], strict=True)
    )
    stack = acquired.slices[:, rows, columns].astype(np.float32)
    share = (places - low).astype(np.float32)[:, None, None]
    images = np.rint((1 - share) * stack[low] + share * stack[high])
    way = Interpolation("whole", "linear" if linear else "whole")
    return Corrected(images, corrected.depths, rows.start, columns.start, (), 0.0, way)


def compared(acquired: Acquired, corrected: Corrected) -> tuple[slice, slice]:
    """Return rows and columns of the first slice to be compared.

    They are in the result and in every slice that is not bad, `MARGIN` from the sides.

    Raises
    ------
    ValueError
        When no such pixel exists.
    """
    moves = np.delete(acquired.shifts, acquired.bad, axis=0)
    parts = []
    for axis, size in enumerate(acquired.slices.shape[1:]):
        seen = slice(
            int(np.ceil(-moves[:, axis].min())), int(np.floor(size - moves[:, axis].max()))
        )
        common = _overlap(_overlap(_window(corrected)[axis], seen), slice(0, size))
        part = slice(common.start + MARGIN, common.stop - MARGIN)
        if part.start >= part.stop:
            message = f"{acquired.name}: the result shows nothing that all slices show"
            raise ValueError(message)
        parts.append(part)
    return parts[0], parts[1]


def shifts(images: Array, truth: Array) -> tuple[Array, Array]:
    """Return the shift between two stacks, and that between their slices.

    The maximum of the cross-correlation of what a Gaussian of `FINE` pixels takes away, summed over
    all slices or of each; between pixels as the Fourier series has it.

    Parameters
    ----------
    images, truth : ndarray, shape (slices, rows, columns)
        Any linear gray scales.

    Returns
    -------
    shift : ndarray, shape (2,)
        Pixels down and to the right by which `images` lie from `truth`.
    own : ndarray, shape (slices, 2)
        The same for each slice by itself.
    """
    shape = images.shape[1:]
    product = _spectra(images) * _spectra(truth).conj()
    rows, columns = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    smooth = np.exp(-2 * (np.pi * FINE) ** 2 * (rows**2 + columns**2))
    product *= np.square(1 - smooth).astype(np.float32)
    return _peak(product.sum(0), shape), np.stack([_peak(each, shape) for each in product])


def line(x: Array, y: Array) -> tuple[float, float]:
    """Return slope and level of the least squares of y - (level + slope * x).

    Parameters
    ----------
    x, y : ndarray
        Equal shapes. The slope is 0 where x is constant.
    """
    mean_x, mean_y = x.mean(dtype=float), y.mean(dtype=float)
    products = np.zeros(2)
    for some_x, some_y in zip(x, y, strict=True):
        deviation = some_x - mean_x
        products += np.sum(deviation * (some_y - mean_y)), np.sum(np.square(deviation))
    slope = products[0] / products[1] if products[1] > 0 else 0.0
    return float(slope), float(mean_y - slope * mean_x)


def _residual(images: Array, truth: Array) -> Array:
    slope, level = line(images, truth)
    return np.float32(slope) * images + np.float32(level) - truth


def _places(depths: Array, of_slices: Array) -> Array:
    """Return depths as indices of slices, with fractions; those beyond the ends become the ends."""
    return np.interp(depths, of_slices, np.arange(len(of_slices)))


def _window(corrected: Corrected) -> tuple[slice, slice]:
    return corrected.rows, corrected.columns


def _overlap(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _spectra(images: Array) -> Array:
    """Return the spectrum of each image, less its mean, faded out at the sides."""
    fading = (signal.windows.tukey(n, 2 * TAPER).astype(np.float32) for n in images.shape[1:])
    return fft.rfft2((images - images.mean(axis=(1, 2), keepdims=True)) * np.outer(*fading))


def _peak(product: Array, shape: tuple[int, ...]) -> Array:
    """Return where the cross-correlation of a product of half spectra is highest.

    Four steps of Newton's method from the highest pixel on, each half a pixel at most.
    """
    correlation = fft.irfft2(product, s=shape)
    highest = np.unravel_index(np.argmax(correlation), shape)
    place = np.array(
        [(i + n // 2) % n - n // 2 for i, n in zip(highest, shape, strict=True)], float
    )
    weights = np.full(product.shape[1], 2.0)  # columns that the half spectrum leaves out
    weights[0] = 1
    spectrum = product * weights
    waves = 2j * np.pi * fft.fftfreq(shape[0]), 2j * np.pi * fft.rfftfreq(shape[1])
    for _ in range(4):
        # derivatives of order 0, 1 and 2 along either axis
        along_y, along_x = (
            np.stack([wave**order * np.exp(wave * at) for order in range(3)])
            for wave, at in zip(waves, place, strict=True)
        )
        table = (along_y @ spectrum @ along_x.T).real
        slope = np.array([table[1, 0], table[0, 1]])
        curvature = np.array([[table[2, 0], table[1, 1]], [table[1, 1], table[0, 2]]])
        place -= np.clip(np.linalg.lstsq(curvature, slope)[0], -0.5, 0.5)
    return place
