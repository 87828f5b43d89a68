"""Brightness by neighbors: gain and offset of each slice, as its neighbors show them.

Neighboring slices show nearly the same, so that the gray levels of one follow from those of the
other, pixel by pixel, by a line (`kernels.intensity.pair_lines`). Where a slice jumps against the
slices around it, by more than the pairs disagree, the jump is undone; all else is left alone
(`kernels.intensity.slice_gains`). A porosity that changes along z moves no line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pystack3d_dask.core.area import Area, area_region
from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, around, known
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.intensity.gray_range import SAMPLED, fill_levels, sample
from pystack3d_dask.kernels.intensity.pair_lines import NO_LINE, PairLine, pair_line
from pystack3d_dask.kernels.intensity.slice_gains import Brightness, Pairs, slice_gains
from pystack3d_dask.kernels.intensity.slow_changes import (
    Line,
    Parts,
    Slow,
    held_change,
    middle_level,
    most_common,
    parts_of,
    slow_change,
)
from pystack3d_dask.kernels.padding import keep_levels
from pystack3d_dask.kernels.registration.overlay import (
    CellView,
    comparing_bytes,
    overlaid,
)

Anchor = Literal["none", "auto"] | float | Area
FEWEST_SLICES = 4  # of which one can be told to jump
NEAR = 12  # slices on each side from which a preview estimates what it shows
UNSEEN = np.full(SAMPLED + 2, np.nan)  # gray levels of an area that is all padding


@dataclass(frozen=True, kw_only=True)
class NeighborBrightness:
    """The method "neighbors" of intensity rescaling, on one stack.

    Parameters
    ----------
    spec : StackSpec
        The stack.
    neighbors : int
        Slices on each side that a slice is compared with.
    anchor : {"none", "auto"}, float or tuple of int
        Whether slow changes are undone: never, where they are the detector's, or so that what is
        brighter than a gray level, or what an area shows, stays the same.
    """

    spec: StackSpec
    neighbors: int
    anchor: Anchor

    @property
    def fit_rounds(self) -> int:
        """Number of times that the stack must be seen."""
        return 1

    def scratch_bytes(self, region: Region) -> int:
        """Return what is allocated beside the output: nothing."""
        return 0

    def summary_source(self, out: Region) -> Region:
        """Return the slices of ``out`` and those before them that they are compared with."""
        return out.with_z(max(out.start[0] - self.neighbors, 0), out.stop[0])

    def summary_scratch_bytes(self, out: Region) -> int:
        """Return what comparing allocates: cells of two slices, and their spectra."""
        return comparing_bytes(out.shape[1:])

    def estimate_slices(self, shown: Collection[int]) -> set[int]:
        """Return the slices shown and those around them."""
        return around(shown, NEAR, self.spec)

    def summarize(self, block: Block, partial: Arrays | None) -> dict[int, Arrays]:
        """Return how slices lie on those before them, gray level by gray level."""
        found, shown = {}, block.without_padding
        pixels, padding = dict(block.image_pixels()), [*block.padding_of_slices()]
        for z in block.out.z:
            last = z - block.source.start[0]
            images = shown[max(last - self.neighbors, 0) : last + 1]
            views = [CellView.of(image, block.spec.ends) for image in images]
            lines = [_compared(view, views[-1]) for view in reversed(views[:-1])]
            cells = views[-1].cells
            is_known = np.isfinite(cells)
            own = cells[is_known] if is_known.any() else np.array([np.nan])
            found[z] = {
                "lines": np.array(lines, np.float64).reshape(-1, len(PairLine._fields)),
                "mean": np.array(own.mean(dtype=np.float64)),
                "contrast": np.array(own.std(dtype=np.float64)),
                "sample": sample(pixels[z]),
            }
            if isinstance(self.anchor, tuple):
                rows, columns = area_region(self.anchor, self.spec).slices[1:]
                area, beside = block.values[last][rows, columns], padding[last]
                own = area if beside is None else area[~beside[rows, columns]][np.newaxis]
                found[z]["area"] = sample(own) if own.size else UNSEEN
        return found

    def finalize(self, summaries: Summaries, partial: Arrays | None) -> Arrays:
        """Return the lines that undo jumps."""
        count = self.spec.shape[0]
        seconds, distances, lines = [], [], []
        means, contrasts = np.full(count, np.nan), np.full(count, np.nan)
        for z, summary in summaries.items():
            means[z], contrasts[z] = summary["mean"], summary["contrast"]
            for distance, line in enumerate(summary["lines"], start=1):
                if z - distance in summaries and np.isfinite(line).all():
                    seconds.append(z)
                    distances.append(distance)
                    lines.append(line)
        fit = {
            "scale": np.ones(count),
            "offset": np.zeros(count),
            "jump": np.zeros(count),
            "undone": np.zeros(count, bool),
            "error": np.full(count, np.inf),
            "log_gain": np.zeros(count),
            "level": np.zeros(count),
            "reference": np.array(0),
            "slow_factor": np.ones(count),
            "slow_amount": np.zeros(count),
            "held": np.full(count, np.nan),
            "fill": np.array(fill_levels([*summaries.values()], self.spec.source_dtype)),
        }
        if not lines or count < FEWEST_SLICES:
            return fit
        log_gain, center_x, center_y, spread = np.array(lines).T
        second = np.array(seconds)
        pairs = Pairs(second - np.array(distances), second, log_gain, center_x, center_y, spread)
        contrast, mean = float(np.nanmedian(contrasts)), float(np.nanmean(means))
        found = slice_gains(pairs, count, mean, contrast)
        scale, offset, slow = found.scale, found.offset, None
        if self.anchor == "auto":
            slow = self._of_detector(self._true(summaries, fit["fill"], found, mean), contrast)
        elif self.anchor != "none":
            slow, fit["held"] = self._held(self._true(summaries, fit["fill"], found, mean))
        if slow is not None:
            scale, offset = found.lines(mean)
            scale, offset = scale / slow.factor, (offset - slow.amount) / slow.factor
        return {
            **fit,
            "scale": scale,
            "offset": offset,
            "jump": found.jump,
            "undone": found.undone,
            "error": found.error,
            "log_gain": found.log_gain,
            "level": found.level,
            "reference": np.array(found.reference),
            "slow_factor": np.ones(count) if slow is None else slow.factor,
            "slow_amount": np.zeros(count) if slow is None else slow.amount,
        }

    def _true(
        self, summaries: Summaries, fill: Array, found: Brightness, mean: float
    ) -> _Undrifted:
        """Return gray levels of slices, of the anchor's area where it is one, for slow changes."""
        scale, offset = found.lines(mean)
        # as the slices around each show it, and with what pairs tell of slow changes undone
        near = Line(np.exp(found.slow_gain), found.slow_level, mean)
        levels = {}
        for z, summary in summaries.items():
            if z not in self.spec.bad:
                values = summary.get("area", summary["sample"])[1:-1]
                values = values[~np.isin(values, fill) & ~np.isnan(values)]
                levels[z] = near.true(scale[z] * values + offset[z], z)
        return _Undrifted(near, levels)

    def _of_detector(self, true: _Undrifted, contrast: float) -> Slow | None:
        """Return the slow change that dark and bright parts share."""
        threshold = middle_level(np.concatenate([*true.levels.values(), np.zeros(0)]))
        own = np.full((2, self.spec.shape[0]), np.nan)
        for z, values in true.levels.items():
            own[:, z] = parts_of(values, threshold)
        if not np.isfinite(own).any():
            return None
        shown, usual = (Parts(*map(true.near.shown, each)) for each in (own, _medians(own)))
        return slow_change(shown, usual, contrast)

    def _held(self, true: _Undrifted) -> tuple[Slow | None, Array]:
        """Return the slow change of the level that the anchor holds, and this level."""
        own = np.full((1, self.spec.shape[0]), np.nan)
        for z, values in true.levels.items():
            is_of_it = slice(None) if isinstance(self.anchor, tuple) else values > self.anchor
            own[0, z] = most_common(values[is_of_it])
        shown = true.near.shown(own[0])
        if not np.isfinite(own).any():
            return None, shown
        return held_change(shown, true.near.shown(_medians(own)[0]), true.near.gain), shown

    @property
    def _anchor(self) -> str:
        """The anchor, as it is written."""
        shown = list(self.anchor) if isinstance(self.anchor, tuple) else self.anchor
        return f"anchor = {shown}"

    def remarks(self, fitted: Arrays) -> Iterator[str]:
        """Yield how many slices are corrected, and which ones cannot be judged."""
        undone = np.flatnonzero(fitted["undone"])
        alone = np.flatnonzero(~np.isfinite(fitted["error"]))
        if not len(undone):
            yield "the brightness of no slice jumps noticeably: left alone"
        else:
            yield (
                f"jumps of brightness were undone in {len(undone)} of {self.spec.shape[0]} slices, "
                f"of {np.median(fitted['jump'][undone]):.2g} gray levels in the median, "
                f"{fitted['jump'][undone].max():.2g} at most"
            )
        factor, amount = fitted["slow_factor"], fitted["slow_amount"]
        if factor.min() < factor.max() or amount.min() < amount.max():
            how = (
                f"by {np.ptp(factor):.0%}"
                if amount.max() == 0
                else f"by {np.ptp(amount):.2g} gray levels"
            )
            why = (
                "in dark and bright parts alike, as it does when a detector drifts"
                if self.anchor == "auto"
                else f"as {self._anchor} shows"
            )
            yield f"brightness changes slowly along z, {how}, {why}: undone"
        elif not isinstance(self.anchor, str):
            shown = int(np.isfinite(fitted["held"]).sum())
            yield (
                f"{self._anchor} shows no slow change of brightness, in {shown} of "
                f"{self.spec.shape[0]} slices that have such pixels"
            )
        if len(alone):
            yield (
                f"like none of the {self.neighbors} slices on each side, and left alone: "
                f"{self.spec.listed(alone)}"
            )

    def apply(self, block: Block, fitted: Arrays | None) -> Array:
        """Return the slices of a block, jumps undone; fill stays."""
        fit = known(fitted)
        values = block.values.astype(block.spec.arithmetic)
        for k, z in enumerate(block.out.z):
            scale, offset = float(fit["scale"][z]), float(fit["offset"][z])
            if (scale, offset) != (1.0, 0.0):
                values[k] = keep_levels(values[k] * scale + offset, block.values[k], fit["fill"])
        return values

    def reference_outputs(self, fitted: Arrays | None) -> dict[str, Array | Arrays]:
        """Return nothing: PyStack3D does not know this method."""
        return {}

    def charts(self, fitted: Arrays) -> Iterator[Chart]:
        """Yield gains and levels of all slices."""
        undone = set(np.flatnonzero(fitted["undone"]).tolist())
        yield Lines(
            name="gains",
            title="Brightness of slices",
            text="Gain, and what a slice of mean gray level is brighter by, as pairs of "
            "neighboring slices show them. Marked slices jump, and were corrected; slow "
            "changes stay.",
            panels={
                "gain": {"": np.exp(fitted["log_gain"])},
                "level, gray levels": {"": fitted["level"]},
            },
            flags=dict.fromkeys(undone, "its brightness jumps"),
        )


class _Undrifted(NamedTuple):
    """Gray levels of slices, by slice, with what pairs tell of slow changes undone."""

    near: Line
    levels: dict[int, Array]


def _medians(rows: Array) -> Array:
    """Return the median of each row, over the slices that have a value."""
    return np.asarray(np.nanmedian(rows, axis=1))


def _compared(first: CellView, second: CellView) -> PairLine:
    """Return the line from a slice to a later one, laid upon it."""
    shared = overlaid(first, second)
    return NO_LINE if shared is None else pair_line(*shared)
