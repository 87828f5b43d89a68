"""Corrections in order, and what can be done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pystack3d_dask.core.gpu_policy import GpuUse
from pystack3d_dask.core.step import Step, immutable
from pystack3d_dask.core.typing import Arrays, Precision
from pystack3d_dask.errors import SourceError, StackError
from pystack3d_dask.project.project import KEEP_ALL, Keep, Project

# what follows is imported by the methods that use it: a plan needs no scheduler, a worker
# neither pydantic nor xarray
if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from pystack3d_dask.core.area import Area
    from pystack3d_dask.core.plan import Plan
    from pystack3d_dask.engine.run import OnBlock
    from pystack3d_dask.engine.summary import RunSummary
    from pystack3d_dask.engine.verify import OnFile, Verification
    from pystack3d_dask.export.export import OnSlice
    from pystack3d_dask.preview.preview import Preview
    from pystack3d_dask.preview.sweep import Sweep
    from pystack3d_dask.preview.widget import PreviewWidget
    from pystack3d_dask.project.bad_content import BadContent


class Pipeline:
    """Corrections in order, for any stack, or those of a project.

    Parameters
    ----------
    corrections : sequence of Step
        Such as ``[ps.Cropping(area=(0, 500, 0, 400)), ps.Gamma(gamma=0.7)]``.
    channels : sequence of str
        Sub-directories of the stack, one per channel.
    ind_min, ind_max : int
        First and last slice to keep, from 0 on; all of them by default.
    precision : {"float32", "source"}
        Whether values stay float32 between corrections, or are truncated to the type of the
        acquisition after each, as PyStack3D does.
    dither : bool
        Whether noise of one gray level is added before the result is rounded to integers: where
        contrast was raised, by less than two, no gray levels stay empty then; means are exact.
    fill : sequence of float
        Gray levels that padding has, such as 0 for a black border. Connected areas of such a level
        are padding if they touch an edge of the slice (after croppings with which the chain
        begins), or cover more than 0.5 % of it. Padding keeps its level, moves with the specimen,
        and takes no part in any fit; other pixels never have that level exactly before the result
        is rounded. What no slice shows after a registration gets the lowest of these levels, and
        is padding. For precision "float32".
    keep : sequence of {"ingested", "intermediates"}
        What stays on disk between passes after a run that was completed.
    bad_slices : {"fail", "keep", "drop", "interpolate"}
        What happens to slices that cannot be read.
    bad_content : {"keep", "drop", "interpolate"}
        What happens to slices that `SliceCheck` finds bad; other values than "keep" add
        `SliceCheck`, where it is not listed, and `SliceRepair`.
    fingerprint : {"times", "content"}
        How changed slices are noticed: by size and time of their files, or by their bytes.
    samples : {"luminance", "channels"}, optional
        What to do with color.
    voxel_size : sequence of float, optional
        x, y and, where the distance of slices is given, z, in micrometers: in place of what the
        files say.
    gpu : {"prefer", "only", "share", "off"}
        What GPU workers do, see `pystack3d_dask.project.project.Project`.

    Raises
    ------
    ParameterError
        When a parameter of a correction has a wrong type.

    See Also
    --------
    fit, correct : the same on lazy arrays, one correction after the other.

    Examples
    --------
    >>> import pystack3d_dask as ps
    >>> pipeline = ps.Pipeline([ps.Cropping(area=(0, 500, 0, 400)), ps.Gamma(gamma=0.7)])
    >>> print(pipeline.to_toml())
    process_steps = ["cropping", "gamma"]
    <BLANKLINE>
    [cropping]
    area = [0, 500, 0, 400]
    <BLANKLINE>
    [gamma]
    gamma = 0.7
    <BLANKLINE>
    >>> summary = pipeline.run("my_stack")  # doctest: +SKIP
    """

    def __init__(
        self,
        corrections: Sequence[Step],
        *,
        channels: Sequence[str] = (".",),
        ind_min: int = 0,
        ind_max: int | None = None,
        precision: Precision = "float32",
        dither: bool = False,
        fill: Sequence[float] = (),
        keep: Sequence[Keep] = KEEP_ALL,
        bad_slices: Literal["fail", "keep", "drop", "interpolate"] = "fail",
        bad_content: BadContent = "keep",
        fingerprint: Literal["times", "content"] = "times",
        samples: Literal["luminance", "channels"] | None = None,
        voxel_size: Sequence[float] | None = None,
        gpu: GpuUse = "prefer",
    ) -> None:
        from pystack3d_dask.project.config import checked_steps
        from pystack3d_dask.project.toml import content_of

        settings = {
            "channels": (channels, (".",)),
            "ind_min": (ind_min, 0),
            "ind_max": (ind_max, None),
            "precision": (precision, "float32"),
            "dither": (dither, False),
            "fill": (fill, ()),
            "keep": (keep, KEEP_ALL),
            "bad_slices": (bad_slices, "fail"),
            "bad_content": (bad_content, "keep"),
            "fingerprint": (fingerprint, "times"),
            "samples": (samples, None),
            "voxel_size": (voxel_size, None),
            "gpu": (gpu, "prefer"),
        }
        plain = {name: (immutable(value), default) for name, (value, default) in settings.items()}
        given = {name: value for name, (value, default) in plain.items() if value != default}
        self.corrections = tuple(checked_steps(corrections))
        self._content = content_of(self.corrections, given)
        self._project: Project | None = None

    @classmethod
    def from_toml(cls, path: str | Path, *, steps: Sequence[str] | None = None) -> Pipeline:
        """Open a project: a directory with a parameter file, or that file.

        Only headers are read, but with ``bad_slices = "drop"`` every slice is decoded, once.

        Parameters
        ----------
        path : path-like
            The project.
        steps : sequence of str, optional
            Only these of its ``process_steps``.

        Raises
        ------
        ParameterError, SourceError
            When the parameters or the headers of the slices are wrong.
        PixelError
            When a drive is away while ``bad_slices = "drop"`` looks through the slices.
        """
        from pystack3d_dask.project.config import load_project

        return cls.of(load_project(Path(path), steps=steps))

    @classmethod
    def of(cls, project: Project) -> Pipeline:
        """Return the pipeline of a project that is open."""
        pipeline = cls.__new__(cls)
        pipeline.corrections = project.steps
        pipeline._content = dict(project.parameters or {})
        pipeline._project = project
        return pipeline

    @property
    def project(self) -> Project:
        """The corrections with the stack that they are for.

        Raises
        ------
        StackError
            When there is no stack yet.
        """
        if self._project is None:
            message = 'this pipeline has no stack yet: pipeline.on("my_stack") gives it one'
            raise StackError(message)
        return self._project

    def on(self, stack: str | Path | xr.DataArray, directory: str | Path | None = None) -> Pipeline:
        """Return the pipeline for a stack: to plan, look at, or run.

        Parameters
        ----------
        stack : path-like or DataArray
            A directory with slices, in which ``process`` will have the result; or an array, which
            is written to ``directory``.
        directory : path-like, optional
            Where an array goes, ``stack.zarr``, and the result.

        Raises
        ------
        ParameterError, SourceError
            When the corrections do not suit the stack, or its files are wrong.
        StackError
            When an array comes without a directory.
        """
        from pystack3d_dask.project.config import make_project

        folder = _folder(stack, directory)
        origin = f"the pipeline on {folder}"
        made = make_project(self._content, folder, origin, corrections=self.corrections)
        return Pipeline.of(made)

    def to_toml(self, path: str | Path | None = None) -> str:
        """Return the parameter file that says the same, and write it if a path is given.

        What has its default value is left out. `from_toml` reads it.
        """
        from pystack3d_dask.project.toml import as_text

        text = as_text(self._content)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def __repr__(self) -> str:
        names = ", ".join(step.name for step in self.corrections) or "no corrections"
        where = f", {self._project.directory}" if self._project else ""
        return f"<Pipeline: {names}{where}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pipeline):
            return NotImplemented
        mine, its = ((each._content, each.corrections, each._project) for each in (self, other))
        return mine == its

    __hash__ = None  # type: ignore[assignment]

    def _repr_html_(self) -> str:
        from pystack3d_dask.project.card import pipeline_card

        return pipeline_card(self.project, self.plan())

    def plan(self) -> Plan:
        """Return the passes that are left to do; reads records, never a pixel."""
        from pystack3d_dask.project.known import plan_project

        return plan_project(self.project)

    def run(
        self,
        stack: str | Path | xr.DataArray | None = None,
        *,
        client: Client | None = None,
        on_block: OnBlock | None = None,
        directory: str | Path | None = None,
        restart: bool = False,
    ) -> RunSummary:
        """Correct the stack, continuing where an earlier run stopped.

        Parameters
        ----------
        stack, directory : optional
            As for `on`, where the pipeline is not one of a project.
        client : distributed.Client, optional
            Where to compute; in this process without one.
        on_block : callable, optional
            Called after each finished block.
        restart : bool
            Remove results and records first, and begin anew.

        Raises
        ------
        LockedError
            When another run, here or on another host, works on the project.
        RunError
            When blocks failed; the others stay valid, and the next run continues.
        """
        from pystack3d_dask.engine.run import run

        project = self.project if stack is None else self.on(stack, directory).project
        return run(project, client=client, on_block=on_block, restart=restart)

    def fit(
        self, client: Client | None = None, on_block: OnBlock | None = None
    ) -> dict[str, list[Arrays]]:
        """Run the passes that the stack-wide fits need and return the fits.

        Returns
        -------
        dict
            By step name, one set of arrays per channel.
        """
        from pystack3d_dask.engine.run import fit

        return fit(self.project, client=client, on_block=on_block)

    def preview(
        self, *, z: int | None = None, area: Area | None = None, step: str | None = None
    ) -> Preview:
        """Take one slice through the chain, as if the whole had run.

        Fits are those that runs have found. One that is not known is estimated from some
        slices (`Step.estimate_slices`: every n-th, 24 at most, those shown, and where the
        correction looks at neighbors, these), and named in the result. Registration then
        knows the motion around the slice only: what is cropped away is less than in a run.

        Parameters
        ----------
        z : int, optional
            Index of the slice in what the chosen step leaves; the middle one by default.
        area : tuple of int, optional
            ``[xmin, xmax, ymin, ymax]`` in pixels of that, origin bottom left.
        step : str, optional
            The last step; all of them by default.

        Returns
        -------
        Preview
            The slice before and after; ``plot`` and ``save`` draw it.

        Raises
        ------
        ParameterError
            When there is no such slice, area or step.
        """
        from pystack3d_dask.preview.preview import preview

        return preview(self.project, z=z, area=area, step=step)

    def report(self, files: str | Path | None = None) -> Path:
        """Write ``process/report.html``: what runs have found out and done, also interrupted ones.

        Takes what runs have recorded, and reads of the stack only what is drawn.

        Parameters
        ----------
        files : path-like, optional
            A directory for every chart as PNG, and its numbers as CSV.

        Returns
        -------
        Path
            The page.

        Raises
        ------
        StackError
            When no run has left anything yet.
        """
        from pystack3d_dask.report import write_report

        return write_report(self.project, None if files is None else Path(files))

    def preview_widget(
        self, *, z: int | None = None, area: Area | None = None, step: str | None = None
    ) -> PreviewWidget[Pipeline]:
        """Return a view for notebooks: previews with controls for z and the parameters of a step.

        Parameters
        ----------
        z, area : optional
            As for `preview`; z is where the slider starts.
        step : str, optional
            The step whose parameters can be changed, and whose output is shown; the last one
            by default.

        Returns
        -------
        PreviewWidget
            Its ``pipeline`` is the one with the parameters that are set.

        Raises
        ------
        ParameterError
            When there is no such slice, area or step.
        """
        from pystack3d_dask.preview.widget import PreviewWidget

        return PreviewWidget(self.project, Pipeline.of, z=z, area=area, step=step)

    def sweep(
        self,
        grid: Mapping[str, Sequence[Any]],
        *,
        z: Sequence[int] | None = None,
        area: Area | None = None,
        step: str | None = None,
    ) -> Sweep:
        """Take slices through the chain under many parameters, to choose between them.

        What comes before the first step that changes is computed once. Fits that the changes
        touch are estimated in all cells, as for `preview`, so that cells can be compared.

        Parameters
        ----------
        grid : mapping
            Values by path, such as ``{"destriping.filters[0].noise_level": [10, 30, 100]}``;
            all combinations are tried.
        z : sequence of int, optional
            Slices of what the last step leaves; the middle one by default.
        area : tuple of int, optional
            ``[xmin, xmax, ymin, ymax]`` in pixels of that, origin bottom left: the part that
            is shown and judged.
        step : str, optional
            The last step; all of them by default.

        Returns
        -------
        Sweep
            Images, and figures of each (`pystack3d_dask.preview.quality`); ``plot`` draws them.

        Raises
        ------
        ParameterError
            When a path leads nowhere, a value is wrong, or there is no such slice, area or
            step.
        """
        from pystack3d_dask.preview.sweep import sweep

        return sweep(self.project, grid, z=z, area=area, step=step)

    def with_parameters(self, changes: Mapping[str, Any]) -> Pipeline:
        """Return the pipeline with other parameters, to look at or to run.

        Parameters
        ----------
        changes : mapping
            New values by path, such as ``{"destriping.filters[0].noise_level": 30}``. The
            parameter file stays as it is.

        Raises
        ------
        ParameterError
            With every path that leads nowhere and every value that is wrong.
        """
        from pystack3d_dask.project.parameters import with_parameters

        return Pipeline.of(with_parameters(self.project, changes))

    def lazy(self) -> xr.DataArray:
        """Return the corrected stack as a lazy array, dims (c, z, y, x), in the source's type.

        Raises
        ------
        FitRequiredError
            When a stack-wide fit is not known yet; `fit` finds it.
        """
        from pystack3d_dask.lazy.arrays import lazy_result

        return lazy_result(self.project)

    def export_tiff(
        self,
        directory: str | Path,
        *,
        step: str | None = None,
        removed: str | None = None,
        overwrite: bool = False,
        on_slice: OnSlice | None = None,
    ) -> list[Path]:
        """Write the result, or what a step left or took away, as a TIFF file per slice.

        Parameters, result and errors are those of `pystack3d_dask.export.export.export_tiff`.
        """
        from pystack3d_dask.export.export import export_tiff

        return export_tiff(
            self.project,
            directory,
            step=step,
            removed=removed,
            overwrite=overwrite,
            on_slice=on_slice,
        )

    def export_bigtiff(
        self,
        path: str | Path,
        *,
        step: str | None = None,
        removed: str | None = None,
        overwrite: bool = False,
        on_slice: OnSlice | None = None,
    ) -> list[Path]:
        """Write the result, or what a step left or took away, as a BigTIFF per channel.

        Parameters, result and errors are those of `pystack3d_dask.export.export.export_bigtiff`.
        """
        from pystack3d_dask.export.export import export_bigtiff

        return export_bigtiff(
            self.project,
            path,
            step=step,
            removed=removed,
            overwrite=overwrite,
            on_slice=on_slice,
        )

    def export_ome_zarr04(
        self, path: str | Path, *, overwrite: bool = False, on_slice: OnSlice | None = None
    ) -> Path:
        """Write the result as OME-Zarr 0.4.

        Parameters, result and errors are those of `pystack3d_dask.export.export.export_ome_zarr04`.
        """
        from pystack3d_dask.export.export import export_ome_zarr04

        return export_ome_zarr04(self.project, path, overwrite=overwrite, on_slice=on_slice)

    def export_reference_layout(
        self, *, overwrite: bool = False, on_slice: OnSlice | None = None
    ) -> list[Path]:
        """Write what PyStack3D's scripts read into ``process``.

        Parameters, result and errors are those of
        `pystack3d_dask.export.reference_layout.export_reference_layout`.
        """
        from pystack3d_dask.export.reference_layout import export_reference_layout

        return export_reference_layout(self.project, overwrite=overwrite, on_slice=on_slice)

    def is_done(self) -> bool:
        """Return whether `run` would change nothing."""
        from pystack3d_dask.engine.run import is_done

        return is_done(self.project)

    def verify(self, on_file: OnFile | None = None) -> Verification:
        """Compare the result, and what is kept between passes, with the records.

        Parameters, result and errors are those of `pystack3d_dask.engine.verify.verify`: what is
        damaged is computed again by the next run.
        """
        from pystack3d_dask.engine.verify import verify

        return verify(self.project, on_file)

    def clean(self) -> dict[str, int]:
        """Free the ingested stack and what is stored between passes; the result stays.

        Returns
        -------
        dict of str to int
            Bytes that were freed, by the step that had left them (``source``: ingested).
        """
        from pystack3d_dask.project.lock import locked

        if not self.project.workspace.process.exists():
            return {}
        with locked(self.project.workspace.process):
            return self.project.workspace.free_levels()


def _folder(stack: str | Path | xr.DataArray, directory: str | Path | None) -> Path:
    """Return the directory of a stack; an array is written there first."""
    if isinstance(stack, str | Path):
        if directory is not None:
            message = f"a directory is for arrays; the result goes to {stack}"
            raise StackError(message)
        if not Path(stack).is_dir():
            message = f"{stack}: a directory with slices expected, there is none"
            raise SourceError(message)
        return Path(stack)
    if directory is None:
        message = "an array needs a directory for the result: directory=..."
        raise StackError(message)
    from pystack3d_dask.lazy.store import store_stack

    return store_stack(stack, Path(directory))
