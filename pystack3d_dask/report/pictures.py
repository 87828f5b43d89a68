"""Pictures of a stack, as charts of which there are no numbers."""

from __future__ import annotations

from dataclasses import dataclass

from pystack3d_dask.core.charts import Chart, Columns
from pystack3d_dask.report.planes import Planes


@dataclass(frozen=True, kw_only=True)
class Picture(Chart):
    """A picture of a stack.

    Parameters
    ----------
    planes : Planes
        What is shown.
    """

    planes: Planes

    @property
    def limits(self) -> tuple[float, float]:
        """Gray levels that are drawn black and white."""
        return self.planes.limits

    def tables(self) -> dict[str, Columns]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Cuts(Picture):
    """The planes through the middle, side by side on common axes."""


@dataclass(frozen=True, kw_only=True)
class Cube(Picture):
    """The faces of the cube, seen from the front, above and the right."""
