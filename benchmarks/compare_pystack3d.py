"""Time this program beside PyStack3D on the same slices, turn by turn, start-up included.

    python benchmarks/compare_pystack3d.py --slices 96 --size 2000 --workers 2 --rounds 3

Prints a line for each step alone, on the slices that PyStack3D's steps before it left, and
one for the chain: seconds of both programs (the median of the rounds), their ratio, the
largest resident size of any one process, and how the outputs agree. Both run in precision
"source", PyStack3D's only one. Needs ``pip install pystack3d==2026.2``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tifffile

from pystack3d_dask import Pipeline, open_result
from pystack3d_dask.demo import VOXEL_SIZE, DemoStack

SOURCE_SIZE = 2.112  # PyStack3D's published case crops 4224 pixels to 2000
LONGEST = 100  # slices in a running mean
PORES = 90  # gray level between pores and solid in the demo stack; 64 in the published case
REFERENCE = """
import matplotlib
matplotlib.use("Agg")
from pystack3d import Stack3d
if __name__ == "__main__":
    Stack3d(".").eval(show_pbar=False)
"""
CALCULATION, TRANSFORMATION = "registration_calculation", "registration_transformation"
CHAIN = (
    "cropping",
    "bkg_removal",
    "intensity_rescaling",
    CALCULATION,
    TRANSFORMATION,
    "destriping",
    "resampling",
)


@dataclass(frozen=True)
class Case:
    """Steps to time.

    Parameters
    ----------
    name : str
        For the table.
    steps : tuple of str
        One step, or the chain.
    after : str
        The step whose slices they are given; by default those of the microscope.
    """

    name: str
    steps: tuple[str, ...]
    after: str = ""

    @property
    def is_given_matrices(self) -> bool:
        """Whether slices are moved by matrices that were found before."""
        return TRANSFORMATION in self.steps and CALCULATION not in self.steps


@dataclass(frozen=True)
class Measured:
    """What a program took: seconds, and MiB of its largest process."""

    seconds: float
    peak: float


CASES = (
    Case("cropping", ("cropping",)),
    Case("bkg_removal", ("bkg_removal",), after="cropping"),
    Case("intensity_rescaling", ("intensity_rescaling",), after="bkg_removal"),
    Case("intensity_rescaling_area", ("intensity_rescaling_area",), after="bkg_removal"),
    Case(CALCULATION, (CALCULATION,), after="intensity_rescaling"),
    Case(TRANSFORMATION, (TRANSFORMATION,), after="intensity_rescaling"),
    Case("destriping", ("destriping",), after=TRANSFORMATION),
    Case("resampling", ("resampling",), after="destriping"),
    Case(
        "the others together",
        tuple(step for step in CHAIN if step not in (CALCULATION, "destriping")),
    ),
    Case(f"the chain of {len(CHAIN)} steps", CHAIN),
)


@dataclass(frozen=True)
class Comparison:
    """Both programs on the same slices.

    Parameters
    ----------
    folder : Path
        Holds ``slices``, and gets a project for each case and program.
    options : argparse.Namespace
        Of the command line.
    """

    folder: Path
    options: argparse.Namespace

    def run(self, case: Case) -> str:
        """Run a case with both programs in turn, and return its line of the table."""
        limit = self.options.limit
        ours_command = [sys.executable, "-m", "pystack3d_dask", "run", "."]
        ours_command += ["--workers", str(self.options.workers)]
        theirs: list[Measured] = []
        ours: list[Measured] = []
        for _ in range(self.options.rounds):
            one, two = self.prepared_theirs(case), self.prepared_ours(case)
            theirs.append(timed([sys.executable, "reference.py"], one, limit))
            ours.append(timed(ours_command, two, limit))
        a, b = (statistics.median(m.seconds for m in runs) for runs in (theirs, ours))
        return (
            f"{case.name:28}{a:9.2f} s{b:9.2f} s   x{a / b:6.1f}"
            f"{max(m.peak for m in theirs):9.0f} MiB{max(m.peak for m in ours):6.0f} MiB   "
            f"{agreement(one, two, case.steps[-1])}{remarks(two)}"
        )

    def prepared_theirs(self, case: Case) -> Path:
        """Return a new project for PyStack3D."""
        project = self.linked(case, self.project("theirs", case.name))
        (project / "params.toml").write_text(self.params(case.steps))
        (project / "reference.py").write_text(REFERENCE)
        if case.is_given_matrices:
            matrices = Path("process", CALCULATION, "tmats.npy")
            (project / matrices).parent.mkdir(parents=True)
            shutil.copy(self.project("theirs", CALCULATION) / matrices, project / matrices)
        return project

    def prepared_ours(self, case: Case) -> Path:
        """Return a new project for this program."""
        project = self.linked(case, self.project("ours", case.name))
        steps = list(case.steps)
        if case.is_given_matrices:
            steps.insert(steps.index(TRANSFORMATION), CALCULATION)
        (project / "params.toml").write_text('precision = "source"\n' + self.params(steps))
        if case.is_given_matrices:
            pipeline = Pipeline.from_toml(project)
            pipeline.fit()
            keep_matrices(pipeline.project.workspace.work)
        return project

    def project(self, program: str, name: str) -> Path:
        """Return the directory of a case."""
        return self.folder / program / name.replace(" ", "_")

    def linked(self, case: Case, project: Path) -> Path:
        """Make a project whose slices are links to those that a case is given."""
        slices = self.folder / "slices"
        if case.after:
            slices = self.project("theirs", case.after) / "process" / case.after
        shutil.rmtree(project, ignore_errors=True)
        project.mkdir(parents=True)
        for path in slices.glob("*.tif"):
            (project / path.name).symlink_to(path)
        return project

    def params(self, steps: Sequence[str]) -> str:
        """Return the parameters for both programs: those of PyStack3D's published timings."""
        size, slices = self.options.size, self.options.slices
        margin = (source_size(size) - size) // 2
        quarter, half = size // 4, size // 2
        longest = min(slices, LONGEST)
        return f"""
channels = ["."]
ind_min = 0
ind_max = {slices - 1}
nproc = {self.options.workers}
history = []
process_steps = {json.dumps(steps)}
[cropping]
area = [{margin}, {margin + size}, {margin}, {margin + size}]
[bkg_removal]
orders = [2, 2, 0]
cross_terms = false
skip_factors = [10, 10, 10]
threshold_min = {PORES}
[intensity_rescaling]
nbins = 256
filter_size = {longest}
[intensity_rescaling_area]
area = [{quarter}, {size - quarter}, {quarter}, {size - quarter}]
[registration_calculation]
area = [{quarter}, {half}, {quarter}, {half}]
threshold = {PORES}
nb_blocks = [1, 1]
transformation = "TRANSLATION"
[registration_transformation]
box_size_averaging = {longest}
mode = "edge"
[destriping]
filters = [
    {{ name = "Gabor", noise_level = 30, sigma = [0.5, 80], theta = 0 }},
    {{ name = "Gabor", noise_level = 80, sigma = [0.5, 200], theta = 0 }},
]
maxit = 50
cvg_threshold = 1e-2
[resampling]
policy = "slice_{{slice_nb}}_z={{z_coord}}um.tif"
dz = {VOXEL_SIZE}
"""


def keep_matrices(work: Path) -> None:
    """Remove all that a run has found out and stored, but the matrices of registration."""
    others = [path for path in (work / "fits").iterdir() if path.name != CALCULATION]
    for path in [work / "levels", work / "figures", work / "records", *others]:
        if path.is_dir():
            shutil.rmtree(path)


def timed(command: Sequence[str], directory: Path, limit: float) -> Measured:
    """Run a command and follow the memory of its processes.

    Raises
    ------
    RuntimeError
        When it fails, or takes longer than ``limit`` seconds: PyStack3D may hang after an
        error.
    """
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = psutil.Popen(command, cwd=directory, stdout=log, stderr=subprocess.STDOUT)
        peak = 0.0
        while process.poll() is None and time.perf_counter() - started < limit:
            peak = max(peak, *resident(process))
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        for each in family(process) if process.returncode is None else ():
            each.kill()
        if process.wait():
            log.seek(0)
            output = log.read().decode(errors="replace")
            message = f"{command} in {directory} failed, or took over {limit:g} s:\n{output}"
            raise RuntimeError(message)
    return Measured(seconds, peak)


def resident(process: psutil.Process) -> Iterator[float]:
    """Yield the resident size of a process and of those that it started, in MiB."""
    yield 0.0
    for each in family(process):
        try:
            yield each.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            continue


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and those that it started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def agreement(theirs: Path, ours: Path, step: str) -> str:
    """Return how the outputs of a step differ: all pixels, or all entries of all matrices."""
    if step == CALCULATION:
        Pipeline.from_toml(ours).export_reference_layout()
        one, two = (np.load(each / "process" / step / "tmats.npy") for each in (theirs, ours))
        pairs = [(one, two)]
        unit = " pixels"
    else:
        result = open_result(ours)[0]
        paths = sorted((theirs / "process" / step).glob("*.tif"))
        # PyStack3D leaves out the last resampled slice where it lies on the last position
        pairs = (
            (tifffile.imread(p), image.values) for p, image in zip(paths, result, strict=False)
        )
        unit = ""
    largest, equal, count = 0.0, 0, 0
    for one, two in pairs:
        difference = np.abs(one.astype(float) - two)
        largest = max(largest, float(difference.max()))
        equal += int(np.count_nonzero(difference <= 1e-9))
        count += difference.size
    return f"{equal / count:9.4%} equal, at most {largest:.3g}{unit} apart"


def remarks(ours: Path) -> str:
    """Return what this program has to say about its fits, a line each."""
    summary = json.loads((ours / "process" / "summary.json").read_text())
    return "".join(f"\n    note: {each}" for each in summary["remarks"])


def source_size(size: int) -> int:
    """Return the rows and columns of the slices before cropping."""
    return round(size * SOURCE_SIZE)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--size", type=int, default=2000, help="pixels after cropping")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chain-only", action="store_true", help="leave out the single steps")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for a run at most")
    options = parser.parse_args()
    source = source_size(options.size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slices = folder / "slices"
        slices.mkdir()
        stack = DemoStack(shape=(options.slices, source, source))
        for z in range(options.slices):
            stack.write_slice(slices, z)
        print(
            f"{options.slices} slices, {source} -> {options.size} px, "
            f"{options.workers} workers, {options.rounds} rounds\n"
            f"{'':28}{'PyStack3D':>11}{'here':>11}   faster{'PyStack3D':>13}{'here':>10}   outputs",
            flush=True,
        )
        comparison = Comparison(folder, options)
        for case in CASES[-1:] if options.chain_only else CASES:
            print(comparison.run(case), flush=True)


if __name__ == "__main__":
    main()
