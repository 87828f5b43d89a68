"""What a worker does with one block: read its region, run the pass, write, record."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from pystack3d_dask.core.block_report import BlockReport
from pystack3d_dask.core.chain import Chain, Work
from pystack3d_dask.core.spec import Region
from pystack3d_dask.core.typing import Array
from pystack3d_dask.engine.block import Partials, run_block
from pystack3d_dask.errors import RunError
from pystack3d_dask.io.ome.image import ResultWriter
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.work import Level, names
from pystack3d_dask.io.zarr.chunk import Written
from pystack3d_dask.kernels.backend import compute_on_gpu, has_gpu
from pystack3d_dask.project.record import BlockRecord, Workspace


@dataclass(frozen=True, kw_only=True)
class Program:
    """All that a worker needs to run any block of a pass; sent to it once.

    Parameters
    ----------
    source : Source
        The slices.
    chains : tuple of Chain
        One per channel, with the fits that the pass needs.
    partials : tuple of dict
        Partial fits per channel, by step name.
    work : Work
        The pass.
    blocks : tuple of range
        The slices of each block.
    workspace : Workspace
        Where levels and records live.
    token : str
        That of the pass.
    """

    source: Source
    chains: tuple[Chain, ...]
    partials: tuple[Partials, ...]
    work: Work
    blocks: tuple[range, ...]
    workspace: Workspace
    token: str

    @property
    def is_for_gpu(self) -> bool:
        """Whether there is heavy work that a GPU can do."""
        return self.chains[0].is_gpu_work(self.work)

    @property
    def label(self) -> str:
        """What the pass does, in a few words."""
        return self.chains[0].label(self.work)

    def record(self, channel: int, number: int) -> BlockRecord:
        """Return the record of a block."""
        return BlockRecord(self.workspace.records(self.token), channel, number)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a finished block tells the driving process.

    Parameters
    ----------
    channel, number : int
        The block.
    seconds : float
        Time that it took.
    bytes_read, bytes_written : int
        Pixels, before compression.
    stored_bytes : int
        What the result's part of it takes on disk.
    peak_memory : int
        Largest resident size of the worker so far, bytes.
    worker : str
        Host and process.
    """

    channel: int
    number: int
    seconds: float
    bytes_read: int
    bytes_written: int
    stored_bytes: int
    peak_memory: int
    worker: str


def run_task(program: Program, channel: int, number: int, on_gpu: bool = False) -> Receipt:
    """Run one block of a pass, and record it as done.

    Parameters
    ----------
    program : Program
        The pass.
    channel, number : int
        The block.
    on_gpu : bool
        Whether to use the GPU, where there is one, for the steps that can.

    Raises
    ------
    PixelError
        When pixels of the source cannot be read.
    """
    started = time.perf_counter()
    chain = program.chains[channel]
    work = chain.own(program.work)
    reader = _Reader(program, channel)
    slices = program.blocks[number]
    writer = _Writer(program, channel, slices)
    report = run_block(
        chain,
        work,
        chain.levels[work.end].region.with_z(slices.start, slices.stop),
        reader.read,
        writer.emit,
        program.partials[channel],
        compute_on_gpu if on_gpu and has_gpu() else None,
    )
    writer.finish()
    _note_losses(report, program.source, channel)
    receipt = Receipt(
        channel=channel,
        number=number,
        seconds=time.perf_counter() - started,
        bytes_read=reader.bytes,
        bytes_written=writer.bytes,
        stored_bytes=writer.stored_bytes,
        peak_memory=peak_memory(),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )
    taken = {**asdict(receipt), "pass": program.label}
    program.record(channel, number).write(report, taken, writer.written)
    return receipt


def _note_losses(report: BlockReport, source: Source, channel: int) -> None:
    """Mark the slices among those read from the source that show other pixels than their own."""
    for z, figures in report.figures.get(0, {}).items():
        if source.loss(channel, z) is not None:
            figures["lost"] = np.array(True)


def run_tasks(
    program: Program, blocks: Sequence[tuple[int, int]], on_gpu: bool = False
) -> list[Receipt]:
    """Run several blocks, (channel, number), one after the other; see `run_task`."""
    return [run_task(program, *block, on_gpu) for block in blocks]


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


class _Reader:
    def __init__(self, program: Program, channel: int) -> None:
        self.bytes = 0
        self._channel = channel
        if program.work.from_source:
            self._read: Callable[[Region], Array] = lambda region: program.source.read(
                channel, region
            )
        else:
            chain, level = program.chains[channel], program.work.reads
            stored = _open_level(program.workspace.level(chain.steps, level), program.token)
            dtype = chain.levels[level].dtype
            self._read = lambda region: stored.read(channel, region, dtype)

    def read(self, region: Region) -> Array:
        values = self._read(region)
        self.bytes += values.nbytes
        return values


class _Writer:
    """Writes slices of levels at once; collects those of the result until its slab is full."""

    def __init__(self, program: Program, channel: int, block: range) -> None:
        self.bytes, self.stored_bytes = 0, 0
        self.written: list[Written] = []
        chain = program.chains[channel]
        self._program, self._channel, self._block = program, channel, block
        self._result = len(chain.steps)
        self._levels = {
            level: _open_level(program.workspace.level(chain.steps, level), program.token)
            for level in program.work.stores
            if level != self._result
        }
        self._slab: Array | None = None
        self._check_stores()

    def emit(self, level: int, z: int, image: Array) -> None:
        self.bytes += image.nbytes
        if level != self._result:
            self.written += self._levels[level].write(self._channel, z, image)
            return
        if self._slab is None:
            dtype = result_dtype(self._program.chains)
            self._slab = np.empty((len(self._block), *image.shape), dtype)
        self._slab[z - self._block.start] = image

    def finish(self) -> None:
        self._check_stores()
        if self._slab is None:
            return
        result = _open_result(self._program.workspace.result, self._program.token)
        shards = result.write(self._channel, self._block.start, self._slab)
        self.stored_bytes = sum(shard.size for shard in shards)
        self.written += shards

    def _check_stores(self) -> None:
        """Check that a later run has not put other stores there since the block was submitted."""
        chain = self._program.chains[self._channel]
        for level in self._program.work.stores:
            path = self._program.workspace.store(chain.steps, level)
            if not names(path, self._program.token):
                message = f"{path}: another run, with other parameters, writes there by now"
                raise RunError(message)


def result_dtype(chains: tuple[Chain, ...]) -> np.dtype[Any]:
    """Return the type that holds the result of every channel."""
    return np.result_type(*(chain.result_dtype for chain in chains))


def level_dtype(chains: tuple[Chain, ...], level: int) -> np.dtype[Any]:
    """Return the type that holds the values of every channel at a level."""
    return np.result_type(*(chain.levels[level].dtype for chain in chains))


@lru_cache(maxsize=2)
def _open_result(path: Path, token: str) -> ResultWriter:
    return ResultWriter(path)


@lru_cache(maxsize=16)
def _open_level(path: Path, token: str) -> Level:
    """Open a level once per process and pass: the token is there to tell passes apart."""
    return Level(path)
