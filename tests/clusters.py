"""Clusters of processes of their own, and certificates for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from distributed import Client
from processes import Process, kill_all, started, wait_for, wait_until

from pystack3d_dask.cluster.tls import Certificates
from pystack3d_dask.engine.workers import worker_info

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None,
    reason="needs the command openssl, which makes the certificates: install OpenSSL",
)
LOCAL = ("--host", "127.0.0.1")


def dask(*words: str, on: Sequence[str] = ()) -> list[str]:
    """Return the command of a scheduler or a worker; ``on`` is what runs it elsewhere."""
    return [*on, sys.executable, "-m", "dask", *words, "--no-dashboard"]


@contextmanager
def running(
    file: Path, scheduler: Sequence[str], *workers: Sequence[str]
) -> Iterator[list[Process]]:
    """Run a scheduler, which writes ``file``, and workers that read it, a process each."""
    file.unlink(missing_ok=True)
    with ExitStack() as stack:
        processes = []
        for command in (scheduler, *workers):
            words = [*command, "--scheduler-file", str(file)]
            process = started(words, file.parent, output=subprocess.DEVNULL)
            processes.append(stack.enter_context(process))
            wait_until(lambda: is_whole(file), processes[0])
        yield processes


def is_whole(file: Path) -> bool:
    """Return whether a scheduler has written its file to the end."""
    try:
        return "address" in json.loads(file.read_text())
    except (OSError, ValueError):
        return False


@contextmanager
def remote_cluster(directory: Path, certificates: Certificates | None = None) -> Iterator[Path]:
    """Run a scheduler and a worker with two threads; yield the scheduler's file."""
    file = directory / "scheduler.json"
    tls = tls_options(certificates) if certificates else []
    protocol = ["--protocol", "tls"] if certificates else []
    scheduler = dask("scheduler", *LOCAL, "--port", "0", *protocol, *tls)
    with running(file, scheduler, dask("worker", *LOCAL, "--nthreads", "2", *tls)):
        security = certificates and certificates.security
        with Client(scheduler_file=str(file), timeout="30s", security=security) as client:
            client.wait_for_workers(1, timeout=60)
        yield file


def tls_options(certificates: Certificates) -> list[str]:
    """Return the options by which commands, ours and Dask's, take certificates."""
    files = {"ca-file": certificates.ca_file, "cert": certificates.cert, "key": certificates.key}
    return [part for name, path in files.items() for part in (f"--tls-{name}", str(path))]


def make_certificates(directory: Path) -> Certificates:
    """Make an authority of one's own, and a certificate that it signs."""
    directory.mkdir()
    # Python 3.13 verifies strictly: an authority may sign, a certificate names the key that did
    (directory / "extensions").write_text("authorityKeyIdentifier=keyid\n", encoding="ascii")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    signed += ["-extfile", "extensions"]
    authority = ["-subj", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign"]
    for command in (
        ["req", "-x509", *new, *authority, "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", *new, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=user"],
        ["x509", "-req", "-in", "request.pem", "-out", "cert.pem", *signed],
    ):
        subprocess.run(["openssl", *command], cwd=directory, check=True, capture_output=True)
    files = {"ca_file": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
    return Certificates(**{name: directory / file for name, file in files.items()})


@dataclass
class Cluster:
    """A client, and the processes that tests kill: nannies, of workers that come again."""

    client: Client
    nannies: dict[str, Process]

    def worker(self, name: str) -> int:
        """Return the process of a worker."""
        pids = self.client.run(os.getpid)
        info = worker_info(self.client)
        return next(pid for address, pid in pids.items() if info[address]["name"] == name)

    def end(self, *names: str) -> None:
        """Switch off the hosts of workers, as it were."""
        workers = [self.worker(name) for name in names]
        kill_all([*(self.nannies[name].pid for name in names), *workers])
        wait_for(lambda: not any(map(psutil.pid_exists, workers)))


@contextmanager
def mixed_cluster(directory: Path) -> Iterator[Cluster]:
    """Run a scheduler, a worker that carries a GPU and one that does not."""
    file, worker = directory / "scheduler.json", ("worker", "--nthreads", "1", "--name")
    scheduler = dask("scheduler", *LOCAL, "--port", "0")
    labeled = dask(*worker, "labeled", "--resources", "GPU=1")
    with (
        running(file, scheduler, labeled, dask(*worker, "plain")) as (_, *nannies),
        Client(scheduler_file=str(file), timeout="60s", set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=60)
        yield Cluster(client, dict(zip(("labeled", "plain"), nannies, strict=True)))
