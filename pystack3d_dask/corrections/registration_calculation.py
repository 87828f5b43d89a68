"""Registration, first half: the transformation of each slice against the one before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from pystack3d_dask.core.area import Area, area_region, check_area
from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines, outlying
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit, Summaries, around, known
from pystack3d_dask.core.step import FitScope
from pystack3d_dask.core.traits import ReferenceLayout, ReportCharts
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.plausible import doubt_compared, doubt_mask
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.masks import limits
from pystack3d_dask.kernels.padding import faded
from pystack3d_dask.kernels.registration.affine import cumulated, identities, motion_panels, moved
from pystack3d_dask.kernels.registration.phase_correlation import register_shift
from pystack3d_dask.kernels.registration.stackreg import SMALLEST, Transformation, register
from pystack3d_dask.kernels.registration.warp import aligned_correlation

REACH = 3  # earlier slices that a slice is compared with, until one looks like it
# per pixel, as measured: pyramids of splines and gradients in doubles; spectra, derivatives
SCRATCH_BYTES = {"stackreg": 150, "phase": 55}
SURELY_ALIKE = 0.5  # and from which no other slice can be meant
HARDLY_ALIKE = 0.15  # below, all earlier slices within reach are tried
LEAST_JUMP = 1.0  # pixel: smaller ones are jitter
UNLIKE = "it has little in common with the one before"
NEAR = 1  # slices before and after those shown whose motion an estimate knows
FAINT = 1e-4  # contrast over the mean: below, digits of single precision count
MARKED = 5.0  # correlation times the root of a mask's pixels: a few stray ones reach less
ALIKE = 0.05  # correlation after registration from which two slices show the same
OTHER_SHARE = 2.0  # times the pixels of another mask: it may show something else


class Compared(NamedTuple):
    """How a slice lies on an earlier one.

    Parameters
    ----------
    matrix : ndarray, shape (3, 3)
        From coordinates in that slice to those in the slice; the identity without one.
    distance : int
        How many slices before it is that.
    correlation : float
        How alike the two are once registered.
    foreground : float
        Share of the pixels up to the threshold, 0 without one.
    contrast : float
        Standard deviation of what is compared over its mean's magnitude; infinite for a mean of 0.
    """

    matrix: Array
    distance: int
    correlation: float
    foreground: float
    contrast: float


@dataclass(frozen=True, kw_only=True)
class RegistrationCalculation(ReportCharts, ReferenceLayout, StackFit):
    """Find how each slice lies on the slice before it; pixels stay as they are.

    `RegistrationTransformation` moves the slices. Images are compared by StackReg
    (Thévenaz, Ruttimann, Unser, IEEE TIP 7(1), 1998), through pystackreg; or, for shifts alone,
    in about an eighth of the time and as exactly, by `kernels.registration.phase_correlation`.

    Parameters
    ----------
    transformation : {"TRANSLATION", "RIGID_BODY", "SCALED_ROTATION", "AFFINE"}
        What a slice may do against the one before.
    method : {"stackreg", "phase"}
        How it is found; "phase" finds translations only.
    area : tuple of int, optional
        ``[xmin, xmax, ymin, ymax]`` in pixels, half-open, origin bottom left: the part of
        the slices that is compared. The whole image by default.
    threshold : float, optional
        Compare masks in place of gray levels: pixels up to this value against those above. Of an
        acquisition of integers, values are judged clipped and truncated to its type.
    nb_blocks : tuple of int
        Rows and columns of equal blocks that the area is cut into, each with a
        transformation of its own.
    channel : str
        Name of the channel that is compared; the first one by default. All channels use
        what it gives.

    Notes
    -----
    The fit has ``pairwise``, shape (slices, blocks, 3, 3): matrices on (x, y, 1) from
    coordinates in the slice before to those in the slice, in pixels of the whole image,
    origin top left, whatever the area; blocks in rows from the top left. The first slice
    has identities.

    A slice that looks like none of the slices before it (blank, noise) keeps the place
    of its predecessor, and the slice after it is compared with the last one that it looks
    like, up to three before; so one bad slice does not displace all later ones. Such
    slices are told of.

    Images are judged by their contrast about the mean, whatever their offset and scale; so are
    slices of floats whose contrast is below 1e-4 of the mean, but with a note, since single
    precision hardly holds it.
    """

    name: ClassVar[str] = "registration_calculation"
    purpose: ClassVar[str] = (
        "finds how each slice lies on the one before (StackReg: shift, rotation, scale, "
        'affine; or `method = "phase"`, faster, for shifts; whole slices, an area, or '
        "blocks); a bad slice does not displace the others"
    )
    usual_place: ClassVar[int] = 50
    template: ClassVar[str] = """\
# area = {kept}   # where slices are compared; by default all of what comes in
# threshold = 60                # compare which pixels are at most this, not their values
# nb_blocks = [1, 1]            # rows and columns of blocks that move each for itself
transformation = "TRANSLATION"  # or "RIGID_BODY", "SCALED_ROTATION", "AFFINE"
method = "phase"                # for TRANSLATION; or "stackreg", slower and less exact
"""
    nanoseconds: ClassVar[float] = 0.1
    reference_per_channel: ClassVar[bool] = False
    keeps_values: ClassVar[bool] = True
    only_moves: ClassVar[bool] = True
    version: ClassVar[int] = 3

    transformation: Transformation
    method: Literal["stackreg", "phase"] = "stackreg"
    area: Area | None = None
    threshold: float | None = None
    nb_blocks: tuple[int, int] = (1, 1)
    channel: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        return ("cpu", "gpu")

    @property
    def fit_scope(self) -> FitScope:
        return "stack"

    @property
    def fit_channel(self) -> str | None:
        return self.channel

    @property
    def fits_bad_slices(self) -> bool:
        return True  # each slice has a place

    @property
    def needs(self) -> tuple[str, ...]:
        return ()  # pixels pass through, with or without the fit

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        yield from check_area(f"{self.name}.area", self.area, spec)
        if self.method == "phase" and self.transformation != "TRANSLATION":
            yield Problem(
                f"{self.name}.method",
                f"'phase' finds translations; for transformation = '{self.transformation}' "
                "'stackreg' is expected",
            )
        if min(self.nb_blocks) < 1:
            yield Problem(
                f"{self.name}.nb_blocks",
                f"[rows, columns], each 1 or more, expected, found {list(self.nb_blocks)}",
            )
            return
        height, width = self._block_size(spec)
        if area_region(self.area, spec).size and min(height, width) < SMALLEST:
            yield Problem(
                f"{self.name}.area",
                f"blocks of {SMALLEST} x {SMALLEST} pixels or more are needed to register, "
                f"found {width} x {height} (x, y): take a larger area, or fewer nb_blocks",
            )
        elif area_region(self.area, spec).size:
            yield from doubt_compared(f"{self.name}.area", height, width)
        yield from doubt_mask(f"{self.name}.threshold", self.threshold, spec)

    def output_spec(self, spec: StackSpec, fitted: Arrays | None = None) -> StackSpec:
        return spec

    def summary_source(self, out: Region, spec: StackSpec) -> Region:
        area = area_region(self.area, spec)
        return area.with_z(max(out.start[0] - REACH, 0), out.stop[0])

    def summary_scratch_bytes(self, out: Region, spec: StackSpec) -> int:
        height, width = self._block_size(spec)
        return SCRATCH_BYTES[self.method] * height * width

    def estimate_slices(self, shown: Collection[int], spec: StackSpec) -> set[int]:
        """Return those shown and their neighbors: they lie on each other as they will, but
        the stack that they lie in has not moved.
        """
        return around(shown, NEAR, spec)

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        parts = [part.relative_to(block.source).slices[1:] for part in self._blocks(block.spec)]
        _, limit = limits(None, self.threshold, block.spec.source_dtype)
        found, values = {}, block.values
        if block.padding is not None:
            values = np.stack([faded(*each) for each in zip(values, block.padding, strict=True)])
        for z in block.out.z:
            last = z - block.source.start[0]
            images = values[max(last - REACH, 0) : last + 1]
            found[z] = {
                key: np.array(values)
                for key, values in zip(
                    Compared._fields,
                    zip(
                        *(self._compare(images[:, ys, xs], limit) for ys, xs in parts), strict=True
                    ),
                    strict=True,
                )
            }
        return found

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        blocks = self._blocks(spec)
        shape = (spec.shape[0], len(blocks))
        pairwise, correlation = identities(*shape), np.ones(shape)
        foreground, contrast = np.zeros(shape), np.full(shape, np.inf)
        for z, summary in summaries.items():
            correlation[z], foreground[z] = summary["correlation"], summary["foreground"]
            contrast[z] = summary["contrast"]
            for index, (block, distance) in enumerate(
                zip(blocks, summary["distance"], strict=True)
            ):
                matrix = moved(summary["matrix"][index], -block.start[1], -block.start[2])
                if distance > 1:  # the slices between do not take part, wherever they lie
                    between = cumulated(pairwise[z - distance : z, index, None])[-1, 0]
                    matrix = matrix @ np.linalg.inv(between)
                pairwise[z, index] = matrix
        return {
            "pairwise": pairwise,
            "correlation": correlation,
            "foreground": foreground,
            "contrast": contrast,
            "origin": np.array(spec.origin),
            "grid": np.array(self.nb_blocks),
            "first": np.array(blocks[0].start[1:]),
            "size": np.array(blocks[0].shape[1:]),
        }

    def remarks(self, fitted: Arrays, spec: StackSpec) -> Iterator[str]:
        if self.threshold is not None:
            for limit, what in ((0.0, "no pixel"), (1.0, "every pixel")):
                empty = np.flatnonzero((fitted["foreground"] == limit).any(axis=1))
                if len(empty):
                    yield (
                        f"{self.name}.threshold = {self.threshold:g} selects {what} of "
                        f"{spec.listed(empty)}, which cannot be registered so: choose one "
                        "between the gray levels there"
                    )
        least = fitted["contrast"].min(axis=1)
        faint = np.flatnonzero((least > 0) & (least < FAINT))
        if len(faint) and not spec.is_integer:
            yield (
                f"{self.name}: the contrast of {spec.listed(faint)} is only "
                f"{least[faint].min():.1g} of the mean gray level, which single precision hardly "
                "holds: shifts may be off; subtract an offset from the slices"
            )
        alone = np.flatnonzero((fitted["correlation"] < ALIKE).any(axis=1))
        if len(alone):
            yield (
                f"{self.name}: like none of the slices before, and left at the place of the one "
                f"before: {spec.listed(alone)}"
            )

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        return block.values, {}

    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        """Return the matrices, in pixels of the whole image."""
        return {"tmats.npy": known(fitted)["pairwise"]}

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        if fitted is None:
            return
        parts = [(part.start, part.shape) for part in self._blocks(spec)]
        centers = np.array(
            [[s[2] + (n[2] - 1) / 2, s[1] + (n[1] - 1) / 2] for s, n in parts], np.float64
        )
        panels = motion_panels(fitted["pairwise"], centers)
        worst = fitted["correlation"].min(axis=1)
        flags = {z: "it moves unlike its neighbors" for z in _jumps(panels)}
        flags |= dict.fromkeys(np.flatnonzero(worst < HARDLY_ALIKE).tolist(), UNLIKE)
        yield Lines(
            name="pairwise",
            title="How each slice lies on the one before",
            text="Shifts to the right and down of the middle of the compared area, and how alike "
            "(1: the same, 0: nothing in common) the two slices are once registered. Marked "
            "slices have little in common with the one before, or move unlike their neighbors.",
            panels=panels | {"correlation": {"": worst}},
            flags=flags,
        )

    def _blocks(self, spec: StackSpec) -> list[Region]:
        """Return the blocks, over all slices; what is left over at bottom and right is not used."""
        _, top, left = area_region(self.area, spec).start
        height, width = self._block_size(spec)
        return [
            Region((0, row, column), (spec.shape[0], row + height, column + width))
            for row in range(top, top + height * self.nb_blocks[0], height)
            for column in range(left, left + width * self.nb_blocks[1], width)
        ]

    def _block_size(self, spec: StackSpec) -> tuple[int, int]:
        """Return rows and columns of a block."""
        _, rows, columns = area_region(self.area, spec).shape
        return rows // self.nb_blocks[0], columns // self.nb_blocks[1]

    def _compare(self, images: Array, limit: float) -> Compared:
        """Return how the last image lies on the one before it, or on an earlier one.

        ``limit`` is the largest value that the threshold, if there is one, counts as foreground.
        Earlier ones are tried if the one before is hardly like it, or not much while they
        are, even as they lie.
        """
        seen = images if self.threshold is None else images <= limit
        image = seen[-1]
        foreground = 0.0 if self.threshold is None else float(np.mean(image))
        contrast = _contrast(image)
        best = Compared(np.eye(3), 1, 1.0 if len(images) == 1 else 0.0, foreground, contrast)
        if image.min() == image.max():
            return best
        for distance, reference in enumerate(seen[-2::-1], start=1):
            if best.correlation >= SURELY_ALIKE:
                break
            if (
                best.correlation < HARDLY_ALIKE
                or aligned_correlation(reference, image, np.eye(3)) > best.correlation
            ):
                matrix = self._register(reference, image)
                correlation = aligned_correlation(reference, image, matrix)
                least = ALIKE if self.threshold is None else _least_of_masks(reference, image)
                if correlation >= max(least, best.correlation):
                    best = best._replace(matrix=matrix, distance=distance, correlation=correlation)
        return best

    def _register(self, reference: Array, image: Array) -> Array:
        if self.method == "phase":
            return register_shift(reference, image)
        return register(reference, image, self.transformation)


def _least_of_masks(reference: Array, image: Array) -> float:
    """Return the correlation from which two masks are taken to show the same.

    Few pixels correlate by chance. Where one mask has many more pixels than the other, the
    threshold probably lies near the background's gray level, and selects it in one slice only.
    """
    shares = (float(np.mean(mask)) for mask in (reference, image))
    before, now = (min(share, 1 - share) for share in shares)
    by_chance = MARKED / sqrt(max(image.size * now, 1))
    is_other = max(before, now) > OTHER_SHARE * min(before, now)
    return max(HARDLY_ALIKE if is_other else ALIKE, by_chance)


def _contrast(image: Array) -> float:
    """Return the standard deviation over the mean's magnitude; infinite for a mean of 0."""
    mean = abs(float(image.mean(dtype=np.float64)))
    return float(image.std(dtype=np.float64)) / mean if mean else np.inf


def _jumps(panels: Mapping[str, Mapping[str, Array]]) -> set[int]:
    """Return the slices whose shift stands out among those of their neighbors."""
    shifts = [values for label in ("x, pixels", "y, pixels") for values in panels[label].values()]
    return {z for values in shifts for z in outlying(values, least=LEAST_JUMP)}
