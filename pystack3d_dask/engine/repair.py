"""Makes anew what was damaged on disk: the blocks that own it, and nothing else.

A store remembers the pass that made it, and which of its blocks `verify` found damaged. When
pixels between passes are damaged, the blocks that wrote these are run again as then, with the
fits that are known by now. Where that is not possible, because what they were made from is
gone, the level is given up, and the plan is made without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pystack3d_dask.core.chain import Work, slabs
from pystack3d_dask.engine.executors import Block, Runner
from pystack3d_dask.engine.task import Program, Receipt
from pystack3d_dask.errors import DamageError, RunError, StackError
from pystack3d_dask.io.ome.image import reopen_result
from pystack3d_dask.io.work import attributes, remove_store, update_attrs
from pystack3d_dask.project.known import known_work
from pystack3d_dask.project.project import Project
from pystack3d_dask.project.record import BlockRecord, Store, Workspace

ATTEMPTS = 3  # at one file; a disk that damages it again and again is not to be worked with


class DamagedLevelsError(StackError):
    """Pixels between passes, needed by blocks of the present one, are damaged."""

    def __init__(self, damages: Sequence[DamageError]) -> None:
        self.damages = tuple(damages)
        super().__init__(self.damages)

    def __str__(self) -> str:
        return "\n".join(str(each) for each in self.damages)


def origin(token: str, work: Work, slab: int, slices: int, channels: int) -> dict[str, Any]:
    """Return what a store says about the pass that makes it.

    Parameters
    ----------
    token : str
        That of the pass: where its records are.
    work : Work
        The pass.
    slab : int
        Slices per block.
    slices, channels : int
        Slices of the last level of the pass, and channels.
    """
    values = {name: value for name, value in asdict(work).items() if name != "gathers"}
    return {"pass": token, "work": values, "slab": slab, "slices": slices, "channels": channels}


def makers(workspace: Workspace, store: Store) -> list[BlockRecord]:
    """Return the records of the blocks that made a store, also those that are not there."""
    attrs = store.attrs
    if not {"pass", "slices", "slab", "channels"} <= attrs.keys():
        return []
    directory = workspace.records(attrs["pass"])
    count = len(slabs(attrs["slices"], attrs["slab"]))
    return [
        BlockRecord(directory, channel, number)
        for channel in range(attrs["channels"])
        for number in range(count)
    ]


def mark_damaged(workspace: Workspace, store: Store, blocks: Iterable[Block]) -> None:
    """Note in a store which of its blocks the next run must make again."""
    known = {tuple(each) for each in store.attrs.get("damaged", ())}
    damaged = {"damaged": sorted(known | set(blocks))}
    if store.path == workspace.result:
        reopen_result(store.path, damaged)
    else:
        update_attrs(store.path, damaged)


class Repairs:
    """What is damaged, and mended, in the course of a run.

    Parameters
    ----------
    project : Project
        The project.
    runner : Runner
        Runs the blocks.
    """

    def __init__(self, project: Project, runner: Runner) -> None:
        self._project, self._runner = project, runner
        self._attempts: dict[str, int] = {}

    def mend_marked(self) -> None:
        """Mend, or forget to be done, what `mark_damaged` has noted."""
        workspace = self._project.workspace
        for store in workspace.stores():
            blocks = [(channel, number) for channel, number in store.attrs.get("damaged", ())]
            if not blocks:
                continue
            if store.path == workspace.result or not store.attrs["complete"]:
                self._forget(store, blocks)
            else:
                self._mend_level(store.path, blocks)
            if store.path == workspace.result:
                reopen_result(store.path, {"damaged": []})
            elif store.path.exists():
                update_attrs(store.path, {"damaged": []})

    def mend(self, damaged: DamagedLevelsError) -> None:
        """Run the blocks that wrote what is damaged.

        Raises
        ------
        RunError
            When blocks fail, or a file is damaged again and again.
        """
        by_level: dict[Path, list[Path]] = {}
        for path in {Path(each.path) for each in damaged.damages}:
            self.count(str(path))
            by_level.setdefault(path.parent, []).append(path)
        for level, paths in sorted(by_level.items()):
            self._mend_level(level, self._owners(level, paths))

    def _forget(self, store: Store, blocks: Iterable[Block]) -> None:
        """Let the pass that makes a store, and is still to be finished, do blocks again."""
        directory = self._project.workspace.records(store.attrs["pass"])
        for block in blocks:
            BlockRecord(directory, *block).remove()

    def count(self, name: str) -> None:
        """Count how often a file, or a pass, was made in this run.

        Raises
        ------
        RunError
            When it is the same again and again.
        """
        self._attempts[name] = self._attempts.get(name, 0) + 1
        if self._attempts[name] > ATTEMPTS:
            message = (
                f"{name}: damaged again after it was written {ATTEMPTS} times: the disk does not "
                "keep what it is given; move the project to another one (project_dir)"
            )
            raise RunError(message)

    def _owners(self, level: Path, paths: Iterable[Path]) -> list[Block]:
        """Return the blocks that wrote chunks of a level, or none if it does not tell."""
        attrs = attributes(level)
        if "work" not in attrs:
            return []
        program = self._program(attrs)
        index = self._index(level)
        found = set()
        for path in paths:
            channel, z = (int(part) for part in path.name.split(".")[1:3])
            chain = program.chains[channel]
            found |= {
                (channel, number)
                for number, block in enumerate(program.blocks)
                if z in chain.owned(block, program.work.end, index)
            }
        return sorted(found)

    def _index(self, level: Path) -> int:
        workspace, steps = self._project.workspace, self._project.steps
        return next(k for k in range(len(steps)) if workspace.level(steps, k) == level)

    def _mend_level(self, level: Path, blocks: Sequence[Block]) -> None:
        if not blocks or not self._can_make(attributes(level)):
            remove_store(level)
            return
        program = self._program(attributes(level))
        damages: list[DamageError] = []
        again: list[Block] = []
        for block, outcome in self._runner.run(program, blocks):
            if isinstance(outcome, DamageError):
                damages.append(outcome)
                again.append(block)
            elif not isinstance(outcome, Receipt):
                message = f"what was damaged in {level} could not be made again: {outcome}"
                raise RunError(message) from outcome
        if damages:
            self.mend(DamagedLevelsError(damages))
            self._mend_level(level, again)

    def _can_make(self, attrs: dict[str, Any]) -> bool:
        """Return whether what the pass of a level has read, and its fits, are still there."""
        if "work" not in attrs:
            return False
        work, (fits, known) = attrs["work"], known_work(self._project)
        steps = self._project.steps[work["reads"] : work["end"]]
        needed = {name for step in steps for name in step.needs}
        return needed <= fits.keys() and (work["from_source"] or work["reads"] in known.stored)

    def _program(self, attrs: dict[str, Any]) -> Program:
        """Return the pass that made a level, without the fits that it gathered."""
        chains = self._project.chains(known_work(self._project)[0])
        work = Work(**{**attrs["work"], "stores": tuple(attrs["work"]["stores"])})
        return Program(
            source=self._project.source,
            chains=chains,
            partials=tuple({} for _ in chains),
            work=work,
            blocks=slabs(attrs["slices"], attrs["slab"]),
            workspace=self._project.workspace,
            token=attrs["pass"],
        )
