"""Executes the plan: pass after pass, block after block, until the result is there.

There is no state but what is on disk. Before each pass the plan is made again from the
fits and levels that are known; a run that was interrupted, or whose last steps changed,
thus continues by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pystack3d_dask.core.chain import Chain, Work
from pystack3d_dask.core.formatting import listed_below
from pystack3d_dask.core.gpu_policy import GpuUse
from pystack3d_dask.core.plan import Pass, Plan
from pystack3d_dask.core.planner import fit_rounds
from pystack3d_dask.core.provenance import provenance
from pystack3d_dask.core.spec import shown_names
from pystack3d_dask.core.stack_fit import finished, stack_fit
from pystack3d_dask.core.typing import Arrays
from pystack3d_dask.engine.executors import InProcess, OnClient, Runner
from pystack3d_dask.engine.glimpses import products_by_run
from pystack3d_dask.engine.repair import DamagedLevelsError, Repairs
from pystack3d_dask.engine.room import check_disk, check_memory
from pystack3d_dask.engine.summary import (
    PassSummary,
    RunSummary,
    bad_content,
    bad_slices,
    is_summarized,
    load_figures,
    remarks,
    save_figures,
    write_summary,
)
from pystack3d_dask.engine.task import Program, Receipt, level_dtype, result_dtype
from pystack3d_dask.engine.versions import check_versions
from pystack3d_dask.engine.workers import worker_info
from pystack3d_dask.errors import DamageError, PixelError, RunError, StackError, explain
from pystack3d_dask.io.ome.image import create_result, finish_result, is_intact
from pystack3d_dask.io.work import create_level, remove_store, update_attrs
from pystack3d_dask.project.changes import remember_slices
from pystack3d_dask.project.known import FitsByChannel, known_work, plan_project
from pystack3d_dask.project.lock import is_locked, locked
from pystack3d_dask.project.manifest import Role, StoreManifest
from pystack3d_dask.project.project import KEEP_ALL, Project, handed_out
from pystack3d_dask.project.record import (
    BlockRecord,
    DamagedRecordError,
    StoredSummaries,
    Workspace,
)

if TYPE_CHECKING:
    from distributed import Client

SHOWN_FAILURES = 5
CONTINUES = (
    "The other blocks are finished and stay valid; the same command continues with these.\n"
    "If slices are replaced meanwhile, all that was computed from the old ones is computed again."
)
DOES_WITHOUT = (
    'A run does without slices that cannot be read with bad_slices = "interpolate", "keep" or '
    '"drop" among the parameters.'
)


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
    slices_done, slices_in_pass : int
        Those of the finished blocks, and of all, each channel's counted.
    receipt : Receipt, optional
        None for blocks that an earlier run had finished.
    """

    number: int
    count: int
    label: str
    done: int
    blocks: int
    slices: int
    slices_done: int
    slices_in_pass: int
    receipt: Receipt | None


OnBlock = Callable[[BlockDone], None]


def run(
    project: Project,
    client: Client | None = None,
    on_block: OnBlock | None = None,
    restart: bool = False,
) -> RunSummary:
    """Correct a project's stack; see `Pipeline.run`.

    Raises
    ------
    LockedError
        When another run works on the project.
    RunError
        When blocks failed. The others of their pass are finished and stay valid.
    """
    with locked(project.workspace.process):
        if restart:
            project.workspace.clear()
        return _run(project, client, on_block)


def is_done(project: Project) -> bool:
    """Return whether a run would change nothing: the result is there, and all is cleared up."""
    workspace = project.workspace
    stores = workspace.stores()
    levels = [store for store in stores if store.path != workspace.result]
    return (
        not plan_project(project).passes
        and is_summarized(project)
        and not any(store.manifest and store.manifest.damaged for store in stores)
        and all(store.manifest and store.manifest.role in project.keep for store in levels)
        and not is_locked(workspace.process)
        and not any(workspace.process.glob("*.partial"))
    )


def _run(project: Project, client: Client | None, on_block: OnBlock | None) -> RunSummary:
    started = time.perf_counter()
    workspace = project.workspace
    passes = _run_passes(project, client, on_block, lambda plan: bool(plan.passes))
    summary = RunSummary(
        result=workspace.result,
        seconds=time.perf_counter() - started,
        passes=tuple(passes),
        bad_slices=tuple(bad_slices(project)),
        bad_content=tuple(bad_content(project)),
        remarks=tuple(remarks(project)),
        notes=tuple(map(str, project.notes)),
    )
    if passes or not is_summarized(project):
        write_summary(project, summary)
    if not _is_kept(project):
        workspace.free_levels(project.keep)
    return summary


def fit(
    project: Project, client: Client | None = None, on_block: OnBlock | None = None
) -> FitsByChannel:
    """Run the passes that fits need; see `Pipeline.fit`."""
    names = {step.name for step in project.steps if step.fit_scope == "stack"}

    def is_missing(plan: Plan) -> bool:
        return bool(plan.passes) and not names <= set(plan.chains[0].fits)

    with locked(project.workspace.process):
        _run_passes(project, client, on_block, is_missing)
    return known_work(project)[0]


def _run_passes(
    project: Project,
    client: Client | None,
    on_block: OnBlock | None,
    is_wanted: Callable[[Plan], bool],
) -> list[PassSummary]:
    runner = _runner(client, project.gpu_use)
    workspace = project.workspace
    workspace.create()
    workspace.remove_stale(project.tokens)
    workspace.remove_partials()
    remember_slices(project)
    if project.scan is not None:
        project.scan.save(workspace.scan)
    summaries: list[PassSummary] = []
    repairs = Repairs(project, runner)
    repairs.mend_marked()
    while is_wanted(plan := plan_project(project)):
        if not summaries:
            check_disk(project, plan)
        if client is not None:
            check_memory(plan, worker_info(client))
        count = len(summaries) + len(plan.passes)
        part = _PassRun(project, plan, len(summaries) + 1, count)
        try:
            summaries.append(part.execute(runner, on_block))
            repairs.count(part.token)  # a pass that is done is not planned again
        except DamagedLevelsError as damaged:
            repairs.mend(damaged)
        except DamagedRecordError as damaged:
            repairs.count(damaged.path)
    workspace.remove_partials()  # of workers that died in this run
    return summaries


def _runner(client: Client | None, gpu_use: GpuUse) -> Runner:
    if client is None:
        return InProcess()
    check_versions(client)
    runner = OnClient(client, gpu_use)
    runner.tell_missing_gpus()
    return runner


class _PassRun:
    """The first pass of a plan, being executed."""

    def __init__(self, project: Project, plan: Plan, number: int, count: int) -> None:
        self.project, self.plan = project, plan
        self.number, self.count = number, count
        self._slices_done = 0
        self.item: Pass = plan.passes[0]
        self.work: Work = self.item.work
        self.workspace: Workspace = project.workspace
        self.token = project.tokens.work(self.work, self.item.slab)
        self.program = Program(
            source=project.source,
            chains=plan.chains,
            partials=self._partials(),
            work=self.work,
            blocks=self.item.blocks,
            workspace=self.workspace,
            token=self.token,
        )
        self.label = self.program.label

    def execute(self, runner: Runner, on_block: OnBlock | None) -> PassSummary:
        """Run the blocks that are not done, then finish fits, figures and levels."""
        started = time.perf_counter()
        self._prepare()
        blocks = [
            (channel, number)
            for number in range(len(self.item.blocks))
            for channel in self.item.channels
        ]
        finished = self.workspace.finished(self.token)
        pending = [block for block in blocks if block not in finished]
        for done, block in enumerate(sorted(set(blocks) & finished), start=1):
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
        failures: list[str] = []  # in words: the errors hold on to the arrays of their blocks
        is_unreadable = False
        damaged: list[DamageError] = []
        for block, outcome in runner.run(self.program, pending):
            if isinstance(outcome, Receipt):
                receipts.append(outcome)
                self._tell(on_block, total - len(pending) + len(receipts), block, outcome)
            elif isinstance(outcome, DamageError):
                damaged.append(outcome)
            else:
                failures.append(f"{self._block_name(block)}: {_reason(outcome)}")
                is_unreadable |= isinstance(outcome, PixelError)
        if failures:
            advice = DOES_WITHOUT if is_unreadable and self._is_strict else ""
            raise RunError(_failure_message(failures, total, self.label, advice))
        if damaged:
            raise DamagedLevelsError(damaged)
        return receipts

    def _prepare(self) -> None:
        self.workspace.records(self.token).mkdir(parents=True, exist_ok=True)
        for level in self.work.stores:
            if level == len(self.project.steps):
                self._prepare_result()
            else:
                self._prepare_level(level)

    def _prepare_result(self) -> None:
        result = self.workspace.result
        if self._is_mine(result) and is_intact(result):
            return
        self._forget_blocks()
        remove_store(self.workspace.result)
        create_result(
            self.workspace.result,
            channels=self.plan.channels,
            spec=self.plan.chains[0].levels[-1],
            dtype=result_dtype(self.plan.chains),
            slab=self.item.slab,
            attrs=self._manifest(len(self.project.steps), "result").attributes(),
        )

    def _prepare_level(self, level: int) -> None:
        path = self.workspace.level(self.project.steps, level)
        if self._is_mine(path):
            return
        self._forget_blocks()
        role: Role = "ingested" if self.work.from_source else "intermediates"
        create_level(
            path,
            self.plan.chains[0].levels[level],
            len(self.plan.channels),
            level_dtype(self.plan.chains, level),
            self._manifest(level, role).attributes(),
        )

    def _is_mine(self, path: Path) -> bool:
        """Return whether a store is one that this pass has begun to write."""
        manifest = StoreManifest.load(path)
        return manifest is not None and manifest.maker == self.token

    def _manifest(self, level: int, role: Role) -> StoreManifest:
        return StoreManifest(
            token=self.project.tokens.levels[level],
            maker=self.token,
            work=replace(self.work, gathers=()),
            slab=self.item.slab,
            slices=self.plan.chains[0].levels[self.work.end].shape[0],
            channels=len(self.plan.channels),
            role=role,
        )

    def _forget_blocks(self) -> None:
        for path in self.workspace.records(self.token).glob("*.json"):
            path.unlink()

    def _finish(self) -> None:
        chains = self.plan.chains
        for gather in self.work.gathers:
            chains = self._finish_fit(chains, gather.index, gather.round)
        self._save_figures()
        for level in self.work.stores:
            if level == len(self.project.steps):
                about = {
                    "provenance": provenance(self.project.steps),
                    "bad_content": list(chains[0].levels[-1].bad),
                }
                finish_result(self.workspace.result, about, self._windows())
            else:
                path = self.workspace.level(self.project.steps, level)
                update_attrs(path, {"complete": True})

    def _finish_fit(
        self, chains: tuple[Chain, ...], index: int, round_done: int
    ) -> tuple[Chain, ...]:
        """Save a fit, and return the chains that know it: it may tell others what to leave out."""
        step = stack_fit(self.project.steps[index])
        found: dict[int, Arrays] = {}
        for channel, chain in enumerate(chains):
            if step.name not in chain.borrowed:
                summaries = StoredSummaries(self._records(channel), step.name)
                partial = self.program.partials[channel].get(step.name)
                found[channel] = finished(step, summaries, chain.levels[index], partial)
        fits = handed_out(found, len(self.plan.channels))
        rounds = fit_rounds(self.plan.chains, index)
        self.workspace.save_fit(
            step.name,
            fits,
            self.project.tokens.fit(index),
            rounds_done=round_done + 1,
            is_final=round_done + 1 == rounds,
        )
        if round_done + 1 < rounds:
            return chains
        return tuple(c.with_fits({step.name: f}) for c, f in zip(chains, fits, strict=True))

    def _save_figures(self) -> None:
        if not self.work.stores:
            return
        count = len(self.plan.channels)
        by_level: dict[int, list[dict[int, Arrays]]] = {}
        for channel in range(count):
            for record in self._records(channel):
                for level, by_slice in record.figures().items():
                    found = by_level.setdefault(level, [{} for _ in range(count)])
                    found[channel].update(by_slice)
        for level, channels in sorted(by_level.items()):
            slices = self.plan.chains[0].levels[level].shape[0]
            # blocks of the last pass may have begun at different levels: those of an earlier
            # run knew what all of them knew
            if min(map(len, channels)) == slices or not load_figures(self.project, level):
                self._add_products(level, channels, slices)
                save_figures(self.project, level, channels, slices)

    def _add_products(self, level: int, channels: Sequence[dict[int, Arrays]], slices: int) -> None:
        """Add to the figures of a level what glimpses tell of the step that made it."""
        steps = self.project.steps[:level]
        is_judged = level and steps[-1].takes_what_is_new
        # slices that were made of several have these in common, stripes included
        if not is_judged or not all(step.keeps_slices for step in steps):
            return
        for channel, (by_slice, chain) in enumerate(zip(channels, self.plan.chains, strict=True)):
            seen: dict[int, Arrays] = {}
            for record in self._records(channel):
                seen |= record.glimpses(level)
            lost = {z for z in seen if self.project.source.loss(channel, z) is not None}
            left_out = lost.union(chain.levels[level - 1].bad)
            for z, found in products_by_run(seen, slices, left_out).items():
                by_slice[z] = {**by_slice[z], **found}

    def _windows(self) -> list[tuple[float, float]]:
        """Return what viewers show as black and white: the range of the slices' values."""
        statistics = load_figures(self.project, len(self.project.steps))["cast"]
        return [(float(each[:, 0].min()), float(each[:, 1].max())) for each in statistics]

    def _partials(self) -> tuple[dict[str, Arrays], ...]:
        partials: tuple[dict[str, Arrays], ...] = tuple({} for _ in self.plan.channels)
        for gather in self.work.gathers:
            step = self.project.steps[gather.index]
            saved = self.workspace.load_fit(step.name, self.project.tokens.fit(gather.index))
            if gather.round and saved is not None:
                for partial, arrays in zip(partials, saved[0], strict=True):
                    partial[step.name] = arrays
        return partials

    def _records(self, channel: int) -> list[BlockRecord]:
        return [self.program.record(channel, k) for k in range(len(self.item.blocks))]

    @property
    def _is_strict(self) -> bool:
        """Whether nothing stands in for slices that cannot be read."""
        parameters = self.project.parameters or {}
        return (parameters.get("bad_slices") or "fail") == "fail"  # "" is taken as not set

    def _block_name(self, block: tuple[int, int]) -> str:
        slices = self.item.blocks[block[1]]
        first, last = slices.start, slices.stop - 1
        where = f"slice {first}" if first == last else f"slices {first} to {last}"
        names = shown_names(self.plan.channels, self.plan.chains[0].source)
        return f"channel {names[block[0]]}, {where}"

    def _tell(
        self, on_block: OnBlock | None, done: int, block: tuple[int, int], receipt: Receipt | None
    ) -> None:
        slices = len(self.item.blocks[block[1]])
        self._slices_done += slices
        if on_block is not None:
            on_block(
                BlockDone(
                    number=self.number,
                    count=self.count,
                    label=self.label,
                    done=done,
                    blocks=self.item.tasks,
                    slices=slices,
                    slices_done=self._slices_done,
                    slices_in_pass=sum(map(len, self.item.blocks)) * len(self.item.channels),
                    receipt=receipt,
                )
            )


def _reason(error: BaseException) -> str:
    if isinstance(error, StackError):
        return str(error)
    return explain(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _failure_message(failures: Sequence[str], total: int, label: str, advice: str) -> str:
    lines = [f"{len(failures)} of {total} blocks failed in the pass '{label}':"]
    lines += [f"  {line}" for line in listed_below(failures, SHOWN_FAILURES)]
    if len(failures) < total:
        lines.append(CONTINUES)
    return "\n".join([*lines, advice] if advice else lines)


def _is_kept(project: Project) -> bool:
    return set(project.keep) == set(KEEP_ALL)
