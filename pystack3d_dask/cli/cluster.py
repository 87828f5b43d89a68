"""Options of commands that say where to compute, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pystack3d_dask.cli.printing import show_warning
from pystack3d_dask.cli.stopping import INTERRUPTED, orderly
from pystack3d_dask.cli.waiting import waiting
from pystack3d_dask.core.formatting import counted

if TYPE_CHECKING:
    from distributed import Client

    from pystack3d_dask.cluster.tls import Certificates
    from pystack3d_dask.engine.placement import Workers
    from pystack3d_dask.pipeline import Pipeline

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes; 0 computes in this process. By default nproc of the parameters, "
    "else one for each core that may be used.",
)
THREADS = click.option(
    "--threads-per-worker",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Blocks that a worker process computes at once.",
)
SCHEDULER = click.option("--scheduler", help="Address of a running Dask scheduler to use.")
SCHEDULER_FILE = click.option(
    "--scheduler-file",
    type=click.Path(exists=True, path_type=Path),
    help="File that a running Dask scheduler wrote.",
)
HOST = click.option(
    "--host",
    metavar="ADDRESS",
    help="Listen there, not on this machine alone, so that workers of others can join. Without "
    "TLS anyone who reaches the ports can run any program as you.",
)
TLS = (
    click.option(
        "--tls-ca-file", type=FILE, help="Authorities whose certificates are let in (PEM)."
    ),
    click.option("--tls-cert", type=FILE, help="Your certificate (PEM)."),
    click.option("--tls-key", type=FILE, help="Its key (PEM, without a password)."),
)
GPU = click.option(
    "--gpu",
    default="auto",
    show_default=True,
    metavar="auto|none|0,1",
    help="GPUs that get a worker process each: all that CuPy finds, none, or these.",
)
GPU_USE = click.option(
    "--gpu-use",
    type=click.Choice(["only", "prefer", "share", "off"]),
    help="Who does the work for GPUs, where there are GPU workers: they alone (prefer: CPU workers "
    "too, once the last one has been gone for a minute; only: for ten), they and CPU workers by "
    "speed (share), or CPUs (off). By default gpu of the parameters, else prefer.",
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where to compute, as the options say."""

    workers: int | None = None
    threads_per_worker: int = 1
    scheduler: str | None = None
    scheduler_file: Path | None = None
    host: str | None = None
    gpu: str = "auto"
    certificates: Certificates | None = None


def place_options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Return what gives a command options; it takes what they say as one ``place``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gathered(**given: Any) -> Any:
            files = {name: given.pop(name, None) for name in ("tls_ca_file", "tls_cert", "tls_key")}
            names = [each.name for each in fields(Place) if each.name in given]
            place = Place(
                **{name: given.pop(name) for name in names}, certificates=_certificates(**files)
            )
            return command(place=place, **given)

        for option in reversed(options):
            gathered = option(gathered)
        return gathered

    return decorate


def _certificates(
    tls_ca_file: Path | None, tls_cert: Path | None, tls_key: Path | None
) -> Certificates | None:
    given = {"--tls-ca-file": tls_ca_file, "--tls-cert": tls_cert, "--tls-key": tls_key}
    missing = [name for name, path in given.items() if path is None]
    if tls_ca_file and tls_cert and tls_key:
        from pystack3d_dask.cluster.tls import Certificates

        return Certificates(ca_file=tls_ca_file, cert=tls_cert, key=tls_key)
    if len(missing) < len(given):
        message = f"{', '.join(given)} go together; missing: {', '.join(missing)}"
        raise click.UsageError(message)
    return None


def client_for(pipeline: Pipeline, place: Place) -> AbstractContextManager[Client | None]:
    """Return the cluster to compute on, or None for this process, as a context."""
    scheduler = scheduler_of(place)
    if scheduler or place.scheduler_file:
        return _remote(place, scheduler)
    count = pipeline.project.workers if place.workers is None else place.workers
    if count == 0:
        if place.host is not None or place.certificates is not None:
            message = "--host and --tls-... are for worker processes: add --workers N"
            raise click.UsageError(message)
        return nullcontext()
    return _local(place, count)


def scheduler_of(place: Place) -> str | None:
    """Return the address of the scheduler to join: as given, else as dask is configured."""
    check_place(place)
    given = (place.workers, place.scheduler, place.scheduler_file, place.host)
    return place.scheduler if any(each is not None for each in given) else configured_scheduler()


def check_place(place: Place) -> None:
    """Refuse options that do not go together."""
    several = (place.workers, place.scheduler, place.scheduler_file)
    if sum(given is not None for given in several) > 1:
        message = "one of --workers, --scheduler and --scheduler-file expected, found several"
        raise click.UsageError(message)
    is_remote = place.scheduler is not None or place.scheduler_file is not None
    if is_remote and place.host is not None:
        message = "--host is where a scheduler of one's own listens, --scheduler uses another"
        raise click.UsageError(message)
    check_tls(place.scheduler, place.certificates)


def configured_scheduler() -> str | None:
    """Return the scheduler that dask is configured to use, and say so."""
    import dask

    address = dask.config.get("scheduler-address", None)
    if not address:
        return None
    click.echo(
        f"note: scheduler {address}: as dask is configured (scheduler-address, or "
        "DASK_SCHEDULER_ADDRESS); --workers N computes on this machine",
        err=True,
    )
    return str(address)


def check_tls(scheduler: str | None, certificates: Certificates | None) -> None:
    """Refuse certificates for a scheduler that has no use for them."""
    if scheduler and certificates and not scheduler.startswith("tls://"):
        message = f"with certificates --scheduler tls://HOST:PORT is expected, found {scheduler}"
        raise click.UsageError(message)


def listening_address(host: str, certificates: Certificates | None, who: str) -> str:
    """Return the address of this machine to listen at; warns if others can reach it."""
    from pystack3d_dask.cluster.tls import exposure, is_loopback, own_address

    address = own_address(host)
    if not is_loopback(address):
        show_warning(exposure(address, certificates, who))
    return address


def workers_of(place: Place) -> Workers | None:
    """Return the workers that a run would have, or None where the options do not tell.

    No worker stands for this process. Nothing is started.
    """
    from pystack3d_dask.engine.placement import Workers

    check_place(place)
    if place.scheduler or place.scheduler_file:
        from pystack3d_dask.engine.workers import seen_workers

        with _remote(place, place.scheduler) as client:
            return seen_workers(client)
    if place.workers is None:
        return None
    from pystack3d_dask.cluster.gpus import find_gpus

    names = [str(number) for number in range(place.workers)]
    gpus = dict.fromkeys(names[: len(find_gpus(place.gpu))], 1)
    others = dict.fromkeys(names[len(gpus) :], place.threads_per_worker)
    return Workers(threads=gpus | others, gpus=gpus)


def _remote(place: Place, scheduler: str | None) -> AbstractContextManager[Client]:
    silence_dask()
    from pystack3d_dask.cluster.local import remote_client

    return remote_client(scheduler, place.scheduler_file, place.certificates)


@contextmanager
def _local(place: Place, count: int | None) -> Iterator[Client]:
    with waiting("preparing workers"):
        silence_dask()
        from pystack3d_dask.cluster.cpus import default_workers
        from pystack3d_dask.cluster.gpus import find_gpus
        from pystack3d_dask.cluster.local import local_client
        from pystack3d_dask.cluster.tls import LOOPBACK

        workers, gpus = count or default_workers(), find_gpus(place.gpu)
    certificates = place.certificates
    context = local_client(
        workers,
        place.threads_per_worker,
        gpus=gpus,
        host=listening_address(place.host or LOOPBACK, certificates, "scheduler and workers"),
        certificates=certificates,
        debug=is_debugging(),
    )
    with ExitStack() as stack:
        with waiting(f"starting {counted(workers, 'worker')}", after=0):
            client = stack.enter_context(context)
        yield client


def join_as_workers(place: Place, cores: int | None) -> None:
    """Run workers for a scheduler, and say so."""
    silence_dask()
    from pystack3d_dask.cluster.cpus import default_workers
    from pystack3d_dask.cluster.gpus import find_gpus
    from pystack3d_dask.cluster.join import join

    scheduler = place.scheduler
    if scheduler is None and place.scheduler_file is None:
        scheduler = configured_scheduler()
    if (scheduler is None) == (place.scheduler_file is None):
        found = "both" if scheduler else "none"
        message = f"the address of a scheduler or --scheduler-file expected, found {found}"
        raise click.UsageError(message)
    check_tls(scheduler, place.certificates)
    gpus = find_gpus(place.gpu)
    left = (cores or default_workers()) - len(gpus)
    others = max(0 if gpus else 1, left // place.threads_per_worker)
    host = place.host and listening_address(place.host, place.certificates, "workers")

    ending = ExitStack()

    def tell(scheduler: str) -> None:
        ending.enter_context(orderly())  # from now on there are workers to be stopped
        kinds = f"{len(gpus)} with a GPU, {others} without"
        click.echo(f"workers of {scheduler}: {kinds}; Ctrl-C ends them", err=True)

    try:
        with ending:
            join(
                scheduler,
                place.scheduler_file,
                gpus=gpus,
                others=others,
                threads_per_worker=place.threads_per_worker,
                host=host,
                certificates=place.certificates,
                debug=is_debugging(),
                on_start=tell,
            )
    except KeyboardInterrupt:
        click.echo("interrupted: the workers have ended", err=True)
        click.get_current_context().exit(INTERRUPTED)
    click.echo("the scheduler is gone: the workers have ended", err=True)


def is_debugging() -> bool:
    """Return whether tracebacks are to be shown."""
    return bool(click.get_current_context().find_root().params["debug"])


def silence_dask() -> None:
    """Leave it to the run to say what fails: dask logs tracebacks of lost connections."""
    if is_debugging():
        return
    import dask

    dask.config.set({"logging": {"distributed": "critical", "tornado.application": "critical"}})
