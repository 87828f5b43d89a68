"""Options of commands that say where to compute, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pystack3d_dask.cli_progress import show_warning

if TYPE_CHECKING:
    from distributed import Client

    from pystack3d_dask.access import Certificates
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
    click.option("--tls-ca-file", type=FILE, help="Authorities whose certificates are let in."),
    click.option("--tls-cert", type=FILE, help="Your certificate (PEM)."),
    click.option("--tls-key", type=FILE, help="Its key (PEM, without a password)."),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where to compute, as the options say."""

    workers: int | None = None
    threads_per_worker: int = 1
    scheduler: str | None = None
    scheduler_file: Path | None = None
    host: str | None = None
    tls_ca_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def certificates(self) -> Certificates | None:
        """The certificates, if there are any."""
        given = {
            "--tls-ca-file": self.tls_ca_file,
            "--tls-cert": self.tls_cert,
            "--tls-key": self.tls_key,
        }
        missing = [name for name, path in given.items() if path is None]
        if self.tls_ca_file and self.tls_cert and self.tls_key:
            from pystack3d_dask.access import Certificates

            return Certificates(ca_file=self.tls_ca_file, cert=self.tls_cert, key=self.tls_key)
        if len(missing) < len(given):
            message = f"{', '.join(given)} go together; missing: {', '.join(missing)}"
            raise click.UsageError(message)
        return None


def place_options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Return what gives a command options; it takes what they say as one ``place``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gathered(**given: Any) -> Any:
            names = [each.name for each in fields(Place) if each.name in given]
            return command(place=Place(**{name: given.pop(name) for name in names}), **given)

        for option in reversed(options):
            gathered = option(gathered)
        return gathered

    return decorate


def client_for(
    pipeline: Pipeline, place: Place, certificates: Certificates | None = None
) -> AbstractContextManager[Client | None]:
    """Return the cluster to compute on, or None for this process, as a context."""
    several = (place.workers, place.scheduler, place.scheduler_file)
    if sum(given is not None for given in several) > 1:
        message = "one of --workers, --scheduler and --scheduler-file expected, found several"
        raise click.UsageError(message)
    scheduler, host = place.scheduler, place.host
    is_remote = scheduler is not None or place.scheduler_file is not None
    if is_remote and host is not None:
        message = "--host is where a scheduler of one's own listens, --scheduler uses another"
        raise click.UsageError(message)
    if scheduler is not None and certificates and not scheduler.startswith("tls://"):
        message = f"with certificates --scheduler tls://HOST:PORT is expected, found {scheduler}"
        raise click.UsageError(message)
    count = pipeline.workers if place.workers is None else place.workers
    if count == 0 and not is_remote:
        if host is not None or certificates is not None:
            message = "--host and --tls-... are for worker processes: add --workers N"
            raise click.UsageError(message)
        return nullcontext()
    debug = bool(click.get_current_context().find_root().params["debug"])
    if not debug:
        _silence_dask()
    from pystack3d_dask.access import LOOPBACK, exposure, is_loopback, own_address
    from pystack3d_dask.cluster import default_workers, local_client, remote_client

    if is_remote:
        return remote_client(scheduler, place.scheduler_file, certificates)
    address = own_address(host or LOOPBACK)
    if not is_loopback(address):
        show_warning(exposure(address, certificates))
    return local_client(
        count or default_workers(),
        place.threads_per_worker,
        host=address,
        certificates=certificates,
        debug=debug,
    )


def _silence_dask() -> None:
    """Leave it to the run to say what fails: dask logs tracebacks of lost connections."""
    import dask

    dask.config.set({"logging": {"distributed": "critical", "tornado.application": "critical"}})
