"""Checks what runs have stored against their records, byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pystack3d_dask.errors import DamageError, StackError
from pystack3d_dask.io.chunk import Written
from pystack3d_dask.io.ome import reopen_result, result_state
from pystack3d_dask.io.work import attributes
from pystack3d_dask.lock import locked
from pystack3d_dask.project import Project
from pystack3d_dask.record import BlockRecord, DamagedRecordError

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
        Whether there is a complete result, with nothing damaged in it.
    """

    files: int
    bytes: int
    damages: tuple[DamageError, ...]
    is_complete: bool


def verify(project: Project, on_file: OnFile | None = None) -> Verification:
    """Compare the result, and what is kept between passes, with the records.

    What is damaged in the result is forgotten to be done, so that the next run computes it
    again. What is damaged between passes is found and computed again by the run that reads it.

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
    levels = sorted(workspace.levels.iterdir()) if workspace.levels.exists() else []
    stores = [path for path in (workspace.result, *levels) if path.exists()]
    if not stores:
        message = f"{workspace.process}: there is nothing to verify; `pystack3d-dask run` makes it"
        raise StackError(message)
    with locked(workspace.process):
        return _verify(project, stores, on_file)


def _verify(project: Project, stores: list[Path], on_file: OnFile | None) -> Verification:
    workspace = project.workspace
    damages: list[DamageError] = []
    expected: list[tuple[BlockRecord, Written]] = []
    for record in _records(project, stores):
        try:
            files = record.written()
        except DamagedRecordError as error:
            damages.append(DamageError(error.path, "the record cannot be read"))
            continue
        expected += [(record, each) for each in files if any(map(each.path.is_relative_to, stores))]
    with ThreadPoolExecutor(THREADS) as pool:
        problems = pool.map(lambda pair: pair[1].problem(), expected)
        for done, ((record, file), problem) in enumerate(
            zip(expected, problems, strict=True), start=1
        ):
            if problem is not None:
                damages.append(DamageError(str(file.path), problem))
                if file.path.is_relative_to(workspace.result):
                    record.remove()
            if on_file is not None:
                on_file(done, len(expected))
    state = result_state(workspace.result)
    is_sound = not any(_concerns(each, workspace.result, state.get("pass")) for each in damages)
    if state.get("complete") and not is_sound:
        reopen_result(workspace.result)
    return Verification(
        files=len(expected),
        bytes=sum(file.size for _, file in expected),
        damages=tuple(damages),
        is_complete=bool(state.get("complete")) and is_sound,
    )


def _records(project: Project, stores: list[Path]) -> Iterator[BlockRecord]:
    """Yield the records of the passes that made these stores."""
    result = project.workspace.result
    tokens = {
        (result_state(path) if path == result else attributes(path)).get("pass") for path in stores
    }
    for token in sorted(token for token in tokens if token):
        directory = project.workspace.records(token)
        for path in sorted(directory.glob("*.json")):
            channel, number = path.stem.split(".")
            yield BlockRecord(directory, int(channel), int(number))


def _concerns(damage: DamageError, result: Path, token: str | None) -> bool:
    path = Path(damage.path)
    return path.is_relative_to(result) or path.parent.name == token
