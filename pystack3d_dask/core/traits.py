"""Optional abilities of corrections: charts, verdicts on slices, files of PyStack3D."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from pystack3d_dask.core.charts import Chart, statistics
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Array, Arrays


class ReportCharts(ABC):
    """A correction that shows more in the report than gray levels before and after."""

    @abstractmethod
    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        """Yield charts of one channel, to follow that of the gray levels.

        Parameters are those of `ReferenceLayout.reference_outputs`. Of a run that was interrupted,
        slices may be NaN and figures missing.
        """


class FindsBadSlices(ABC):
    """A correction whose fit tells slices that are bad by what they show."""

    @abstractmethod
    def bad_content(self, fitted: Arrays) -> dict[int, str]:
        """Return the bad slices, ascending, and why they are bad.

        Parameters
        ----------
        fitted : dict of ndarray
            What `finalize` returned.
        """


class ReferenceLayout(ABC):
    """A correction that PyStack3D keeps more files of than statistics.

    Attributes
    ----------
    reference_per_channel : bool
        Whether PyStack3D keeps the files by channel, beside statistics in ``outputs/stats.npy``;
        or those of the first channel only, in the directory of the step.
    """

    reference_per_channel: ClassVar[bool] = True

    @abstractmethod
    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        """Return the files that PyStack3D leaves beside the slices of one channel.

        Parameters
        ----------
        figures : dict of ndarray
            What is recorded per slice of the output: ``before``, ``raw`` and ``cast``, each
            minimum, maximum and mean, shape (slices, 3), and the figures of `apply`.
        spec : StackSpec
            The input.
        fitted : dict of ndarray, optional
            The fit that `apply` works with.

        Returns
        -------
        dict
            By path inside the directory of the channel: an array (``.npy``; ``.txt`` for
            numbers as text), or several by name (``.npz``).
        """


def charts_of(
    step: Step, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None, *, own: bool = True
) -> list[Chart]:
    """Return what the report shows of a step on one channel.

    Parameters
    ----------
    step, figures, spec, fitted
        The step, and what its charts are made of, see `ReferenceLayout.reference_outputs`.
    own : bool
        Whether charts of the step itself are wanted, beside that of the gray levels.
    """
    charts: list[Chart] = [statistics(figures)] if "cast" in figures else []
    if own and isinstance(step, ReportCharts):
        charts += step.charts(figures, spec, fitted)
    return charts
