"""Executes the plan: pass after pass, block after block, until the result is there.

There is no state but what is on disk. Before each pass the plan is made again from the
fits and levels that are known; a run that was interrupted, or whose last steps changed,
thus continues by itself.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from pystack3d_dask.chain import Chain, Work
from pystack3d_dask.errors import RunError
from pystack3d_dask.io.ome import create_result, finish_result, is_complete, result_token
from pystack3d_dask.io.work import create_level, level_attrs, remove_level, update_attrs
from pystack3d_dask.pipeline import KEEP_ALL, Pipeline
from pystack3d_dask.plan import Known, Pass, Plan
from pystack3d_dask.record import BlockRecord, StoredSummaries, Workspace, store_arrays
from pystack3d_dask.runners import InProcess, OnClient, Runner
from pystack3d_dask.spec import Array, Arrays
from pystack3d_dask.task import Program, Receipt, level_dtype, result_dtype

if TYPE_CHECKING:
    from distributed import Client

FitsByChannel = dict[str, list[Arrays]]
SHOWN_FAILURES = 5
VERSIONED = ("pystack3d-dask", "dask", "distributed", "numba", "numpy", "scipy", "zarr")


@dataclass(frozen=True, kw_only=True)
class BlockDone:
    """An event: a block is finished, or was found finished.

    Parameters
    ----------
    number, count : int
        The pass, from 1, and how many passes are left in all.
    label : str
        What the pass does.
    done, blocks : int
        Finished blocks of the pass, and how many there are.
    slices : int
        Slices of the block.
    receipt : Receipt, optional
        None for blocks that an earlier run had finished.
    """

    number: int
    count: int
    label: str
    done: int
    blocks: int
    slices: int
    receipt: Receipt | None


OnBlock = Callable[[BlockDone], None]


@dataclass(frozen=True, kw_only=True)
class PassSummary:
    """What a pass took."""

    label: str
    tasks: int
    resumed: int
    seconds: float
    bytes_read: int
    bytes_written: int
    peak_memory: int


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run did.

    Parameters
    ----------
    result : Path
        The result, an OME-Zarr image.
    seconds : float
        Time in all.
    passes : tuple of PassSummary
        Empty when the result was there already.
    """

    result: Path
    seconds: float
    passes: tuple[PassSummary, ...]


def run(
    pipeline: Pipeline, client: Client | None = None, on_block: OnBlock | None = None
) -> RunSummary:
    """Correct a project's stack; see `Pipeline.run`.

    Raises
    ------
    RunError
        When blocks failed. The others of their pass are finished and stay valid.
    """
    started = time.perf_counter()
    workspace = pipeline.workspace
    passes = _run_passes(pipeline, client, on_block, lambda plan: bool(plan.passes))
    if not _is_kept(pipeline):
        _free(pipeline)
    summary = RunSummary(
        result=workspace.result, seconds=time.perf_counter() - started, passes=tuple(passes)
    )
    if passes:
        _write_summary(pipeline, summary)
    return summary


def fit(
    pipeline: Pipeline, client: Client | None = None, on_block: OnBlock | None = None
) -> FitsByChannel:
    """Run the passes that fits need; see `Pipeline.fit`."""
    names = {step.name for step in pipeline.steps if step.fit_scope == "stack"}

    def is_missing(plan: Plan) -> bool:
        return not names <= set(plan.chains[0].fits)

    _run_passes(pipeline, client, on_block, is_missing)
    return known_work(pipeline)[0]


def known_work(pipeline: Pipeline) -> tuple[FitsByChannel, Known]:
    """Return the complete fits on disk, and all that need not be done again."""
    workspace, tokens = pipeline.workspace, pipeline.tokens
    fits, rounds = _load_fits(pipeline)
    stored = {
        level
        for level in range(len(pipeline.steps))
        if _is_stored(workspace.level(pipeline.steps, level), tokens.levels[level])
    }
    if is_complete(workspace.result, tokens.levels[-1]):
        stored.add(len(pipeline.steps))
    known = Known(stored=frozenset(stored), fits=frozenset(fits), rounds=rounds)
    return fits, known


def _load_fits(pipeline: Pipeline) -> tuple[FitsByChannel, dict[str, int]]:
    fits: FitsByChannel = {}
    rounds: dict[str, int] = {}
    for index, step in enumerate(pipeline.steps):
        saved = pipeline.workspace.load_fit(step.name, pipeline.tokens.fit(index))
        if saved is not None:
            arrays, rounds[step.name], is_final = saved
            if is_final:
                fits[step.name] = arrays
    return fits, rounds


def _is_stored(path: Path, token: str) -> bool:
    attrs = level_attrs(path)
    return attrs.get("token") == token and bool(attrs.get("complete"))


def _run_passes(
    pipeline: Pipeline,
    client: Client | None,
    on_block: OnBlock | None,
    is_wanted: Callable[[Plan], bool],
) -> list[PassSummary]:
    runner: Runner = InProcess() if client is None else OnClient(client)
    workspace = pipeline.workspace
    workspace.create()
    workspace.remove_stale(pipeline.tokens)
    summaries: list[PassSummary] = []
    while is_wanted(plan := pipeline.plan()):
        count = len(summaries) + len(plan.passes)
        summaries.append(
            _PassRun(pipeline, plan, len(summaries) + 1, count).execute(runner, on_block)
        )
    return summaries


class _PassRun:
    """The first pass of a plan, being executed."""

    def __init__(self, pipeline: Pipeline, plan: Plan, number: int, count: int) -> None:
        self.pipeline, self.plan = pipeline, plan
        self.number, self.count = number, count
        self.item: Pass = plan.passes[0]
        self.work: Work = self.item.work
        self.workspace: Workspace = pipeline.workspace
        self.token = pipeline.tokens.work(self.work, self.item.slab)
        self.label = pass_label(plan, self.work)
        self.program = Program(
            source=pipeline.source,
            chains=plan.chains,
            partials=self._partials(),
            work=self.work,
            blocks=self.item.blocks,
            workspace=self.workspace,
            token=self.token,
        )

    def execute(self, runner: Runner, on_block: OnBlock | None) -> PassSummary:
        """Run the blocks that are not done, then finish fits, figures and levels."""
        started = time.perf_counter()
        self._prepare()
        blocks = [
            (channel, number)
            for number in range(len(self.item.blocks))
            for channel in range(len(self.plan.channels))
        ]
        pending = [block for block in blocks if not self.program.record(*block).path.exists()]
        for done, block in enumerate(sorted(set(blocks) - set(pending)), start=1):
            self._tell(on_block, done, block, None)
        receipts = self._run(runner, pending, len(blocks), on_block)
        self._finish()
        return PassSummary(
            label=self.label,
            tasks=len(receipts),
            resumed=len(blocks) - len(pending),
            seconds=time.perf_counter() - started,
            bytes_read=sum(receipt.bytes_read for receipt in receipts),
            bytes_written=sum(receipt.bytes_written for receipt in receipts),
            peak_memory=max((receipt.peak_memory for receipt in receipts), default=0),
        )

    def _run(
        self,
        runner: Runner,
        pending: Sequence[tuple[int, int]],
        total: int,
        on_block: OnBlock | None,
    ) -> list[Receipt]:
        receipts: list[Receipt] = []
        failures: list[str] = []
        for block, outcome in runner.run(self.program, pending):
            if isinstance(outcome, Receipt):
                receipts.append(outcome)
                self._tell(on_block, total - len(pending) + len(receipts), block, outcome)
            else:
                failures.append(f"{self._block_name(block)}: {_reason(outcome)}")
        if failures:
            raise RunError(_failure_message(failures, total, self.label))
        return receipts

    def _prepare(self) -> None:
        self.workspace.records(self.token).mkdir(parents=True, exist_ok=True)
        for level in self.work.stores:
            if level == len(self.pipeline.steps):
                self._prepare_result()
            else:
                self._prepare_level(level)

    def _prepare_result(self) -> None:
        if result_token(self.workspace.result) == self.token:
            return
        self._forget_blocks()
        remove_level(self.workspace.result)
        create_result(
            self.workspace.result,
            channels=self.plan.channels,
            spec=self.plan.chains[0].levels[-1],
            dtype=result_dtype(self.plan.chains),
            slab=self.item.slab,
            attrs={"token": self.token},
        )

    def _prepare_level(self, level: int) -> None:
        path = self.workspace.level(self.pipeline.steps, level)
        if level_attrs(path).get("pass") == self.token:
            return
        self._forget_blocks()
        role = "ingested" if self.work.from_source else "intermediates"
        create_level(
            path,
            self.plan.chains[0].levels[level],
            len(self.plan.channels),
            level_dtype(self.plan.chains, level),
            {
                "token": self.pipeline.tokens.levels[level],
                "pass": self.token,
                "role": role,
                "complete": False,
            },
        )

    def _forget_blocks(self) -> None:
        for path in self.workspace.records(self.token).glob("*.json"):
            path.unlink()

    def _finish(self) -> None:
        for gather in self.work.gathers:
            self._finish_fit(gather.index, gather.round)
        self._save_figures()
        for level in self.work.stores:
            if level == len(self.pipeline.steps):
                token = self.pipeline.tokens.levels[-1]
                finish_result(self.workspace.result, {"token": token}, self._windows())
            else:
                path = self.workspace.level(self.pipeline.steps, level)
                update_attrs(path, {"complete": True})

    def _finish_fit(self, index: int, round_done: int) -> None:
        step = self.pipeline.steps[index]
        fits = []
        for channel, chain in enumerate(self.plan.chains):
            summaries = StoredSummaries(self._records(channel), step.name)
            partial = self.program.partials[channel].get(step.name)
            fits.append(step.finalize(summaries, chain.levels[index], partial))
        rounds = step.fit_rounds(self.plan.chains[0].levels[index])
        self.workspace.save_fit(
            step.name,
            fits,
            self.pipeline.tokens.fit(index),
            rounds_done=round_done + 1,
            is_final=round_done + 1 == rounds,
        )

    def _save_figures(self) -> None:
        if not self.work.stores:
            return
        by_level: dict[int, list[dict[int, Arrays]]] = {}
        for channel in range(len(self.plan.channels)):
            merged: dict[int, dict[int, Arrays]] = {}
            for record in self._records(channel):
                for level, by_slice in record.read()["figures"].items():
                    merged.setdefault(int(level), {}).update(
                        {int(z): values for z, values in by_slice.items()}
                    )
            for level, figures in merged.items():
                by_level.setdefault(level, []).append(figures)
        for level, channels in sorted(by_level.items()):
            name = "source" if level == 0 else self.pipeline.steps[level - 1].name
            slices = self.plan.chains[0].levels[level].shape[0]
            save_figures(self.workspace, name, channels, slices)

    def _windows(self) -> list[tuple[float, float]]:
        """Return what viewers show as black and white: the range of the slices' values."""
        group = zarr.open_group(self.workspace.work / "figures", mode="r")
        name = self.pipeline.steps[-1].name if self.pipeline.steps else "source"
        statistics: Any = group[name]
        values = np.asarray(statistics["cast"][...])
        return [(float(each[:, 0].min()), float(each[:, 1].max())) for each in values]

    def _partials(self) -> tuple[dict[str, Arrays], ...]:
        partials: tuple[dict[str, Arrays], ...] = tuple({} for _ in self.plan.channels)
        for gather in self.work.gathers:
            step = self.pipeline.steps[gather.index]
            saved = self.workspace.load_fit(step.name, self.pipeline.tokens.fit(gather.index))
            if gather.round and saved is not None:
                for partial, arrays in zip(partials, saved[0], strict=True):
                    partial[step.name] = arrays
        return partials

    def _records(self, channel: int) -> list[BlockRecord]:
        return [self.program.record(channel, k) for k in range(len(self.item.blocks))]

    def _block_name(self, block: tuple[int, int]) -> str:
        slices = self.item.blocks[block[1]]
        return f"channel {self.plan.channels[block[0]]}, slices {slices.start} to {slices.stop - 1}"

    def _tell(
        self, on_block: OnBlock | None, done: int, block: tuple[int, int], receipt: Receipt | None
    ) -> None:
        if on_block is not None:
            on_block(
                BlockDone(
                    number=self.number,
                    count=self.count,
                    label=self.label,
                    done=done,
                    blocks=len(self.item.blocks) * len(self.plan.channels),
                    slices=len(self.item.blocks[block[1]]),
                    receipt=receipt,
                )
            )


def save_figures(
    workspace: Workspace, name: str, channels: Sequence[Mapping[int, Arrays]], slices: int
) -> None:
    """Store the figures of a level as arrays of shape (channels, slices, ...).

    Slices that were not computed are NaN.
    """
    first = next(iter(channels[0].values()))
    arrays: dict[str, Array] = {}
    for key in first:
        filled = np.full((len(channels), slices, *np.shape(first[key])), np.nan)
        for channel, by_slice in enumerate(channels):
            for z, values in by_slice.items():
                filled[channel, z] = values[key]
        arrays[key] = filled
    figures = zarr.open_group(workspace.work / "figures", mode="a")
    store_arrays(figures.create_group(name, overwrite=True), arrays)


def bad_slices(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return the slices in which NaN or infinite pixels were replaced, by channel and name."""
    figures = zarr.open_group(pipeline.workspace.work / "figures", mode="r")
    if "source/bad_pixels" not in figures:
        return []
    array: Any = figures["source/bad_pixels"]
    counts = np.nan_to_num(array[...])
    return [
        {
            "channel": pipeline.source.channels[channel],
            "slice": pipeline.source.names[z],
            "bad_pixels": int(counts[channel, z]),
        }
        for channel, z in zip(*np.nonzero(counts), strict=True)
    ]


def pass_label(plan: Plan, work: Work) -> str:
    """Return a few words for progress bars: the steps applied, or what is fitted."""
    steps = plan.chains[0].steps
    words = [step.name for step in steps[work.reads : work.end]]
    words += [f"fit of {steps[gather.index].name}" for gather in work.gathers]
    return ", ".join(words) or "reading"


def _reason(error: BaseException) -> str:
    text = str(error)
    return (
        text if isinstance(error, RunError) else f"{text or 'no message'} ({type(error).__name__})"
    )


def _failure_message(failures: Sequence[str], total: int, label: str) -> str:
    shown = [f"  {failure}" for failure in failures[:SHOWN_FAILURES]]
    if len(failures) > SHOWN_FAILURES:
        shown.append(f"  ... and {len(failures) - SHOWN_FAILURES} more")
    return "\n".join(
        [
            f"{len(failures)} of {total} blocks failed in the pass '{label}':",
            *shown,
            "The other blocks are finished and stay valid; the same command continues with these.",
        ]
    )


def _is_kept(pipeline: Pipeline) -> bool:
    return set(pipeline.keep) == set(KEEP_ALL)


def _free(pipeline: Pipeline) -> None:
    for level in range(len(pipeline.steps)):
        path = pipeline.workspace.level(pipeline.steps, level)
        role = level_attrs(path).get("role")
        if role is not None and role not in pipeline.keep:
            remove_level(path)


def _write_summary(pipeline: Pipeline, summary: RunSummary) -> None:
    chain: Chain = pipeline.chains()[0]
    content = {
        "versions": {name: version(name) for name in VERSIONED}
        | {"python": platform.python_version()},
        "source": {
            "channels": list(pipeline.source.channels),
            "shape": list(chain.source.shape),
            "types": [str(spec.source_dtype) for spec in pipeline.source.specs],
            "fingerprint": pipeline.source.fingerprint,
        },
        "parameters": dict(pipeline.parameters or {}),
        "precision": pipeline.precision,
        "steps": [{"name": step.name, **step.parameters()} for step in pipeline.steps],
        "result": str(summary.result.name),
        "seconds": summary.seconds,
        "passes": [asdict(item) for item in summary.passes],
        "bad_slices": bad_slices(pipeline),
    }
    partial = pipeline.workspace.summary.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, default=str) + "\n")
    partial.replace(pipeline.workspace.summary)
