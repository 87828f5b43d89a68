"""Makes anew what was damaged on disk: the blocks that own it, and nothing else.

A store remembers the pass that made it. When a pass finds pixels between passes damaged, the
blocks that wrote these are run again as then, with the fits that are known by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pystack3d_dask.chain import Work, slabs
from pystack3d_dask.errors import DamageError, RunError, StackError
from pystack3d_dask.io.work import attributes
from pystack3d_dask.known import known_work
from pystack3d_dask.project import Project
from pystack3d_dask.record import DamagedRecordError
from pystack3d_dask.runners import Runner
from pystack3d_dask.task import Program, Receipt

ATTEMPTS = 3  # at one file; a disk that damages it again and again is not to be worked with


class DamagedLevelsError(StackError):
    """Pixels between passes, needed by blocks of the present one, are damaged."""

    def __init__(self, damages: Sequence[DamageError]) -> None:
        self.damages = tuple(damages)
        super().__init__(self.damages)

    def __str__(self) -> str:
        return "\n".join(str(each) for each in self.damages)


def origin(token: str, work: Work, slab: int) -> dict[str, Any]:
    """Return what a store says about the pass that makes it.

    Parameters
    ----------
    token : str
        That of the pass: where its records are.
    work : Work
        The pass.
    slab : int
        Slices per block.
    """
    values = {name: value for name, value in asdict(work).items() if name != "gathers"}
    return {"pass": token, "work": values, "slab": slab}


class Repairs:
    """What is damaged in the course of a run, and mended.

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

    def note(self, damaged: DamagedRecordError) -> None:
        """Take notice of a record that was removed: its block is not done.

        Raises
        ------
        DamagedRecordError
            When it is the same again and again.
        """
        if self._attempted(damaged.path) > ATTEMPTS:
            raise damaged

    def mend(self, damaged: DamagedLevelsError) -> None:
        """Run the blocks that wrote what is damaged.

        Raises
        ------
        DamagedLevelsError
            When a file is damaged again and again.
        RunError
            When blocks fail, or nobody knows which ones wrote the files.
        """
        by_level: dict[Path, set[Path]] = {}
        for path in {Path(each.path) for each in damaged.damages}:
            if self._attempted(str(path)) > ATTEMPTS:
                raise damaged
            by_level.setdefault(path.parent, set()).add(path)
        for level, paths in by_level.items():
            self._mend_level(level, paths)

    def _attempted(self, path: str) -> int:
        self._attempts[path] = self._attempts.get(path, 0) + 1
        return self._attempts[path]

    def _mend_level(self, level: Path, paths: set[Path]) -> None:
        program = self._program(attributes(level))
        records = [
            program.record(channel, number)
            for channel in range(len(program.chains))
            for number in range(len(program.blocks))
        ]
        blocks = [
            (record.channel, record.number)
            for record in records
            if record.path.exists() and paths & {each.path for each in record.written()}
        ]
        if not blocks:
            names = ", ".join(sorted(map(str, paths)))
            message = f"{names}: damaged, and no record tells which block wrote it; use --restart"
            raise RunError(message)
        for _, outcome in self._runner.run(program, blocks):
            if not isinstance(outcome, Receipt):
                message = f"what was damaged in {level} could not be made again: {outcome}"
                raise RunError(message) from outcome

    def _program(self, attrs: dict[str, Any]) -> Program:
        """Return the pass that made a level, without the fits that it gathered."""
        chains = self._project.chains(known_work(self._project)[0])
        work = Work(**{**attrs["work"], "stores": tuple(attrs["work"]["stores"])})
        slices = chains[0].levels[work.end].shape[0]
        return Program(
            source=self._project.source,
            chains=chains,
            partials=tuple({} for _ in chains),
            work=work,
            blocks=slabs(slices, attrs["slab"]),
            workspace=self._project.workspace,
            token=attrs["pass"],
        )
