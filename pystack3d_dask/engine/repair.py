"""Makes anew what was damaged on disk: the blocks that own it, and nothing else.

A store remembers the pass that made it, and which of its blocks `verify` found damaged. When
pixels between passes are damaged, the blocks that wrote these are run again as then, with the
fits that are known by now. Where that is not possible, because what they were made from is
gone, the level is given up, and the plan is made without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pystack3d_dask.core.chain import Work, slabs
from pystack3d_dask.engine.executors import Block, Runner
from pystack3d_dask.engine.task import Program, Receipt
from pystack3d_dask.errors import DamageError, RunError, StackError
from pystack3d_dask.io.work import remove_store
from pystack3d_dask.project.known import known_work
from pystack3d_dask.project.manifest import StoreManifest
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


def makers(workspace: Workspace, store: Store) -> list[BlockRecord]:
    """Return the records of the blocks that made a store, also those that are not there."""
    if store.manifest is None:
        return []
    directory = workspace.records(store.manifest.maker)
    return [BlockRecord(directory, *block) for block in store.manifest.blocks()]


def mark_damaged(store: Store, blocks: Iterable[Block]) -> None:
    """Note in a store which of its blocks the next run must make again."""
    if store.manifest is not None:
        store.manifest.with_damaged(blocks).save(store.path)


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
        for path, manifest in workspace.stores():
            if manifest is None or not manifest.damaged:
                continue
            if not manifest.complete:
                self._forget(manifest)
            else:
                self._mend_level(path, manifest.damaged)
            if path.exists():
                replace(manifest, damaged=()).save(path)

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

    def _forget(self, manifest: StoreManifest) -> None:
        """Let the pass that makes a store, and is still to be finished, do blocks again."""
        directory = self._project.workspace.records(manifest.maker)
        for block in manifest.damaged:
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
        manifest = StoreManifest.load(level)
        if manifest is None:
            return []
        program = self._program(manifest)
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
        manifest = StoreManifest.load(level)
        if manifest is None or not blocks or not self._can_make(manifest.work):
            remove_store(level)
            return
        program = self._program(manifest)
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

    def _can_make(self, work: Work) -> bool:
        """Return whether what the pass of a level has read, and its fits, are still there."""
        fits, known = known_work(self._project)
        needed = {
            name for step in self._project.steps[work.reads : work.end] for name in step.needs
        }
        return needed <= fits.keys() and (work.from_source or work.reads in known.stored)

    def _program(self, manifest: StoreManifest) -> Program:
        """Return the pass that made a level, without the fits that it gathered."""
        chains = self._project.chains(known_work(self._project)[0])
        return Program(
            source=self._project.source,
            chains=chains,
            partials=tuple({} for _ in chains),
            work=manifest.work,
            blocks=slabs(manifest.slices, manifest.slab),
            workspace=self._project.workspace,
            token=manifest.maker,
        )
