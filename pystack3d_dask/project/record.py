"""What is known to be done: fits, figures, levels and finished blocks, each under its token.

A *token* is a digest of everything that decides the values: the source, the steps with
their parameters and versions, the precision. Whatever carries another token is stale: it
is never used, and the next run removes it, a result not before there is another one.

A block is done when its record is there. The record is written after the pixels, by
renaming a complete file, so a process that is killed leaves either a whole record or none.
Nothing is flushed to the disk for it: records survive the death of processes, not
necessarily a power cut.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import google_crc32c
import numpy as np
import zarr

from pystack3d_dask.core.block_report import BlockReport
from pystack3d_dask.core.chain import Work, padding_level
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Array, Arrays, Precision
from pystack3d_dask.errors import StackError
from pystack3d_dask.io.work import attributes, remove_store
from pystack3d_dask.io.zarr.arrays import load_arrays, save_arrays
from pystack3d_dask.io.zarr.chunk import Written, replacing, write_file
from pystack3d_dask.project.manifest import StoreManifest

RECORD = re.compile(r"(?P<channel>\d+)\.(?P<number>\d+)\.json")
SUMMARY, GLIMPSE = "summary", "glimpse"  # kinds of arrays in the file of a block
BLOCK_VERSION = 1  # to be raised when the engine itself changes values


def digest(*parts: Any) -> str:
    """Return a short digest of values that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def level_name(steps: Sequence[Step], level: int) -> str:
    """Return what a level is called on disk: like the step that makes it."""
    return "source" if level == 0 else steps[level - 1].name


@dataclass(frozen=True)
class Tokens:
    """Digests of what decides the values of each level and fit.

    Parameters
    ----------
    fingerprint : str
        That of the source.
    precision : {"float32", "source"}
        Precision of the chain.
    steps : tuple of Step
        The chain.
    dither : bool
        Whether noise is added before the result is rounded; it decides only that.
    fill : tuple of float
        Gray levels of padding.
    voxel_size : tuple of float, optional
        The size of voxels, if one was given, and where the first slice lies, if that is known.
        It decides the values of steps that measure in micrometers, and the result, which tells
        it: what lies before those stays valid.
    """

    fingerprint: str
    precision: Precision
    steps: tuple[Step, ...]
    voxel_size: tuple[float, ...] | None = None
    dither: bool = False
    fill: tuple[float, ...] = ()

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Token of each level."""
        tokens = [digest(BLOCK_VERSION, self.fingerprint, self.precision)]
        for index, step in enumerate(self.steps):
            tokens.append(digest(tokens[-1], self._step(step), *self._fill_of(index)))
        if self.voxel_size is not None:
            tokens[-1] = digest(tokens[-1], self.voxel_size)
        if self.dither:
            tokens[-1] = digest(tokens[-1], "dither")
        return tuple(tokens)

    def fit(self, index: int) -> str:
        """Return the token of the fit of a step."""
        fill = self._fill_of(index)
        return digest("fit", self.levels[index], self._step(self.steps[index]), *fill)

    def work(self, work: Work, slab: int) -> str:
        """Return the token of a pass; it begins with that of the pass's last level."""
        gathers = [[gather.index, gather.round, self.fit(gather.index)] for gather in work.gathers]
        # the last pass goes on from any level that is there, and may have stored some itself
        decides = work.gathers or not work.finishes
        what = [work.reads, work.from_source, work.stores] if decides else []
        rest = digest(what, gathers, slab)
        return f"{self.levels[work.end]}-{rest}"

    def _fill_of(self, index: int) -> tuple[float, ...]:
        """Return the gray levels of padding that a step knows."""
        level = padding_level(self.steps)
        return self.fill if level is not None and index >= level else ()

    def _step(self, step: Step) -> list[Any]:
        values = {k: v for k, v in step.parameters().items() if k != "checkpoint"}
        measured = [self.voxel_size] if self.voxel_size is not None and step.in_micrometers else []
        return [step.name, step.version, values, *measured]


@dataclass(frozen=True)
class BlockRecord:
    """The files that say that a block is done, and what it found out.

    Parameters
    ----------
    directory : Path
        The directory of the pass.
    channel, number : int
        The block.
    """

    directory: Path
    channel: int
    number: int

    @property
    def path(self) -> Path:
        """The file whose existence says that the block is done."""
        return self.directory / f"{self.channel}.{self.number}.json"

    @property
    def arrays_path(self) -> Path:
        """The file with the summaries and glimpses."""
        return self.path.with_suffix(".npz")

    def write(
        self, report: BlockReport, receipt: Mapping[str, Any], written: Iterable[Written]
    ) -> None:
        """Write a finished block's record, all of it or nothing.

        Parameters
        ----------
        report : BlockReport
            What the block found out.
        receipt : mapping
            What it took.
        written : iterable of Written
            The files with its pixels, inside the workspace.
        """
        written = [*written, *self._write_arrays(report)]
        figures = {
            level: {z: _plain(values) for z, values in by_slice.items()}
            for level, by_slice in report.figures.items()
        }
        files = {
            each.path.relative_to(self._root).as_posix(): [each.size, each.checksum]
            for each in written
        }
        content = {"receipt": dict(receipt), "figures": figures, "files": files}
        with replacing(self.path) as file:
            file.write(json.dumps({"checksum": _checksum(content), "record": content}).encode())

    def _write_arrays(self, report: BlockReport) -> list[Written]:
        kinds: dict[str, Mapping[Any, dict[int, Arrays]]] = {
            SUMMARY: report.summaries,
            GLIMPSE: report.glimpses,
        }
        arrays = {
            f"{kind}|{owner}|{z}|{key}": np.asarray(value)
            for kind, by_owner in kinds.items()
            for owner, by_slice in by_owner.items()
            for z, values in by_slice.items()
            for key, value in values.items()
        }
        if not arrays:
            return []
        stored = io.BytesIO()
        np.savez(stored, allow_pickle=False, **arrays)
        return [write_file(self.arrays_path, [stored.getvalue()])]

    def receipt(self) -> dict[str, Any]:
        """Return what the block took, see `engine.task.Receipt`, and ``pass``, its label.

        Raises
        ------
        DamagedRecordError
        """
        with self._reading():
            return dict(self._content()["receipt"])

    def figures(self) -> dict[int, dict[int, Arrays]]:
        """Return the figures by level and slice.

        Raises
        ------
        DamagedRecordError
        """
        with self._reading():
            return {
                int(level): {int(z): values for z, values in by_slice.items()}
                for level, by_slice in self._content()["figures"].items()
            }

    def written(self) -> list[Written]:
        """Return the files that the block has written, as they were written.

        Raises
        ------
        DamagedRecordError
        """
        with self._reading():
            files = self._content()["files"].items()
            return [Written(self._root / name, size, checksum) for name, (size, checksum) in files]

    def summaries(self, step: str) -> dict[int, Arrays]:
        """Return the summaries of a step, by slice.

        Raises
        ------
        DamagedRecordError
        """
        return self._arrays(SUMMARY, step)

    def glimpses(self, level: int) -> dict[int, Arrays]:
        """Return windows before and after the step that made a level, by slice.

        Raises
        ------
        DamagedRecordError
        """
        return self._arrays(GLIMPSE, str(level))

    def summarized(self, step: str) -> list[int]:
        """Return the slices of which there are summaries of a step, ascending.

        Raises
        ------
        DamagedRecordError
        """
        with self._stored() as (_, names):
            found = ((kind, owner, int(z)) for kind, owner, z, _ in names.values())
            return sorted({z for kind, owner, z in found if (kind, owner) == (SUMMARY, step)})

    def remove(self) -> None:
        """Forget that the block was done."""
        self.path.unlink(missing_ok=True)

    @property
    def _root(self) -> Path:
        return self.directory.parents[2]

    def _arrays(self, kind: str, owner: str) -> dict[int, Arrays]:
        found: dict[int, Arrays] = {}
        with self._stored() as (file, names):
            for name, (own_kind, own_owner, z, key) in names.items():
                if (own_kind, own_owner) == (kind, owner):
                    found.setdefault(int(z), {})[key] = file[name]
        return found

    @contextmanager
    def _stored(self) -> Iterator[tuple[Mapping[str, Array], dict[str, list[str]]]]:
        """Yield the stored arrays, and their names taken apart: kind, owner, slice, key."""
        with self._reading():
            if not any(each.path == self.arrays_path for each in self.written()):
                yield {}, {}
                return
            with (
                self.arrays_path.open("rb") as stored,
                np.load(stored, allow_pickle=False) as file,
            ):
                yield file, {name: name.split("|") for name in file.files}

    def _content(self) -> dict[str, Any]:
        stored = json.loads(self.path.read_bytes())
        content: dict[str, Any] = stored["record"]
        if _checksum(content) != stored["checksum"]:
            message = "the checksum does not match"
            raise ValueError(message)
        return content

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Forget the block if its record is no longer what was written."""
        try:
            yield
        except DAMAGE as error:
            self.remove()
            raise DamagedRecordError(str(self.path)) from error


# what reading something else than was written raises
DAMAGE = (FileNotFoundError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error)


def _checksum(content: Mapping[str, Any]) -> int:
    checksum: int = google_crc32c.value(json.dumps(content).encode())
    return checksum


class DamagedRecordError(StackError):
    """A record could not be read; it was removed, so that its block is computed again."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)

    def __str__(self) -> str:
        return f"{self.path}: it was damaged, and is removed; the same command continues"


class StoredSummaries(Mapping[int, Arrays]):
    """Summaries of a step, by slice in ascending order, loaded block by block when asked for.

    Parameters
    ----------
    records : sequence of BlockRecord
        The blocks of one channel, in order.
    step : str
        Name of the step.
    cache_bytes : int
        Blocks are kept in memory until they take this much, and the last one besides.
    """

    def __init__(
        self, records: Sequence[BlockRecord], step: str, cache_bytes: int = 512 * 2**20
    ) -> None:
        self._records = records
        self._step = step
        self._budget = cache_bytes
        self._cache: dict[int, dict[int, Arrays]] = {}
        self._last: tuple[int, dict[int, Arrays]] = (-1, {})  # one that is not in the cache
        self._owner: dict[int, int] = {}
        for index, record in enumerate(records):
            self._owner.update(dict.fromkeys(record.summarized(step), index))

    def __getitem__(self, z: int) -> Arrays:
        return self._load(self._owner[z])[z]

    def __iter__(self) -> Iterator[int]:
        return iter(self._owner)

    def __len__(self) -> int:
        return len(self._owner)

    def _load(self, index: int) -> dict[int, Arrays]:
        if index in self._cache:
            return self._cache[index]
        if index != self._last[0]:
            loaded = self._records[index].summaries(self._step)
            size = sum(array.nbytes for arrays in loaded.values() for array in arrays.values())
            if size <= self._budget:
                self._budget -= size
                self._cache[index] = loaded
                return loaded
            self._last = index, loaded
        return self._last[1]


class Store(NamedTuple):
    """Pixels on disk.

    Parameters
    ----------
    path : Path
        The directory.
    manifest : StoreManifest, optional
        What it says about itself; None where that cannot be read.
    """

    path: Path
    manifest: StoreManifest | None


@dataclass(frozen=True)
class Workspace:
    """Where a project's results and records live.

    Parameters
    ----------
    process : Path
        The directory ``process`` of the project.
    """

    process: Path

    @property
    def result(self) -> Path:
        """The result, an OME-Zarr image."""
        return self.process / "result.zarr"

    @property
    def work(self) -> Path:
        """Levels, fits, figures and records."""
        return self.process / "work.zarr"

    @property
    def contents(self) -> Path:
        """What the slices were read from when the last run began."""
        return self.work / "source.json"

    @property
    def summary(self) -> Path:
        """The summary of the last run."""
        return self.process / "summary.json"

    @property
    def report(self) -> Path:
        """The report of the last run."""
        return self.process / "report.html"

    @property
    def scan(self) -> Path:
        """Which slices cannot be read, where all were looked at."""
        return self.work / "scan.json"

    @property
    def levels(self) -> Path:
        """The directory with the levels between passes."""
        return self.work / "levels"

    def stores(self) -> list[Store]:
        """Return the result, and the levels between passes, whatever their state."""
        paths = [self.result] if self.result.exists() else []
        paths += _children(self.levels)
        return [Store(path, StoreManifest.load(path)) for path in paths]

    def level(self, steps: Sequence[Step], level: int) -> Path:
        """Return where a level is stored between passes."""
        return self.levels / level_name(steps, level)

    def store(self, steps: Sequence[Step], level: int) -> Path:
        """Return where a level is stored, the last one being the result."""
        return self.result if level == len(steps) else self.level(steps, level)

    def records(self, token: str) -> Path:
        """Return the directory with the records of a pass."""
        return self.work / "records" / token

    def finished(self, token: str) -> set[tuple[int, int]]:
        """Return the blocks of a pass, (channel, number), that are done."""
        directory = self.records(token)
        names = os.listdir(directory) if directory.is_dir() else []
        found = (RECORD.fullmatch(name) for name in names)
        return {(int(match["channel"]), int(match["number"])) for match in found if match}

    def create(self) -> None:
        """Make the directories, where they are missing."""
        self.process.mkdir(parents=True, exist_ok=True)
        for group in ("", "levels", "fits", "figures"):
            if not (self.work / group / "zarr.json").exists():
                zarr.create_group(self.work / group)

    @staticmethod
    def size(directory: Path) -> int:
        """Return the bytes of the files in a directory, 0 if it is not there."""
        return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())

    def remove_partials(self) -> None:
        """Remove what processes that were killed left of files, and of stores to be removed."""
        found = (root.rglob("*.partial") for root in (self.result, self.work))
        for path in list(chain(self.process.glob("*.partial"), *found)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything that runs have made here."""
        for path in (self.result, self.work):
            remove_store(path)
        self.summary.unlink(missing_ok=True)
        self.report.unlink(missing_ok=True)

    def free_levels(self, kept: Collection[str] = ()) -> dict[str, int]:
        """Remove the levels between passes, but those in a role that is kept.

        Fits, figures and records stay: a complete result stays complete.

        Parameters
        ----------
        kept : collection of {"ingested", "intermediates"}
            Roles of levels that stay.

        Returns
        -------
        dict of str to int
            Bytes that each level took, by name.
        """
        freed = {}
        for path in _children(self.levels):
            manifest = StoreManifest.load(path)
            if manifest is None or manifest.role not in kept:
                freed[path.name] = self.size(path)
                remove_store(path)
        return freed

    def save_fit(
        self, name: str, fits: Sequence[Arrays], token: str, rounds_done: int, is_final: bool
    ) -> None:
        """Store the fit of a step, one per channel, all of it or nothing."""
        arrays = {
            f"{channel}/{key}": value
            for channel, fit in enumerate(fits)
            for key, value in fit.items()
        }
        attrs = {"channels": len(fits), "rounds": rounds_done, "final": is_final}
        save_arrays(self.work / "fits" / name, arrays, token, **attrs)

    def load_fit(self, name: str, token: str) -> tuple[list[Arrays], int, bool] | None:
        """Return fits per channel, rounds done and whether that is all.

        None if there is none, or one that is stale or damaged.
        """
        found = load_arrays(self.work / "fits" / name, token)
        if found is None:
            return None
        arrays, attrs = found
        fits: list[Arrays] = [{} for _ in range(attrs["channels"])]
        for path, value in arrays.items():
            channel, _, key = path.partition("/")
            fits[int(channel)][key] = value
        return fits, int(attrs["rounds"]), bool(attrs["final"])

    def remove_stale(self, tokens: Tokens) -> None:
        """Remove levels, fits and records that no longer belong to the chain."""
        levels = {level_name(tokens.steps, i): token for i, token in enumerate(tokens.levels)}
        fits = {step.name: tokens.fit(i) for i, step in enumerate(tokens.steps)}
        for folder, valid in (("levels", levels), ("figures", levels), ("fits", fits)):
            for path in _children(self.work / folder):
                if attributes(path).get("token") != valid.get(path.name):
                    remove_store(path)
        makers = {store.manifest.maker for store in self.stores() if store.manifest}
        for path in _children(self.work / "records"):
            if path.name not in makers and path.name.split("-")[0] not in tokens.levels:
                remove_store(path)


def _plain(values: Arrays) -> dict[str, Any]:
    return {key: np.asarray(value).tolist() for key, value in values.items()}


def _children(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir()) if path.exists() else []
