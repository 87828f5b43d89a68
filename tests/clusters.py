"""Clusters of processes of their own, and certificates for them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from processes import Process, started, wait_until

from pystack3d_dask.cluster.tls import Certificates

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
    from distributed import Client

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
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    for command in (
        ["req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority"],
        ["req", *new, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=user"],
        ["x509", "-req", "-in", "request.pem", "-out", "cert.pem", *signed],
    ):
        subprocess.run(["openssl", *command], cwd=directory, check=True, capture_output=True)
    files = {"ca_file": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
    return Certificates(**{name: directory / file for name, file in files.items()})
