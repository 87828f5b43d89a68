"""Clusters of processes of their own, and certificates for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pystack3d_dask.access import Certificates

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the command openssl makes the certificates"
)


@contextmanager
def remote_cluster(directory: Path, certificates: Certificates | None = None) -> Iterator[Path]:
    """Run a scheduler and a worker, each a process of its own; yield the scheduler's file."""
    file = directory / "scheduler.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    common = {"cwd": directory, "env": environment, "stderr": subprocess.DEVNULL}
    shared = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    shared += tls_options(certificates) if certificates else []
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", *shared]
    scheduler += ["--port", "0", "--no-show", "--protocol", "tls" if certificates else "tcp"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", *shared]
    worker += ["--no-nanny", "--nthreads", "2"]
    processes = []
    try:
        processes.append(subprocess.Popen(scheduler, **common))
        processes.append(subprocess.Popen(worker, **common))
        from distributed import Client

        wait_for(file.exists)
        security = certificates and certificates.security
        with Client(scheduler_file=str(file), timeout="30s", security=security) as client:
            client.wait_for_workers(1, timeout=60)
        yield file
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(happened: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


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
