"""See that cost does not grow: with slices, with blocks; that it shrinks with workers, and GPUs.

    python benchmarks/scaling.py slices --counts 100 500 2000 --size 2000 --workers 2
    python benchmarks/scaling.py blocks --count 20000 --workers 2
    python benchmarks/scaling.py workers --counts 1 2 --slices 96 --size 2000
    python benchmarks/scaling.py gpus --uses off prefer share --slices 400 --size 2000 --workers 8

``slices``, ``workers`` and ``gpus`` run the chain of seven steps of `compare_pystack3d` and
print a line for each count or use: seconds, start-up included; seconds per slice; what the last
pass, with the destriping, takes per slice; the memory of the largest process beside what the
plan said. ``gpus`` runs it as ``--gpu-use`` says, with the GPUs that CuPy finds among the workers.
A stack has at most ``--distinct`` different slices: the others are links to them, in turn.

``blocks`` makes a stack of small slices, puts each into a block of its own, and prints what
a block takes, and how much of that is none of its work: scheduling, progress, collecting.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args
from unittest import mock

import numpy as np
import zarr
from compare_pystack3d import CHAIN, Comparison, source_size, timed

from pystack3d_dask import Pipeline
from pystack3d_dask.cluster.local import local_client
from pystack3d_dask.core.gpu_policy import GpuUse
from pystack3d_dask.demo import VOXEL_SIZE, DemoStack
from pystack3d_dask.engine.run import BlockDone

SMALL = 64  # rows and columns of slices for `blocks`
HEADER = (
    "| slices | workers | GPUs | seconds | ms per slice | ms per slice, last pass "
    "| largest, MiB | planned, MiB |\n|---|---|---|---|---|---|---|---|"
)


def run_slices(options: argparse.Namespace) -> None:
    """Run stacks of several lengths."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_slices(folder, min(options.distinct, max(options.counts)), options.size)
        print(HEADER, flush=True)
        for count in options.counts:
            print(line(folder, count, options.workers, options), flush=True)


def run_workers(options: argparse.Namespace) -> None:
    """Run a stack with several numbers of workers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_slices(folder, min(options.distinct, options.slices), options.size)
        print(HEADER, flush=True)
        for workers in options.counts:
            print(line(folder, options.slices, workers, options), flush=True)


def run_gpus(options: argparse.Namespace) -> None:
    """Run a stack with several uses of the GPUs that are there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_slices(folder, min(options.distinct, options.slices), options.size)
        print(HEADER, flush=True)
        for use in options.uses:
            print(line(folder, options.slices, options.workers, options, use), flush=True)


def make_slices(folder: Path, count: int, size: int) -> None:
    """Write slices of the demo stack."""
    (folder / "slices").mkdir()
    stack = DemoStack(shape=(count, source_size(size), source_size(size)))
    for z in range(count):
        stack.write_slice(folder / "slices", z)


def line(
    folder: Path, count: int, workers: int, options: argparse.Namespace, gpus: str = "off"
) -> str:
    """Run the chain on as many slices, and return its line of the table."""
    slices = sorted((folder / "slices").glob("*.tif"))
    project = folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir()
    for k in range(count):
        name = f"slice_{k:05d}_z={k * VOXEL_SIZE:.5f}um.tif"
        (project / name).symlink_to(slices[k % len(slices)])
    case = argparse.Namespace(size=options.size, slices=count, workers=workers)
    parameters = Comparison(folder, case).params(CHAIN)
    (project / "params.toml").write_text(f'precision = "{options.precision}"\n' + parameters)
    planned = Pipeline.from_toml(project).plan().memory / 2**20
    command = [sys.executable, "-m", "pystack3d_dask", "run", ".", "--workers", str(workers)]
    command += ["--gpu-use", gpus]
    measured = timed(command, project, options.limit)
    summary = json.loads((project / "process" / "summary.json").read_text())
    last = summary["passes"][-1]["seconds"]
    shutil.rmtree(project)
    each = measured.seconds / count * 1e3
    return (
        f"| {count} | {workers} | {gpus} | {measured.seconds:.1f} | {each:.1f} "
        f"| {last / count * 1e3:.1f} | {measured.peak:.0f} | {planned:.0f} |"
    )


def run_blocks(options: argparse.Namespace) -> None:
    """Run a stack of small blocks."""
    count = options.count
    events: list[BlockDone] = []
    with tempfile.TemporaryDirectory() as name, one_slice_per_block():
        folder = Path(name)
        pixels = np.random.default_rng(0).integers(0, 255, (count, SMALL, SMALL), np.uint8)
        chunks = (SMALL, SMALL, SMALL)
        source = zarr.create_array(
            folder / "source.zarr", shape=pixels.shape, chunks=chunks, dtype=pixels.dtype
        )
        source[:] = pixels
        (folder / "params.toml").write_text(
            'channels = ["source.zarr"]\nprocess_steps = ["cropping"]\n'
            f"[cropping]\narea = [0, {SMALL // 2}, 0, {SMALL // 2}]\n"
        )
        pipeline = Pipeline.from_toml(folder)
        with local_client(options.workers) as client:
            started = time.perf_counter()
            pipeline.run(client=client, on_block=events.append)
            seconds = time.perf_counter() - started
    work = [event.receipt.seconds for event in events if event.receipt is not None]
    overhead = seconds - sum(work) / options.workers
    print(
        f"{len(work)} blocks, {options.workers} workers: {seconds:.1f} s, "
        f"{seconds / len(work) * 1e3:.2f} ms per block; its work {statistics.mean(work) * 1e3:.2f}"
        f" ms on one core; besides {overhead / len(work) * 1e3:.2f} ms"
    )


def one_slice_per_block() -> mock._patch_multiple:
    """Return a context in which blocks are as small as they can be; the planner knows better."""

    def one(*_: object) -> int:
        return 1

    return mock.patch.multiple("pystack3d_dask.core.planner", slab_thickness=one, thick_slab=one)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the four."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True)
    chain = argparse.ArgumentParser(add_help=False)
    chain.add_argument("--size", type=int, default=2000, help="pixels after cropping")
    chain.add_argument("--distinct", type=int, default=96, help="different slices")
    chain.add_argument("--precision", choices=["source", "float32"], default="source")
    chain.add_argument("--limit", type=float, default=3600, help="seconds for a run at most")
    counts = argparse.ArgumentParser(add_help=False)
    counts.add_argument("--counts", type=int, nargs="+", required=True)
    slices = kinds.add_parser("slices", parents=[chain, counts])
    slices.add_argument("--workers", type=int, default=2)
    slices.set_defaults(run=run_slices)
    workers = kinds.add_parser("workers", parents=[chain, counts])
    workers.add_argument("--slices", type=int, default=96)
    workers.set_defaults(run=run_workers)
    gpus = kinds.add_parser("gpus", parents=[chain])
    gpus.add_argument("--uses", nargs="+", choices=get_args(GpuUse), default=["off", "prefer"])
    gpus.add_argument("--slices", type=int, default=96)
    gpus.add_argument("--workers", type=int, default=2)
    gpus.set_defaults(run=run_gpus)
    blocks = kinds.add_parser("blocks")
    blocks.add_argument("--count", type=int, default=20000)
    blocks.add_argument("--workers", type=int, default=2)
    blocks.set_defaults(run=run_blocks)
    options = parser.parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
