"""Repair of bad slices: what stands in for those that a check found, or a stack without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import EMPTY, Region, StackSpec
from pystack3d_dask.core.stack_fit import known
from pystack3d_dask.core.step import Fits, Step
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.slice_check import SliceCheck
from pystack3d_dask.errors import Problem


@dataclass(frozen=True, kw_only=True)
class SliceRepair(Step):
    """Replace the bad slices that `SliceCheck` found, or leave them out.

    Parameters
    ----------
    action : {"interpolate", "drop"}
        Interpolate linearly between the nearest good slices, at the ends of the stack repeat the
        nearest one; or leave bad slices out. Positions along z count where they are known.

    Notes
    -----
    It belongs behind the registration: only slices that lie on each other can be interpolated.
    A bad slice that is nearer to the truth than what would be interpolated stays, such as one
    that is slightly blurred.

    Where no slice is good, and in precision "source", all stay as they are.
    """

    name: ClassVar[str] = "slice_repair"
    purpose: ClassVar[str] = (
        "replaces the bad slices that `slice_check` found by interpolating between good ones, or "
        "leaves them out"
    )
    usual_place: ClassVar[int] = 65
    template: ClassVar[str] = """\
action = "interpolate"          # between good slices; or "drop": leaves bad ones out
"""
    nanoseconds: ClassVar[float] = 0.1
    keeps_slices: ClassVar[bool] = False

    action: Literal["interpolate", "drop"] = "interpolate"

    @property
    def in_micrometers(self) -> bool:
        return self.action == "interpolate"

    @property
    def needs(self) -> tuple[str, ...]:
        return (SliceCheck.name,)

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        if spec.precision == "source":
            message = 'bad slices stay as they are with precision = "source", as with PyStack3D'
            yield Problem(self.name, message, "warning")

    def prepare(self, fits: Fits, spec: StackSpec) -> Arrays:
        """Return the slices that each slice of the output is made of, and the weight of the 2nd."""
        slices = np.arange(spec.shape[0])
        is_worse = fits[SliceCheck.name]["is_worse"]
        is_known = len(is_worse) == len(slices)  # else a step between the two made other slices
        good = np.setdiff1d(slices, [z for z in spec.bad if not is_known or is_worse[z]])
        if not len(good):
            good = slices
        wanted = good if self.action == "drop" else slices
        last = len(good) - 1
        before = good[np.maximum(np.searchsorted(good, wanted, side="right") - 1, 0)]
        after = good[np.minimum(np.searchsorted(good, wanted), last)]
        weight = [
            spec.share_between(int(a), int(z), int(b))
            for a, z, b in zip(before, wanted, after, strict=True)
        ]
        return {"before": before, "after": after, "weight": np.array(weight)}

    def output_spec(self, spec: StackSpec, fitted: Arrays | None = None) -> StackSpec:
        if self.action == "interpolate":
            return spec.computed()
        if fitted is None:
            return replace(spec, is_bound=True)
        return spec.picked(fitted["before"].tolist())

    def source(self, out: Region, spec: StackSpec, fitted: Arrays | None = None) -> Region:
        if fitted is None:
            return out
        mine = slice(out.start[0], out.stop[0])
        ends = [fitted[key][mine] for key in ("before", "after")]
        return out.with_z(int(np.min(ends)), int(np.max(ends)) + 1) if ends[0].size else EMPTY

    def scratch_bytes(self, region: Region, spec: StackSpec) -> int:
        if self.action == "drop":
            return 0
        return region.shape[1] * region.shape[2] * spec.arithmetic.itemsize

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        fit, first = known(fitted), block.source.start[0]
        mine = slice(block.out.start[0], block.out.stop[0])
        before, after, weight = (fit[key][mine] for key in ("before", "after", "weight"))
        if self.action == "drop":
            return block.values[before - first], {}
        values = np.empty(block.out.shape, block.spec.arithmetic)
        for image, k, last, share in zip(
            values, before - first, after - first, weight, strict=True
        ):
            image[:] = block.values[k]
            if share:
                image += (block.values[last] - image) * image.dtype.type(share)
        return values, {}
