"""Cropping: keeps a rectangle of every slice. Only that region is read at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pystack3d_dask.core.area import Area, area_region, check_area
from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Cropping(Step):
    """Keep a rectangle of every slice.

    Parameters
    ----------
    area : tuple of int, optional
        ``[xmin, xmax, ymin, ymax]`` in pixels, half-open, origin bottom left; clipped to
        the image. The whole image by default.
    """

    name: ClassVar[str] = "cropping"
    purpose: ClassVar[str] = "keeps a rectangle; only that region of the slices is read"
    usual_place: ClassVar[int] = 10
    template: ClassVar[str] = """\
area = {area}{area_origin}
{regions}"""
    nanoseconds: ClassVar[float] = 0.1
    keeps_values: ClassVar[bool] = True
    only_moves: ClassVar[bool] = True

    area: Area | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        return ("cpu", "gpu")

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        yield from check_area(f"{self.name}.area", self.area, spec)

    def output_spec(self, spec: StackSpec, fitted: Arrays | None = None) -> StackSpec:
        return spec.cropped(area_region(self.area, spec))

    def source(self, out: Region, spec: StackSpec, fitted: Arrays | None = None) -> Region:
        return out.shifted(area_region(self.area, spec).start)

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        return block.values, {}


@dataclass(frozen=True, kw_only=True)
class CroppingFinal(Cropping):
    """Keep a rectangle of what the other steps leave, in pixels of that image."""

    name: ClassVar[str] = "cropping_final"
    purpose: ClassVar[str] = (
        "keeps a rectangle of what the other steps give: cuts off what they spoil at the borders"
    )
    usual_place: ClassVar[int] = 130
    template: ClassVar[str] = """\
area = {kept}    # in pixels of what the other steps leave
"""
