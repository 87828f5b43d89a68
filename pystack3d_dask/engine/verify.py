"""Checks what runs have stored against their records, byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pystack3d_dask.engine.executors import Block
from pystack3d_dask.engine.repair import makers, mark_damaged
from pystack3d_dask.errors import DamageError, StackError
from pystack3d_dask.io.ome.image import is_complete, is_intact
from pystack3d_dask.io.zarr.chunk import Written
from pystack3d_dask.project.lock import locked
from pystack3d_dask.project.project import Project
from pystack3d_dask.project.record import DamagedRecordError, Store, Workspace

THREADS = 4

OnFile = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found.

    Parameters
    ----------
    files : int
        Files that were compared.
    bytes : int
        Their size, as recorded.
    damages : tuple of DamageError
        What is not as it was written: files, and records that cannot be read.
    is_complete : bool
        Whether there is a complete result of the project as it is, with nothing damaged in it.
    """

    files: int
    bytes: int
    damages: tuple[DamageError, ...]
    is_complete: bool


def verify(project: Project, on_file: OnFile | None = None) -> Verification:
    """Compare the result, and what is kept between passes, with the records.

    Damaged pixels are noted, for the next run to compute it again. Nothing else is changed: a
    verification that is interrupted has no effect.

    Parameters
    ----------
    project : Project
        The project.
    on_file : callable, optional
        Called after each file with how many are done, and how many there are.

    Raises
    ------
    LockedError
        When a run works on the project.
    StackError
        When nothing was stored yet.
    """
    workspace = project.workspace
    if not workspace.stores():
        message = f"{workspace.process}: there is nothing to verify; `pystack3d-dask run` makes it"
        raise StackError(message)
    with locked(workspace.process):
        return _verify(project, on_file or (lambda done, total: None))


def _verify(project: Project, on_file: OnFile) -> Verification:
    workspace = project.workspace
    checks = [check for store in workspace.stores() for check in _checks(workspace, store)]
    total = sum(len(check.files) for check in checks)
    with ThreadPoolExecutor(THREADS) as pool:
        problems = pool.map(Written.problem, (file for check in checks for file in check.files))
        damages = [*_frame_damage(workspace)]
        damaged: dict[Path, list[_Check]] = {}
        done = 0
        for check in checks:
            found = check.damages
            for file in check.files:
                if problem := next(problems):
                    found = [*found, DamageError(str(file.path), problem)]
                done += 1
                on_file(done, total)
            if found:
                damages += found
                damaged.setdefault(check.store.path, []).append(check)
    for found_in in damaged.values():
        mark_damaged(found_in[0].store, [check.block for check in found_in])
    return Verification(
        files=total,
        bytes=sum(file.size for check in checks for file in check.files),
        damages=tuple(damages),
        is_complete=is_complete(workspace.result, project.tokens.levels[-1]),
    )


def _frame_damage(workspace: Workspace) -> Iterator[DamageError]:
    """Yield what is wrong with the result beside its pixels."""
    if workspace.result.exists() and not is_intact(workspace.result):
        yield DamageError(str(workspace.result), "its metadata or coordinates were changed")


class _Check(NamedTuple):
    """What is to be compared of one block of a store, and what is known to be wrong before."""

    store: Store
    block: Block
    files: list[Written]
    damages: list[DamageError]


def _checks(workspace: Workspace, store: Store) -> Iterator[_Check]:
    """Yield the blocks of a store; while it is not complete, those that are done."""
    for record in makers(workspace, store):
        block = record.channel, record.number
        if not record.path.exists():
            if store.manifest is not None and store.manifest.complete:
                missing = DamageError(str(record.path), "the record is missing")
                yield _Check(store, block, [], [missing])
            continue
        try:
            written = record.written()
        except DamagedRecordError as error:
            damage = DamageError(error.path, "the record cannot be read")
            yield _Check(store, block, [], [damage])
            continue
        inside = (store.path, record.directory)
        files = [each for each in written if any(map(each.path.is_relative_to, inside))]
        yield _Check(store, block, files, [])
