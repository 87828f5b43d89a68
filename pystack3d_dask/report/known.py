"""What is known of a run, finished or not: figures, receipts and its summary, from records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.plan import Known
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.engine.summary import by_slice, is_summarized, load_figures
from pystack3d_dask.project.known import known_work
from pystack3d_dask.project.project import Project
from pystack3d_dask.project.record import BlockRecord, DamagedRecordError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PassTaken:
    """What the blocks of a pass took, of all runs that had a part in it.

    Parameters
    ----------
    label : str
        What the pass does.
    seconds : ndarray, shape (blocks,)
        Time that each block took.
    bytes_read, bytes_written : int
        Pixels, before compression.
    peak_memory : int
        Largest resident size of a worker, bytes.
    workers : int
        Processes that had a part in it.
    """

    label: str
    seconds: Array
    bytes_read: int
    bytes_written: int
    peak_memory: int
    workers: int


@dataclass(frozen=True)
class RunKnown:
    """What is known of a run.

    Parameters
    ----------
    project : Project
        The project.
    """

    project: Project

    @cached_property
    def summary(self) -> dict[str, Any] | None:
        """What ``summary.json`` says, if it is about the project as it is now."""
        if not is_summarized(self.project):
            return None
        content: dict[str, Any] = json.loads(self.project.workspace.summary.read_bytes())
        return content

    @property
    def is_complete(self) -> bool:
        """Whether there is a complete result."""
        return len(self.project.steps) in self.stored.stored

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The chain of each channel, with the fits that are known."""
        return self._work[0]

    @property
    def stored(self) -> Known:
        """The levels that are stored."""
        return self._work[1]

    def figures(self, level: int) -> Arrays:
        """Return the figures of a level, shape (channels, slices, ...).

        Those of blocks that are done, where the pass is not: other slices are NaN.
        """
        found = load_figures(self.project, level) or self._of_blocks.get(level, {})
        before = self.figures(level - 1) if level and found and "before" not in found else {}
        return {**found, "before": before["cast"]} if "cast" in before else found

    @cached_property
    def passes(self) -> list[PassTaken]:
        """What each pass took, the oldest first."""
        taken = (list(_each(r, BlockRecord.receipt)) for r in self._records.values())
        return [_pass_taken(receipts) for receipts in taken if receipts]

    @cached_property
    def _work(self) -> tuple[tuple[Chain, ...], Known]:
        fits, known = known_work(self.project)
        return self.project.chains(fits), known

    @cached_property
    def _records(self) -> dict[str, list[BlockRecord]]:
        """The records of each pass that belongs to the chain, by its token, the oldest first."""
        workspace, levels = self.project.workspace, self.project.tokens.levels
        folders = (workspace.work / "records").glob("*")
        own = [path for path in folders if path.name.split("-")[0] in levels]
        return {
            folder.name: [BlockRecord(folder, *block) for block in sorted(found)]
            for folder in sorted(own, key=lambda path: path.stat().st_mtime_ns)
            if (found := workspace.finished(folder.name))
        }

    @cached_property
    def _of_blocks(self) -> dict[int, Arrays]:
        """The figures of all blocks that are done, by level."""
        count = len(self.project.source.channels)
        found: dict[int, list[dict[int, Arrays]]] = {}
        for records in self._records.values():
            for channel, by_level in _each(records, lambda r: (r.channel, r.figures())):
                for level, figures in by_level.items():
                    empty: list[dict[int, Arrays]] = [{} for _ in range(count)]
                    found.setdefault(level, empty)[channel].update(figures)
        shapes = [spec.shape for spec in self.chains[0].levels]
        return {level: by_slice(each, shapes[level][0]) for level, each in found.items()}


def _each(records: Iterable[BlockRecord], read: Callable[[BlockRecord], T]) -> Iterator[T]:
    """Yield what is read of each record; the block of a damaged one is to be done again."""
    for record in records:
        with suppress(DamagedRecordError):
            yield read(record)


def _pass_taken(receipts: Sequence[Mapping[str, Any]]) -> PassTaken:
    return PassTaken(
        label=receipts[0].get("pass", ""),
        seconds=np.array([each["seconds"] for each in receipts]),
        bytes_read=sum(each["bytes_read"] for each in receipts),
        bytes_written=sum(each["bytes_written"] for each in receipts),
        peak_memory=max(each["peak_memory"] for each in receipts),
        workers=len({each["worker"] for each in receipts}),
    )
