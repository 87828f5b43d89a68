"""The command line: parse, call, print. What is printed is made elsewhere."""

from __future__ import annotations

import atexit
import gc
import logging
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pystack3d_dask.cli import look as cli_look
from pystack3d_dask.cli.cluster import (
    GPU,
    GPU_USE,
    HOST,
    SCHEDULER,
    SCHEDULER_FILE,
    THREADS,
    TLS,
    WORKERS,
    Place,
    client_for,
    join_as_workers,
    place_options,
    workers_of,
)
from pystack3d_dask.cli.collecting import uncollected
from pystack3d_dask.cli.printing import (
    ShowRecord,
    print_summary,
    show_error,
    show_usage_error,
    show_warning,
)
from pystack3d_dask.cli.progress import bars, show_progress
from pystack3d_dask.cli.project import PROJECT, STEPS
from pystack3d_dask.cli.project import open_pipeline as _open
from pystack3d_dask.cli.stopping import INTERRUPTED, STOPPED, orderly, stoppable
from pystack3d_dask.cli.waiting import waiting
from pystack3d_dask.cluster.cpus import leave_cores_to_blocks
from pystack3d_dask.core.formatting import counted, in_units
from pystack3d_dask.errors import StackError, explain

if TYPE_CHECKING:
    from distributed import Client

    from pystack3d_dask.core.gpu_policy import GpuUse
    from pystack3d_dask.engine.summary import RunSummary
    from pystack3d_dask.io.tiff.stack import Samples
    from pystack3d_dask.pipeline import Pipeline


def main() -> None:
    """Run the command line; errors end in a message and an exit status, not in a traceback."""
    debug = "--debug" in sys.argv
    arguments = ["--debug"] * debug + [each for each in sys.argv[1:] if each != "--debug"]
    warnings.showwarning = show_warning
    log = logging.getLogger("pystack3d_dask")
    if not any(isinstance(each, ShowRecord) for each in log.handlers):
        log.addHandler(ShowRecord())
    leave_cores_to_blocks()
    atexit.register(gc.freeze)  # else the interpreter looks through all that it ever imported
    try:
        with stoppable():
            status = cli.main(arguments, prog_name="pystack3d-dask", standalone_mode=False)
    except click.ClickException as error:
        show_usage_error(error)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(STOPPED, err=True)
        status = INTERRUPTED
    except StackError as error:
        if debug:
            raise
        show_error(error)
        status = error.exit_status
    except OSError as error:
        if debug:
            raise
        show_error(explain(error))
        status = 1
    except Exception as error:
        if debug:
            raise
        show_error(
            f"{type(error).__name__}: {error}\n"
            "This was not foreseen; with --debug the command shows where it comes from."
        )
        status = 1
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pystack3d-dask")
@click.option("--debug", is_flag=True, help="Show tracebacks; may stand anywhere.")
def cli(debug: bool) -> None:
    """Correct large 3D image stacks before segmentation.

    A PROJECT is a directory with slices and a parameter file (params.toml), or that file.
    """


for look in (cli_look.preview, cli_look.sweep, cli_look.suggest):
    cli.add_command(look)


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--samples",
    type=click.Choice(["luminance", "channels"]),
    help="How to read color: weighted to one value, or a channel of each sample.",
)
def init(directory: Path, samples: Samples | None) -> None:
    """Write a commented params.toml for the slices in DIRECTORY."""
    from pystack3d_dask.evidence import look, take_sample
    from pystack3d_dask.project.acquisition import describe
    from pystack3d_dask.project.template import refuse_existing, write_params

    refuse_existing(directory)
    with waiting(f"looking at slices in {directory}"):
        acquisition = describe(directory, samples)
        findings = look(take_sample(acquisition.source, acquisition.area.value))
        written = write_params(directory, acquisition, findings)
    click.echo(f"wrote {written}")
    for name, finding in findings.items():
        click.echo(f"  {name} is {'on' if finding.is_found else 'off'}: {finding.reason}")
    for line in acquisition.taken:
        click.echo(f"  {line}")
    for note in acquisition.notes:
        click.echo(f"note: {note}", err=True)


@cli.command()
@PROJECT
@place_options(WORKERS, THREADS, SCHEDULER, SCHEDULER_FILE, *TLS, GPU)
@GPU_USE
@STEPS
@uncollected()
def plan(project: Path, place: Place, gpu_use: GpuUse | None, steps: str | None) -> None:
    """Print what a run would do: passes, reads, writes, tasks, memory, disk, time, and where.

    With options that say where to compute it tells how many workers of which kind that is.
    """
    from pystack3d_dask.core.plan import describe
    from pystack3d_dask.engine.placement import whereabouts
    from pystack3d_dask.project.known import tasks_done

    pipeline = _open(project, steps, gpu_use)
    _tell_changes(pipeline)
    where = partial(whereabouts, pipeline.project.gpu_use, workers=workers_of(place))
    with waiting("planning"):
        described = describe(pipeline.plan(), where, partial(tasks_done, pipeline.project))
    click.echo(described)


@cli.command()
@place_options(
    click.argument("scheduler", required=False), SCHEDULER_FILE, HOST, THREADS, *TLS, GPU
)
@click.option(
    "--cores",
    type=click.IntRange(min=1),
    help="Cores for workers, one for each GPU included; by default all that may be used.",
)
def worker(place: Place, cores: int | None) -> None:
    """Work for a running Dask scheduler until it is gone: SCHEDULER is its address.

    Starts a process with one thread for each GPU, which carries the resource GPU, and processes
    that use the CPU on the cores that are left. What dies is started again.
    """
    join_as_workers(place, cores)


@cli.command()
@PROJECT
@place_options(WORKERS, THREADS, SCHEDULER, SCHEDULER_FILE, HOST, *TLS, GPU)
@GPU_USE
@STEPS
@click.option("--restart", is_flag=True, help="Remove results and records, and begin anew.")
@click.option("--yes", is_flag=True, help="With --restart: do not ask.")
@click.option("--no-report", is_flag=True, help="Do without process/report.html.")
def run(
    project: Path,
    place: Place,
    gpu_use: GpuUse | None,
    steps: str | None,
    restart: bool,
    yes: bool,
    no_report: bool,
) -> None:
    """Correct a stack, continuing where an earlier run stopped."""
    from pystack3d_dask.project.lock import check_free

    pipeline = _open(project, steps, gpu_use)
    _tell_changes(pipeline)
    anew = restart and _may_clear(pipeline, yes)
    if not anew and not pipeline.plan().passes:
        if not pipeline.is_done():  # an earlier run was killed when it had only to clear up
            _run(pipeline, None)
        click.echo(f"nothing to do: {pipeline.project.workspace.result} is complete")
        if not no_report and not pipeline.project.workspace.report.exists():
            _write_report(pipeline)
        return
    check_free(pipeline.project.workspace.process)
    with client_for(pipeline, place) as client:
        print_summary(_run(pipeline, client, anew))
    if not no_report:
        _write_report(pipeline)


@cli.command()
@PROJECT
@click.option(
    "--tiff",
    type=click.Path(path_type=Path),
    metavar="OUTDIR",
    help="A TIFF file per slice, in a directory per channel.",
)
@click.option(
    "--bigtiff",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="One BigTIFF; with several channels FILE gets the name of each.",
)
@click.option(
    "--ome-zarr04",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="An OME-Zarr 0.4 image, for programs that cannot read the result (0.5).",
)
@click.option(
    "--reference-layout",
    is_flag=True,
    help="The files in process/STEP/CHANNEL that scripts for PyStack3D read.",
)
@click.option("--step", help="With --tiff or --bigtiff: what this step left, if it is stored.")
@click.option(
    "--removed",
    metavar="STEP",
    help="With --tiff or --bigtiff: what this step took away (its input less its output, float32).",
)
@STEPS
@click.option("--overwrite", is_flag=True, help="Replace files of an earlier export.")
@click.pass_context
def export(
    context: click.Context,
    project: Path,
    tiff: Path | None,
    bigtiff: Path | None,
    ome_zarr04: Path | None,
    reference_layout: bool,
    step: str | None,
    removed: str | None,
    steps: str | None,
    overwrite: bool,
) -> None:
    """Write the result in another format, with the source's private tags and compression."""
    targets = {"--tiff": tiff, "--bigtiff": bigtiff, "--ome-zarr04": ome_zarr04}
    given = [name for name, path in targets.items() if path is not None]
    given += ["--reference-layout"] * reference_layout
    if len(given) != 1:
        expected = f"one of {', '.join(targets)} and --reference-layout expected"
        message = f"{expected}, found {' and '.join(given) or 'none'}"
        raise click.UsageError(message)
    of_step = {"--step": step, "--removed": removed}
    named = [name for name, value in of_step.items() if value is not None]
    if named and given[0] not in ("--tiff", "--bigtiff"):
        message = f"{named[0]} goes with --tiff or --bigtiff, not with {given[0]}"
        raise click.UsageError(message)
    if len(named) > 1:
        message = f"one of {' and '.join(named)} expected, found both"
        raise click.UsageError(message)
    pipeline = _open(project, steps)
    try:
        with orderly(), bars("slices") as show:

            def on_slice(event: Any) -> None:
                show("export", "export", event.done, event.total)

            options: dict[str, Any] = {"overwrite": overwrite, "on_slice": on_slice}
            if tiff is not None:
                pipeline.export_tiff(tiff, step=step, removed=removed, **options)
                written = [tiff]
            elif bigtiff is not None:
                written = pipeline.export_bigtiff(bigtiff, step=step, removed=removed, **options)
            elif ome_zarr04 is not None:
                written = [pipeline.export_ome_zarr04(ome_zarr04, **options)]
            else:
                written = pipeline.export_reference_layout(**options)
    except KeyboardInterrupt:
        click.echo("interrupted: files that are there are whole, --overwrite replaces", err=True)
        context.exit(INTERRUPTED)
    for path in written:
        click.echo(f"wrote {path}")


@cli.command()
@PROJECT
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write each picture as PNG and its numbers as CSV, for papers.",
)
@STEPS
def report(project: Path, files: Path | None, steps: str | None) -> None:
    """Write process/report.html: what runs have found out and done, also interrupted ones."""
    pipeline = _open(project, steps)
    with waiting("drawing the report"):
        written = pipeline.report(files)
    click.echo(f"report: {written}")
    if files is not None:
        click.echo(f"pictures and numbers: {files}")


@cli.command()
@PROJECT
def verify(project: Path) -> None:
    """Check what runs have stored against their records."""
    from pystack3d_dask.engine.verify import verify

    pipeline = _open(project, None)
    with orderly(), bars("files") as show:
        found = verify(pipeline.project, lambda done, count: show(0, "verify", done, count))
    verdict = f"{len(found.damages)} damaged" if found.damages else "nothing is damaged"
    compared = f"compared {counted(found.files, 'file')}, {in_units(found.bytes)}"
    click.echo(f"{compared}, with their records: {verdict}")
    for damage in found.damages:
        click.echo(f"warning: damaged: {damage.path}: {damage.reason}", err=True)
    if found.damages:
        message = f"{len(found.damages)} damaged; `pystack3d-dask run` computes them again"
        raise StackError(message)
    if not found.is_complete:
        click.echo("note: the result is not complete; `pystack3d-dask run` continues it", err=True)


@cli.command()
@PROJECT
def clean(project: Path) -> None:
    """Free the ingested stack and what is stored between passes; the result stays."""
    pipeline = _open(project, None)
    with orderly(), waiting("freeing what is stored between passes"):
        freed = pipeline.clean()
    for name, size in freed.items():
        click.echo(f"freed {in_units(size)}: {name}")
    if not freed:
        click.echo("nothing to free")


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--size",
    type=click.IntRange(64, 2000),
    default=256,
    show_default=True,
    help="Rows and columns of a slice.",
)
@click.option(
    "--slices", type=click.IntRange(min=1), default=40, show_default=True, help="Number of slices."
)
@click.option(
    "--texture",
    type=click.Choice(["porous", "cellular"]),
    default="porous",
    show_default=True,
    help="An electrode with pores, or tissue.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Another one, another specimen.",
)
@click.option(
    "--bits",
    type=click.Choice(["8", "16"]),
    default="8",
    show_default=True,
    help="Of a pixel.",
)
@place_options(WORKERS)
def demo(
    directory: Path,
    size: int,
    slices: int,
    texture: Any,
    seed: int,
    bits: str,
    place: Place,
) -> None:
    """Make a stack with known defects in DIRECTORY, correct it and score the result."""
    from pystack3d_dask.demo import DemoStack, score, score_result
    from pystack3d_dask.lazy.corrections import open_result

    dtype: Any = f"uint{bits}"
    stack = DemoStack(shape=(slices, size, size), texture=texture, seed=seed, dtype=dtype)
    with waiting(f"making {slices} slices"):
        params = stack.write(directory)
    click.echo(f"{slices} slices of {size} x {size} pixels with known defects in {directory}")
    pipeline = _open(params, None)
    with client_for(pipeline, place) as client:
        print_summary(_run(pipeline, client))
    _write_report(pipeline)
    with waiting("comparing the result with the truth"):
        before = score(stack.uncorrected(), stack.truth(stack.z))
        after = score_result(open_result(directory)[0], stack)
    click.echo(
        f"distance to the truth, in gray levels: {before.rmse:.1f} before, {after.rmse:.1f} after\n"
        f"brightness jumps between slices:       {before.jumps:.1f} before, {after.jumps:.1f} after"
    )


def _tell_changes(pipeline: Pipeline) -> None:
    from pystack3d_dask.project.changes import changed_slices

    with waiting("comparing the slices with those of the last run"):
        found = changed_slices(pipeline.project)
    if found:
        click.echo(f"note: {found}", err=True)


def _may_clear(pipeline: Pipeline, yes: bool) -> bool:
    """Return whether there is something to remove; asks first."""
    process = pipeline.project.workspace.process
    if not process.exists():
        return False
    if not yes:
        if not sys.stdin.isatty():
            message = f"--restart removes the results and records in {process}: add --yes to do it"
            raise click.UsageError(message)
        click.confirm(f"remove the results and records in {process}?", abort=True)
    return True


def _run(pipeline: Pipeline, client: Client | None, restart: bool = False) -> RunSummary:
    with orderly(), show_progress(client) as on_block:
        return pipeline.run(client=client, on_block=on_block, restart=restart)


def _write_report(pipeline: Pipeline) -> None:
    """Write the report; the run is done and stays so, whatever goes wrong."""
    try:
        with waiting("drawing the report"):
            written = pipeline.report()
        click.echo(f"report: {written}")
    except Exception as error:
        click.echo(f"warning: the report cannot be written: {error}", err=True)
