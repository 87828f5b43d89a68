"""A background that all materials share, found without masks or orders, or left alone.

Dark and bright parts of the specimen are told from each other while the field is fitted, and all
pixels are corrected, of whatever material (`kernels.background.shared_field`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pystack3d_dask.core.charts import Chart, Maps
from pystack3d_dask.core.spec import EMPTY, Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, known
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.background.field_judgment import REASONS, Verdict
from pystack3d_dask.kernels.background.field_samples import Samples
from pystack3d_dask.kernels.background.flat_places import FlatPlaces, flat_places
from pystack3d_dask.kernels.background.shared_field import (
    SharedField,
    field_row_terms,
    find_field,
    without_field,
)
from pystack3d_dask.kernels.intensity.gray_range import fill_levels, gray_levels
from pystack3d_dask.kernels.padding import keep_levels

Model = Literal["auto", "subtract", "divide"]

SLICES = 16  # from which samples are taken, at most
CELLS = 12_000  # that are looked at in all of them
SURFACE = 64  # points along an axis, at most, of a background that is drawn
MULTIPLIES: Mapping[Model, tuple[bool, ...]] = {
    "auto": (True, False),
    "subtract": (False,),
    "divide": (True,),
}


@dataclass(frozen=True, kw_only=True)
class SharedBackground:
    """The method "classes" of the background removal, on one stack.

    Parameters
    ----------
    spec : StackSpec
        The stack.
    model : {"auto", "subtract", "divide"}
        Whether the field is subtracted or slices are divided by it.
    """

    spec: StackSpec
    model: Model

    @property
    def sampled(self) -> list[int]:
        """Slices from which samples are taken."""
        count = self.spec.shape[0]
        return [*dict.fromkeys(np.linspace(0, count - 1, min(count, SLICES)).astype(int).tolist())]

    def source(self, out: Region) -> Region:
        """Return the region that ``out`` needs: itself."""
        return out

    def scratch_bytes(self, region: Region) -> int:
        """Return what is allocated beside the output: next to nothing."""
        return 0

    def summary_source(self, out: Region) -> Region:
        """Return the slices of ``out`` that are sampled, and those between them."""
        mine = [z for z in self.sampled if z in out.z]
        return out.with_z(mine[0], mine[-1] + 1) if mine else EMPTY

    def summarize(self, image: Array, z: int) -> Arrays | None:
        """Return samples of a slice, and its gray levels."""
        if z not in self.sampled:
            return None
        found = flat_places(image, CELLS // len(self.sampled), self.spec.ends)
        inside = np.array(found.inside)
        own = image[~np.isnan(image)][np.newaxis] if image.dtype.kind == "f" else image
        levels = gray_levels(own, self.spec.source_dtype, is_integer=self.spec.is_integer)
        return {
            "values": found.values,
            "places": found.places,
            "inside": inside,
            "limit": np.array(found.limit),
            **levels,
        }

    def finalize(self, summaries: Summaries) -> Arrays:
        """Return the field, and the gray levels that only fill the stack up."""
        samples, fill = self.samples(summaries)
        found = find_field(samples, self.spec.shape, MULTIPLIES[self.model])
        return self.fit_of(found, fill)

    def samples(self, summaries: Summaries) -> tuple[Samples, tuple[float, ...]]:
        """Return the samples of all slices, and the gray levels that only fill the stack up."""
        slices = {z: dict(summary) for z, summary in summaries.items() if "values" in summary}
        fill = fill_levels(slices.values(), self.spec.source_dtype)
        depth = self.spec.shape[0]
        seen = {
            (z + 0.5) / depth: FlatPlaces(
                each["values"], each["places"], float(each["inside"]), float(each["limit"])
            )
            for z, each in slices.items()
        }
        return Samples.of_slices(seen, fill), fill

    def fit_of(self, found: SharedField, fill: Sequence[float]) -> Arrays:
        """Return a field as a fit."""
        return {
            "coefficients": found.coefficients,
            "limits": np.array(found.limits),
            "multiplies": np.array(found.multiplies),
            "explained": np.array(found.explained),
            "error": np.array(found.error),
            "verdict": np.array(int(found.verdict)),
            "fill": np.array(fill, np.float64),
        }

    def apply(
        self, block: Array, source: Region, out: Region, fitted: Arrays | None
    ) -> tuple[Array, Arrays]:
        """Return the block without the field; fill stays."""
        fit = known(fitted)
        values = block.astype(self.spec.arithmetic)
        if int(fit["verdict"]) != Verdict.FOUND:
            return values, {}
        (low, high), multiplies = fit["limits"], bool(fit["multiplies"])
        first, width = out.start[2], self.spec.shape[2]
        for k, z in enumerate(out.z):
            rows = field_row_terms(fit["coefficients"], z, self.spec.shape)[out.slices[1]]
            without_field(block[k], first, width, rows, low, high, multiplies, values[k])
        return keep_levels(values, block, fit["fill"]), {}

    def remarks(self, fitted: Arrays) -> Iterator[str]:
        """Yield what was found, or why nothing is done."""
        verdict = Verdict(int(fitted["verdict"]))
        if verdict != Verdict.FOUND:
            yield f"no background was removed: {REASONS[verdict]}"
            return
        how = "divided by" if fitted["multiplies"] else "subtracted"
        yield (
            f"a smooth field that dark and bright parts share was {how}; it explains "
            f"{float(fitted['explained']):.0%} +- {float(fitted['error']):.0%} of the slow "
            "variation"
        )

    def charts(self, figures: Arrays, fitted: Arrays | None) -> Iterator[Chart]:
        """Yield the field in the first, the middle and the last slice."""
        if fitted is None or int(fitted["verdict"]) != Verdict.FOUND:
            return
        slices, height, width = self.spec.shape
        rows = np.linspace(0, height - 1, min(height, SURFACE)).astype(int)
        columns = np.linspace(0, width - 1, min(width, SURFACE)).astype(int)
        place = (2 * columns + 1) / width - 1
        maps = {}
        for z in sorted({0, slices // 2, slices - 1}):
            terms = field_row_terms(fitted["coefficients"], z, self.spec.shape)[rows]
            field = np.polynomial.polynomial.polyval(place, terms.T)
            maps[f"slice {z}"] = np.clip(field, *fitted["limits"])
        yield Maps(
            name="background",
            title="Background that was removed",
            text="It should vary slowly, and show nothing of the specimen.",
            maps=maps,
            x="x, pixels",
            y="y, pixels",
            value="share" if fitted["multiplies"] else "gray levels",
            extent=(0, width, 0, height),
            is_image=True,
        )
