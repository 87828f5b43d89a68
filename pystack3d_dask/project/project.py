"""A source, the steps to take and how: what planner, engine and lazy face work on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.gpu_policy import GpuUse
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.stack_fit import fit_channel
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Arrays, Precision
from pystack3d_dask.errors import ParameterError, Problem, StackError
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.wrappers.scan import Scan
from pystack3d_dask.project.record import Tokens, Workspace

Keep = Literal["ingested", "intermediates"]
KEEP_ALL: tuple[Keep, ...] = ("ingested", "intermediates")


@dataclass(frozen=True, kw_only=True)
class Project:
    """Corrections of one project, checked against its slices.

    Parameters
    ----------
    source : Source
        The slices that are kept.
    steps : tuple of Step
        The corrections, in order.
    precision : {"float32", "source"}
        Whether values stay float32 between steps, or are truncated to the type of the
        acquisition after each, as PyStack3D does.
    dither : bool
        Whether noise of a gray level is added before the result is rounded to integers.
    fill : tuple of float
        Gray levels of padding, ascending; see `core.chain.padding_level`.
    directory : Path, optional
        The project; results go to ``process`` in it. Without one it can be planned
        and used lazily, not run.
    keep : tuple of {"ingested", "intermediates"}
        What stays on disk between passes after a run that was completed.
    workers : int, optional
        Default number of worker processes.
    gpu_use : {"only", "prefer", "share", "off"}
        What GPU workers do in passes with work for them: all of it (for some minutes without
        any GPU worker it is waited for one with ``"only"``, for a minute with ``"prefer"``; then
        CPU workers take over), their share of it beside CPU workers, or none on their GPU.
    voxel_size : tuple of float, optional
        The size of voxels that was given in place of what the files tell, in micrometers; the
        source has it already.
    parameters : mapping
        What the parameter file said, for the record.
    notes : tuple of Problem
        What is worth saying about the parameters, such as deprecated keys.
    scan : Scan, optional
        Which slices of the acquisition cannot be read and are left out of the source.

    Raises
    ------
    ParameterError
        When steps do not fit the stack; with everything that is wrong.
    """

    source: Source
    steps: tuple[Step, ...]
    precision: Precision = "float32"
    dither: bool = False
    fill: tuple[float, ...] = ()
    directory: Path | None = None
    keep: tuple[Keep, ...] = KEEP_ALL
    workers: int | None = None
    gpu_use: GpuUse = "prefer"
    voxel_size: tuple[float, ...] | None = None
    parameters: Mapping[str, Any] | None = None
    notes: tuple[Problem, ...] = ()
    scan: Scan | None = None

    def __post_init__(self) -> None:
        specs = [chain.source for chain in self.chains()]
        found = check_steps(self.steps, specs, self.source.channels)
        errors = [problem for problem in found if problem.severity == "error"]
        if errors:
            raise ParameterError(errors)

    @property
    def workspace(self) -> Workspace:
        """Where results and records live."""
        if self.directory is None:
            message = "it has no directory: results have nowhere to go"
            raise StackError(message)
        return Workspace(self.directory / "process")

    @property
    def tokens(self) -> Tokens:
        """Digests of what decides the values."""
        given = self.voxel_size
        if given is not None:  # the same slices lie elsewhere where others before them are gone
            given = (*given, *(self.source.specs[0].z or ())[:1])
        return Tokens(
            self.source.fingerprint, self.precision, self.steps, given, self.dither, self.fill
        )

    def chains(self, fits: Mapping[str, Sequence[Arrays]] | None = None) -> tuple[Chain, ...]:
        """Return the chain of each channel, with the fits given per step and channel."""
        fits = fits or {}
        return tuple(
            Chain(
                self.steps,
                replace(spec, precision=self.precision, dither=self.dither),
                {name: by_channel[index] for name, by_channel in fits.items()},
                borrowed_fits(self.steps, self.source.channels, index),
                self.fill,
            )
            for index, spec in enumerate(self.source.specs)
        )


def borrowed_fits(steps: Sequence[Step], channels: Sequence[str], channel: int) -> frozenset[str]:
    """Return the steps whose fit a channel takes from another one."""
    lending = {step.name: fit_channel(step) for step in steps}
    return frozenset(
        name
        for name, lent in lending.items()
        if lent is not None and (lent or channels[0]) != channels[channel]
    )


def handed_out(found: Mapping[int, Arrays], channels: int) -> list[Arrays]:
    """Return the fit of each channel: its own, else that of the one that lends."""
    lent = next(iter(found.values()))
    return [found.get(channel, lent) for channel in range(channels)]


def check_steps(
    steps: Sequence[Step],
    specs: Sequence[StackSpec],
    channels: Sequence[str] | None = None,
    unread: Collection[str] = (),
) -> list[Problem]:
    """Return what is wrong or noteworthy about steps on the channels of a stack.

    Steps behind one that leaves nothing of the stack are not looked at: what they would
    say has no meaning. Without ``channels`` their names are not checked. Nobody misses steps
    that are ``unread``: what is wrong with them has been said.
    """
    found: dict[Problem, None] = {}
    for index, step in enumerate(steps):
        if not set(step.needs) & set(unread):
            found.update(dict.fromkeys(step.check_order(steps[:index])))
        lent = fit_channel(step)
        if channels is not None and (lent or channels[0]) not in channels:
            expected = ", ".join(map(repr, channels))
            message = f"one of {expected} expected, found {lent!r}"
            found[Problem(f"{step.name}.channel", message)] = None
    for spec in specs:
        for step in steps:
            problems = list(step.check(spec))
            found.update(dict.fromkeys(problems))
            if not any(problem.severity == "error" for problem in problems):
                spec = step.output_spec(spec)
    return list(found)
