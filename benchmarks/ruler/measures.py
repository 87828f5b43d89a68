"""Distance of a result from the truth, and what became of noise, edges, defects and structure.

An rms error alone rewards smoothing: a Gaussian lowers it without any correction. So each error
stands beside figures that smoothing makes worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ruler.acquired import Acquired, Array, Corrected
from ruler.alignment import Aligned, align, align_input, line

EDGES = 0.1
"""Share of the pixels, those where the truth is steepest, that are edges."""
FLAT = 0.25
"""Share of the pixels, those with the least slope of the image around, that are flat."""
STEEPEST = 0.01
"""Share of the pixels whose edges are measured."""
PROFILES = 4000
"""Most edges that are measured."""
NOISE = 5
"""Pixels over which means are taken away to see noise; slopes are sought as far."""
REACH = 6.0
"""Pixels to either side of an edge."""
STRUCTURE = 31
"""Columns over which means are taken away to see structure."""
FAINT = 0.5
"""Gray levels, rms: defects below cannot be told from rounding."""
CLIPPED = 0.1
"""Share of the noise, rms: defects below cannot be told from noise that is cut off at black."""
LEVEL = 5.0
"""Gray levels by which the truth has to change along z for its gradient to be measured."""


@dataclass(frozen=True)
class Measures:
    """Worth of a result, after one shift and one linear gray-level fit of the whole stack.

    T is the truth, R the reference (truth and noise, as the program interpolates), I the result.
    D is the injected defect and C the slices without defect and noise, both moved as the result's
    slices are, by its interpolation. L = (I - offset) / gain is the result in gray levels of the
    truth.
    E is the error a + b I - T, with a and b of its least squares over the whole stack (for a good
    result E = L - T). Means are over all voxels, and for all but rms, jump and misplaced over the
    slices away from bad ones. H is a high pass: less the running means of `NOISE` pixels along x
    and along y. What is constant along either axis, as a stripe, does not pass.

    Parameters
    ----------
    rms : float
        sqrt(mean(E^2)) in gray levels; 0 is perfect. The noise of a perfect result remains.
    perfect : float
        The same of a program that knows the true shifts, and finds no defects: what noise and the
        interpolation leave.
    rms_solid, rms_pores, rms_edges : float
        The same over a class of the truth. Edges are the `EDGES` of the pixels where T is
        steepest in the plane; pores and solid are the others. NaN without pixels of the class.
    jump : float
        sqrt(mean((m[k] - m[k - 1])^2)) in gray levels, m[k] = mean(L - T) of slice k; 0 is
        perfect. NaN for one slice.
    noise_kept : float
        rms of N(L) over that of N(R), where C is flat; N(L) is H(L - C) less what H(C), its slopes
        and its curvatures explain of it in each slice, that is, a little blur or shift; N(R) is so
        of the noise of R. 1 is noise as by the interpolation alone, below is smoothed, above is
        noise or a defect more. NaN without noise or contrast.
    edge_width : float
        10-90 % width of the mean profile of L across the steepest edges of T, over that of R: 1 is
        as sharp as the truth, above is blurred. Edges are sought where the slice lies, so that a
        wrong path does not count. NaN where there are no edges.
    flicker : float
        std(p) / mean(p) over that of R, p[k] = mean(N(L)^2) of slice k, where C is flat: 1 is as by
        the interpolation alone, above means that sharpness or defects change from slice to slice.
        NaN without noise, or for fewer than three slices.
    gain, offset : float
        Least squares of I - (offset + gain T); 1 and 0 are the gray scale of the truth.
    defect_left : float
        d / g of the least squares of I - (o + g C + d D): 1 is untouched, 0 gone, below 0 overdone.
        NaN where D looks like C, as a constant or one gain for all slices, or is fainter than
        `FAINT` or `CLIPPED` of the noise. A little below 1 for the untouched input where drift is
        fast and slices are interpolated: their mean place is taken for both.
    structure_kept : float
        Slope of the least squares of X(L) on X(T), X(v) = v less its running mean of `STRUCTURE`
        columns: 1 is all, in its place; misplaced structure is not kept. NaN where T has none.
    upright_kept : float
        u / g of the least squares of Y(I) - (o + u Y(T) + d Y(D)), Y(v) = X of the means over all
        rows, that is, what is constant along y; g as for defect_left, or the gain: 1 is all, 0
        none. Stripes do not pass for structure. NaN where T has nothing upright.
    gradient_kept : float
        Slope along z of the mean of L, over that of T: 1 is kept, 0 is flattened. NaN where the
        line through the means of T rises by less than `LEVEL` in the whole stack.
    misplaced : float
        Root mean square distance of the slices from their places, in pixels; 0 is perfect.
    """

    rms: float
    perfect: float
    rms_solid: float
    rms_pores: float
    rms_edges: float
    jump: float
    noise_kept: float
    edge_width: float
    flicker: float
    gain: float
    offset: float
    defect_left: float
    structure_kept: float
    upright_kept: float
    gradient_kept: float
    misplaced: float


def measure(acquired: Acquired, corrected: Corrected) -> Measures:
    """Measure what a program made of an acquisition."""
    return measured(align(acquired, corrected))


def measure_input(acquired: Acquired, corrected: Corrected) -> Measures:
    """Measure the uncorrected slices, at the depths and in the window of a result."""
    return measured(align_input(acquired, corrected))


def measured(aligned: Aligned) -> Measures:
    """Measure an aligned result."""
    steepness = slope_of(aligned.truth)
    edges = steepness >= _quantile(steepness, 1 - EDGES)
    pores = aligned.pores
    noise_kept, flicker = noise_against_reference(aligned)
    gain, offset = aligned.scale
    left, gain_of_specimen = defect_left(aligned)
    return Measures(
        rms=rms(aligned.residual),
        perfect=rms(aligned.perfect_residual),
        rms_solid=rms(aligned.residual[~pores & ~edges]),
        rms_pores=rms(aligned.residual[pores & ~edges]),
        rms_edges=rms(aligned.residual[edges]),
        jump=jump(aligned),
        noise_kept=noise_kept,
        edge_width=edge_width(aligned),
        flicker=flicker,
        gain=gain,
        offset=offset,
        defect_left=left,
        structure_kept=structure_kept(aligned),
        upright_kept=upright_kept(aligned, gain_of_specimen),
        gradient_kept=gradient_kept(aligned),
        misplaced=float(np.sqrt(np.mean(np.square(aligned.path).sum(axis=1)))),
    )


def rms(values: Array) -> float:
    """Return the root mean square; NaN of nothing."""
    return float(np.sqrt(np.mean(np.square(values), dtype=float))) if values.size else np.nan


def slope_of(images: Array) -> Array:
    """Return how steep images are in the plane, in gray levels a pixel; shape of ``images``."""
    down, right = np.gradient(images, axis=(1, 2))
    return np.hypot(down, right, out=down)


def jump(aligned: Aligned) -> float:
    """Return the rms change of the mean error from one slice to the next: `Measures.jump`."""
    errors = _means(aligned.levels) - _means(aligned.truth)
    return rms(np.diff(errors))


def noise_against_reference(aligned: Aligned) -> tuple[float, float]:
    """Return `Measures.noise_kept` and `Measures.flicker`."""
    if not aligned.scale[0]:
        return np.nan, np.nan
    levels, clean, noise = (
        stack[aligned.sound] for stack in (aligned.levels, aligned.clean, aligned.noise)
    )
    around = ndimage.maximum_filter(slope_of(clean), size=(1, NOISE, NOISE))
    flat = around <= _quantile(around, FLAT)
    found, expected = (_powers(stack, clean, flat) for stack in (levels - clean, noise))
    if not expected.size or expected.mean() < 1e-4:
        return np.nan, np.nan
    kept = float(np.sqrt(found.mean() / expected.mean()))
    changes = found.std() * expected.mean(), expected.std() * found.mean()
    told = len(found) > 2 and changes[1] > 0
    return kept, float(changes[0] / changes[1]) if told else np.nan


def edge_width(aligned: Aligned) -> float:
    """Return `Measures.edge_width`."""
    places, normals = _edges(aligned.truth, aligned.sound)
    if not len(places):
        return np.nan
    followed = places.copy()
    followed[:, 1:] += aligned.path[places[:, 0].astype(int)]
    width = _width(_profile(aligned.reference, places, normals))
    return _width(_profile(aligned.levels, followed, normals)) / width


def defect_left(aligned: Aligned) -> tuple[float, float]:
    """Return `Measures.defect_left`, and the gain of the result beside it.

    Where a defect scales the image, as vignetting does, this gain is that of the specimen, not that
    of both. Without a defect it is `Measures.gain`.
    """
    sound = aligned.sound
    images, clean, defect = (
        stack[sound] for stack in (aligned.images, aligned.clean, aligned.defect)
    )
    slope, level = line(clean, defect)
    told = max(FAINT, CLIPPED * rms(aligned.noise))
    if rms(defect - np.float32(slope) * clean - np.float32(level)) < told:
        return np.nan, aligned.scale[0]
    gain, left = map(float, _coefficients(images, clean, defect))
    return (left / gain if gain else np.nan), gain


def structure_kept(aligned: Aligned) -> float:
    """Return `Measures.structure_kept`."""
    levels, truth = (
        _high_passed(stack[aligned.sound]) for stack in (aligned.levels, aligned.truth)
    )
    return line(truth, levels)[0] if truth.any() else np.nan


def upright_kept(aligned: Aligned, gain: float) -> float:
    """Return `Measures.upright_kept`.

    Parameters
    ----------
    aligned : Aligned
        The result.
    gain : float
        Of the specimen in the result, from `defect_left`.
    """
    images, truth, defect = (
        _high_passed(stack[aligned.sound].mean(axis=1))
        for stack in (aligned.images, aligned.truth, aligned.defect)
    )
    if not gain or rms(truth) < 0.1:
        return np.nan
    return float(_coefficients(images, truth, defect)[0] / gain)


def gradient_kept(aligned: Aligned) -> float:
    """Return `Measures.gradient_kept`."""
    depths = aligned.depths[aligned.sound]
    if len(depths) < 2:
        return np.nan
    found, true = (
        np.polyfit(depths, _means(stack[aligned.sound]), 1)[0]
        for stack in (aligned.levels, aligned.truth)
    )
    rise = abs(true) * np.ptp(depths)
    return float(found / true) if rise >= LEVEL else np.nan


def _means(stack: Array) -> Array:
    return stack.mean(axis=(1, 2), dtype=float)


def _quantile(values: Array, share: float) -> float:
    """Return a quantile of every seventh value: as good, and quick."""
    return float(np.quantile(values.ravel()[::7], share))


def _powers(stack: Array, clean: Array, flat: Array) -> Array:
    """Return the power of noise in each slice that has flat parts, shape (slices,)."""
    each = zip(_without_means(stack), _without_means(clean), flat, strict=True)
    return np.array([_unexplained(*some) for some in each if some[2].any()])


def _unexplained(image: Array, structure: Array, flat: Array) -> float:
    """Return the mean square of an image where it is flat, less what structure explains.

    That is the least squares fit of structure, its slopes and its curvatures: what a little blur or
    a small shift of it makes.
    """
    curved = (ndimage.correlate1d(structure, [1, -2, 1], axis) for axis in (0, 1))
    parts = [structure, *np.gradient(structure), *curved]
    columns = np.stack([part[flat] for part in parts]).astype(float)
    values = image[flat]
    fit = np.linalg.lstsq(columns @ columns.T, columns @ values)[0]
    return rms(values - fit @ columns) ** 2


def _without_means(stack: Array) -> Array:
    """Return what is left without running means of `NOISE` pixels along y, then along x."""
    high = stack - ndimage.uniform_filter1d(stack, NOISE, axis=1)
    return high - ndimage.uniform_filter1d(high, NOISE, axis=2)


def _high_passed(stack: Array) -> Array:
    """Return what is left along x without the running mean of `STRUCTURE` columns."""
    return stack - ndimage.uniform_filter1d(stack, STRUCTURE, axis=-1)


def _coefficients(values: Array, *parts: Array) -> Array:
    """Return the factors of some parts in the least squares fit of values, beside a level."""
    products = np.zeros((len(parts) + 2,) * 2)
    for slices in zip(*parts, values, strict=True):
        columns = np.stack([np.ones(slices[0].size), *(each.ravel() for each in slices)])
        products += columns @ columns.T
    return np.linalg.lstsq(products[:-1, :-1], products[:-1, -1])[0][1:]


def _edges(truth: Array, sound: Array) -> tuple[Array, Array]:
    """Return where the steepest edges are, and their directions.

    They are sought in the truth blurred by a pixel: else those that lie well on the grid of pixels
    would be steepest.

    Returns
    -------
    places : ndarray, shape (edges, 3)
        Slice, row and column, between pixels along the direction.
    normals : ndarray, shape (edges, 2)
        Towards brighter, down and to the right, of length 1.
    """
    blurred = ndimage.gaussian_filter(truth, (0, 1, 1))
    steepness = slope_of(blurred)
    inside = np.zeros(truth.shape, bool)
    border = int(REACH) + 2
    inside[sound, border:-border, border:-border] = True
    inside &= (steepness >= _quantile(steepness, 1 - STEEPEST)) & (steepness > 0)
    places = np.argwhere(inside).astype(float)
    places = places[:: 1 + len(places) // (3 * PROFILES)]
    z, y, x = places.T.astype(int)
    normals = np.stack(
        [
            blurred[z, y + 1, x] - blurred[z, y - 1, x],
            blurred[z, y, x + 1] - blurred[z, y, x - 1],
        ],
        axis=1,
    )
    normals /= np.maximum(np.hypot(*normals.T)[:, None], 1e-6)
    before, here, after = (_sampled(steepness, places, t * normals) for t in (-1.0, 0.0, 1.0))
    ridge = (here > before) & (here >= after)
    top = 0.5 * (before - after)[ridge] / (before - 2 * here + after)[ridge]
    places, normals = places[ridge], normals[ridge]
    places[:, 1:] += top[:, None] * normals
    step = 1 + len(places) // PROFILES
    return places[::step], normals[::step]


def _sampled(stack: Array, places: Array, moves: Array) -> Array:
    """Return values at some places, moved in their planes, by linear interpolation."""
    at = np.stack([places[:, 0], *(places[:, 1:] + moves).T])
    return ndimage.map_coordinates(stack, at, order=1, mode="nearest")


def _profile(stack: Array, places: Array, normals: Array) -> Array:
    """Return the mean profile across some edges, every 20th of a pixel from dark to bright."""
    distances = np.linspace(-REACH, REACH, int(40 * REACH) + 1)
    return np.array([_sampled(stack, places, t * normals).mean() for t in distances])


def _width(profile: Array) -> float:
    """Return the 10-90 % width of an edge in pixels; NaN where there is none.

    Dark and bright are the extremes to either side of the middle.
    """
    middle = len(profile) // 2
    dark, bright = profile[: middle + 1].min(), profile[middle:].max()
    if not bright > dark:
        return np.nan
    rise = (profile - dark) / (bright - dark)
    low = np.flatnonzero(rise[: middle + 1] <= 0.1)[-1]
    high = middle + np.flatnonzero(rise[middle:] >= 0.9)[0]
    return float(high - low) / 20
