"""A local background of classes: by how much those of a window deviate from their gray levels.

The mean over a window follows the specimen, and takes contrasts away that are wider than it. Here
dark and bright parts are told from each other, and what is removed is the shift that they share in
a window (`kernels.background.local_shift`). Only places inside one material count, and the field
that the whole stack shares (`shared_background`) goes before. Nothing is removed unless dark and
bright parts show the same shifts by themselves, in windows of slices all over the stack.

Cells lie on a grid that is fixed to the stack, so the result does not depend on how it is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import EMPTY, Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, known
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.local_background import Window, interpolated, smoothed
from pystack3d_dask.corrections.shared_background import MULTIPLIES, Model, SharedBackground
from pystack3d_dask.kernels.background.class_mixture import ClassMixture, is_bright, merged
from pystack3d_dask.kernels.background.field_judgment import Verdict
from pystack3d_dask.kernels.background.field_samples import Samples
from pystack3d_dask.kernels.background.flat_places import cell_size, flat_means
from pystack3d_dask.kernels.background.local_judgment import (
    NOTHING_SHARED,
    Shared,
    shared_by_groups,
    sums_inside,
)
from pystack3d_dask.kernels.background.local_shift import (
    BINS,
    LevelClasses,
    Shifts,
    cell_histograms,
    window_shifts,
)
from pystack3d_dask.kernels.background.shared_field import LEAST_FACTOR, find_field
from pystack3d_dask.kernels.cell_means import cell_means
from pystack3d_dask.kernels.padding import keep_levels

CELLS_PER_WINDOW = 4
FEWEST_PLACES = 8  # along y and x of a window
FADING = 0.5  # how far both groups are seen, below which a shift fades out
SAME, APART = 2.0, 4.0  # standard deviations between classes: of one material, of two groups
ENDS, MARGIN = (0.001, 0.999), 0.3  # quantiles of samples, and the share of their distance beyond


@dataclass(frozen=True, kw_only=True)
class LocalClasses:
    """The method "local" of the background removal with ``reference = "classes"``, on one stack.

    Parameters
    ----------
    spec : StackSpec
        The stack.
    size : tuple of float
        Full widths of the window along (z, y, x), in voxels.
    model : {"auto", "subtract", "divide"}
        Whether shifts are gray levels, or shares of them.
    """

    spec: StackSpec
    size: tuple[float, float, float]
    model: Model

    fit_rounds: ClassVar[int] = 2  # classes, then whether they are shifted together

    @cached_property
    def place(self) -> int:
        """Pixels along a side of the places whose means count."""
        return cell_size(self.spec.shape[1:])

    @cached_property
    def window(self) -> Window:
        """The window, in cells of whole places."""
        return Window(self.size, self.spec.shape, CELLS_PER_WINDOW, self.place)

    @cached_property
    def shared(self) -> SharedBackground:
        """The field of the whole stack, which is removed first."""
        return SharedBackground(spec=self.spec, model=self.model)

    @property
    def sampled(self) -> list[int]:
        """Slices from which samples are taken."""
        return self.shared.sampled

    def source(self, out: Region, fitted: Arrays | None = None) -> Region:
        """Return the region that ``out`` needs: the window, and the places beside it.

        With a fit that has nothing to remove by window, only ``out``.
        """
        if fitted is not None and not self._is_shared(fitted):
            return out
        _, y, x = self.window.cell
        found = self.window.source(out)
        return found.grown((0, y, x), (0, y, x)).clipped(self.spec.shape)

    def scratch_bytes(self, region: Region) -> int:
        """Return what is allocated beside the output: histograms of cells, and a copy."""
        source, (_, cell_y, cell_x) = self.source(region), self.window.cell
        cells = -(-source.shape[1] // cell_y) * -(-source.shape[2] // cell_x)
        histograms = BINS * cells * (4 * region.shape[0] + 4 * 8)  # four in double precision
        itemsize = self.spec.arithmetic.itemsize
        return histograms + itemsize * (source.size + region.size) + 4 * region.size

    def summary_scratch_bytes(self, out: Region) -> int:
        """Return what `summaries` allocates beside its input."""
        return self.scratch_bytes(out.with_z(out.start[0], out.start[0] + 1)) if out.size else 0

    def summary_source(self, out: Region) -> Region:
        """Return the windows around the slices of ``out`` that are sampled."""
        mine = [z for z in self.sampled if z in out.z]
        return self.source(out.with_z(mine[0], mine[-1] + 1)) if mine else EMPTY

    def summaries(self, block: Block, partial: Arrays | None) -> dict[int, Arrays]:
        """Return samples of slices, or the shifts of the windows of those."""
        mine = [z for z in self.sampled if z in block.out.z]
        if partial is None:
            seen = dict(zip(block.source.z, block.image_or_nan, strict=True))
            found = {z: self.shared.summarize(seen[z], z) for z in mine}
            return {z: summary for z, summary in found.items() if summary is not None}
        if not (partial["levels"].size and mine):
            return {}
        given = block.without_padding
        values, _ = self.shared.apply(given, block.source, block.source, partial)
        places = self._places(given, values, partial)
        return {
            z: self._shown(places, block.source, block.out.with_z(z, z + 1), partial) for z in mine
        }

    def finalize(self, summaries: Summaries, partial: Arrays | None) -> Arrays:
        """Return the classes, or whether they are shifted together."""
        if partial is None:
            return self._classes(summaries)
        shown = [each for each in summaries.values() if "shifts" in each]
        found = self._judged(shown, partial) if shown else NOTHING_SHARED
        return {**partial, **{f"shared_{name}": np.array(v) for name, v in found._asdict().items()}}

    def apply(
        self, block: Array, source: Region, out: Region, fitted: Arrays | None
    ) -> tuple[Array, Arrays]:
        """Return the block without the field, and without the shifts of windows."""
        fit = known(fitted)
        values, _ = self.shared.apply(block, source, source, fit)
        inside = out.relative_to(source).slices
        corrected = values[inside]
        if not self._is_shared(fit):
            return corrected, {}
        shifts = self._shifts(self._places(block, values, fit), source, out, fit)
        background = np.nan_to_num(self._at_pixels(shifts, out), copy=False)
        if fit["multiplies"]:
            corrected = corrected / np.maximum(1 + background, LEAST_FACTOR).astype(values.dtype)
        else:
            corrected = corrected - background.astype(values.dtype)
        return keep_levels(corrected, block[inside], fit["fill"]), {}

    def remarks(self, fitted: Arrays) -> Iterator[str]:
        """Yield what was found, or why nothing is done."""
        if int(fitted["verdict"]) == Verdict.FOUND:
            yield from self.shared.remarks(fitted)
        if not fitted["levels"].size:
            yield (
                "no local background was looked for: that takes dark and bright parts that can be "
                "told apart, and gray levels above 0 where model = 'divide'"
            )
            return
        if not self._is_shared(fitted):
            yield (
                "no local background was removed: dark and bright parts of windows are not shifted "
                "alike, or the shifts do not go on inside a material, so they may be the specimen's"
            )
            return
        size = float(fitted["shared_rms"])
        amount = f"{size:.1%} of their level" if fitted["multiplies"] else f"{size:.3g} gray levels"
        yield f"a local background was removed: dark and bright parts are shifted by {amount} (rms)"

    def _classes(self, summaries: Summaries) -> Arrays:
        samples, fill = self.shared.samples(summaries)
        found = find_field(samples, self.spec.shape, MULTIPLIES[self.model])
        if found.verdict != Verdict.FOUND:
            found = replace(found, multiplies=self.model == "divide")
        classes = found.classes and merged(found.classes, SAME)
        if classes is None or not _are_apart(classes, found.multiplies):
            classes = ClassMixture.around(np.zeros(0), 1.0)
        limits = [float(each["limit"]) for each in summaries.values() if each.get("limit")]
        return {
            **self.shared.fit_of(found, fill),
            "levels": classes.levels,
            "variances": classes.variances,
            "shares": classes.shares,
            "range": _range(samples),
            "flat": np.array(np.median(limits) if limits else 0.0),
        }

    def _is_shared(self, fit: Arrays) -> bool:
        """Return whether dark and bright parts show the same shifts, surely and noticeably."""
        return bool(fit["levels"].size and fit["shared_is_sure"])

    def _places(self, given: Array, values: Array, fit: Arrays) -> Array:
        """Return the means of places without the field; NaN where these are not flat, or clipped.

        The field moves pixels away from the ends of the type, so ``given`` tells what is clipped.
        """
        limit, ends = float(fit["flat"]), self.spec.ends
        flat = np.stack([flat_means(image, self.place, limit, ends) for image in given])
        means = np.stack([cell_means(image, self.place) for image in values])
        return np.where(np.isnan(flat), flat, means)

    def _shown(self, places: Array, source: Region, out: Region, fit: Arrays) -> Arrays:
        """Return the shifts of the windows of a slice, and how places inside parts follow them."""
        shifts = self._shifts(places, source, out, fit)
        means = places[out.start[0] - source.start[0]]
        (rows, columns), middle = means.shape, self.place // 2
        seen = shifts.seen >= 1
        background = interpolated(shifts.joint * seen, 1.0 * seen, self.window, out)[0]
        background = background[middle :: self.place, middle :: self.place]
        _, y, x = self.window.cell
        cell = max(y // self.place, 1), max(x // self.place, 1)
        inside = sums_inside(means, background[:rows, :columns], _classes_of(fit), cell)
        return {"shifts": np.stack(shifts), "inside": inside}

    def _judged(self, shown: list[Arrays], fit: Arrays) -> Shared:
        """Return what dark and bright parts have in common."""
        shifts = Shifts(*np.concatenate([each["shifts"] for each in shown], axis=1))
        inside = np.sum([each["inside"] for each in shown], axis=0)
        independent = prod(
            max(n / size, 1) for n, size in zip(self.spec.shape, self.size, strict=True)
        )
        return shared_by_groups(shifts, inside, independent, _classes_of(fit))

    def _at_pixels(self, shifts: Shifts, out: Region) -> Array:
        """Return the joint shifts at the pixels of ``out``.

        They fade out where one group is hardly seen: there a shift cannot be told from another
        material.
        """
        seen = np.maximum(shifts.seen, FADING)
        return interpolated(shifts.joint * shifts.seen, seen, self.window, out)

    def _shifts(self, places: Array, source: Region, out: Region, fit: Arrays) -> Shifts:
        """Return the shifts at the cells around ``out``, arrays (slices, cells along y, x)."""
        classes, window = _classes_of(fit), self.window
        _, cell_y, cell_x = (size // self.place for size in window.cell)
        cells = window.cells_around(out)
        _, first_y, first_x = (a // b for a, b in zip(source.start, window.cell, strict=True))
        _, rows, columns = cells.shape
        total = np.zeros((len(out.z), rows, columns, BINS), np.float32)
        weights, reach = window.weights(0), window.reach[0]
        for z, means in zip(source.z, places, strict=True):
            if z in self.spec.bad:
                continue
            counts = cell_histograms(means, max(cell_y, 1), max(cell_x, 1), classes)
            sums = np.moveaxis(counts, 2, 0)[:, np.newaxis]
            sums = smoothed(sums, window, 1, first_y, cells.start[1], cells.stop[1])
            sums = smoothed(sums, window, 2, first_x, cells.start[2], cells.stop[2])
            plane = np.moveaxis(sums[:, 0], 0, 2)
            for k, own in enumerate(out.z):
                if abs(own - z) <= reach:
                    total[k] += np.float32(weights[own - z + reach]) * plane
        return window_shifts(total, classes)


def _classes_of(fit: Arrays) -> LevelClasses:
    """Return the classes that were found."""
    low, high = fit["range"]
    return LevelClasses(
        fit["levels"], fit["variances"], fit["shares"], bool(fit["multiplies"]), low, high
    )


def _are_apart(classes: ClassMixture, multiplies: bool) -> bool:
    """Return whether dark and bright classes are materials of their own."""
    levels, shares = classes.levels, classes.shares
    bright = is_bright(levels)
    if bright.all() or (multiplies and levels.min() <= 0):
        return False
    dark_level, bright_level = (
        shares[group] @ levels[group] / shares[group].sum() for group in (~bright, bright)
    )
    return bool(bright_level - dark_level > APART * np.sqrt(shares @ classes.variances))


def _range(samples: Samples) -> Array:
    """Return the range of gray levels that histograms count."""
    if not samples.values.size:
        return np.zeros(2)
    low, high = np.quantile(samples.values, ENDS)
    margin = MARGIN * (high - low)
    return np.array([low - margin, high + margin])
