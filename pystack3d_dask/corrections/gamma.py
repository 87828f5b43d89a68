"""Gamma correction: a power law between black and white.

Method: Gonzalez and Woods, Digital Image Processing, section 3.2; `skimage.exposure.adjust_gamma`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.levels import check_range, full_range
from pystack3d_dask.corrections.plausible import doubt_range
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.intensity.quantiles import Limits

STRONGEST = 100.0  # power or root: anything beyond leaves black and white alone


@dataclass(frozen=True, kw_only=True)
class Gamma(Step):
    """Raise gray levels, as a fraction of the way from black to white, to a power.

    Parameters
    ----------
    gamma : float
        Below 1 brightens what is dark, above 1 darkens it; black and white stay.
    in_range : tuple of float, optional
        Black and white. Values beyond are clipped to them. By default the ends of the
        type; a stack of floats has none and needs it.
    """

    name: ClassVar[str] = "gamma"
    purpose: ClassVar[str] = "exposure: a power law"
    usual_place: ClassVar[int] = 100
    template: ClassVar[str] = """\
gamma = 0.7                     # below 1 brightens, above 1 darkens
# in_range = [0, 255]           # what is black and white; by default the ends of the type
"""
    nanoseconds: ClassVar[float] = 3.0

    gamma: float = 1.0
    in_range: Limits | None = None

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        if not 1 / STRONGEST <= self.gamma <= STRONGEST:
            yield Problem(
                f"{self.name}.gamma",
                f"{1 / STRONGEST:g} to {STRONGEST:g} expected, found {self.gamma}",
            )
        path = f"{self.name}.in_range"
        if self.in_range is None and not spec.is_integer:
            yield Problem(
                path,
                "missing: a stack of floats needs the gray levels that are black and white, "
                "in_range = [min, max]",
            )
        yield from check_range(path, self.in_range)
        yield from doubt_range(path, self.in_range, spec)

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        low, high = self.in_range or full_range(block.spec)
        values = block.values.astype(block.spec.arithmetic)
        np.clip(values, low, high, out=values)
        values -= low
        values /= high - low
        np.power(values, self.gamma, out=values)
        values *= high - low
        values += low
        return values, {}
