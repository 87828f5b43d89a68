"""Who gets into a cluster: addresses, certificates, and what is said of them."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from contextlib import suppress
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from clusters import make_certificates, needs_openssl, remote_cluster, tls_options
from conftest import listing, result
from distributed import Client
from distributed.security import Security

from pystack3d_dask.cluster.local import local_client, remote_client
from pystack3d_dask.cluster.tls import Certificates, exposure, is_loopback, own_address
from pystack3d_dask.engine.workers import worker_info
from pystack3d_dask.errors import AccessError, StackError

EVERYWHERE = "0.0.0.0"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Certificates:
    """Return certificates of an authority that nobody here knows."""
    return make_certificates(tmp_path_factory.mktemp("tls") / "foreign")


def listening() -> set[str]:
    """Return the addresses at which this process listens."""
    sockets = psutil.Process().net_connections("inet")
    return {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}


def http_addresses(dask_scheduler=None, dask_worker=None) -> set[str]:
    server = (dask_scheduler or dask_worker).http_server
    return {each.getsockname()[0] for each in server._sockets.values()}


def stranger(certificates: Certificates) -> ssl.SSLContext:
    """Return what it takes to speak TLS with a cluster, but for a certificate."""
    context = ssl.create_default_context(cafile=certificates.ca_file)
    context.check_hostname = False
    return context


def answer(address: str, context: ssl.SSLContext | None) -> bytes:
    """Return what is said to one who connects; nothing if that is refused."""
    url = urlsplit(address)
    with (
        suppress(ssl.SSLError, ConnectionError),
        socket.create_connection((url.hostname, url.port), timeout=20) as plain,
    ):
        if context is None:
            plain.sendall(b"no TLS, please" * 9)
            return plain.recv(1)
        with context.wrap_socket(plain) as stream:
            return stream.recv(1)
    return b""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_this_machine_alone_is_told_from_others(host):
    assert is_loopback(own_address(host))


@pytest.mark.parametrize("address", [EVERYWHERE, "::", "192.0.2.1", "fe80::1%eth0"])
def test_what_others_reach_is_told_from_this_machine(address):
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "nowhere.invalid", "127.0.0.1:80", "tcp://127.0.0.1", "a" * 99]
)
def test_only_addresses_of_this_machine_can_be_listened_at(call, make_project, host):
    project = make_project()
    before = listing(project)
    refused = call("run", project, "--workers", 1, "--host", host)
    assert refused.status == 2
    assert f"{host!r}: a name or an address of this machine expected" in refused.err
    assert listing(project) == before


@needs_openssl
class TestCertificates:
    def test_a_key_of_another_certificate_is_refused(self, certificates, foreign):
        with pytest.raises(AccessError, match=r"cert\.pem, .*key\.pem: a certificate and its key"):
            Certificates(ca_file=certificates.ca_file, cert=certificates.cert, key=foreign.key)

    def test_what_is_no_certificate_is_refused_by_name(self, certificates, tmp_path):
        text = tmp_path / "notes.txt"
        text.write_text("not PEM")
        with pytest.raises(AccessError, match=r"notes\.txt: certificates in PEM format expected"):
            Certificates(ca_file=text, cert=certificates.cert, key=certificates.key)

    def test_a_key_with_a_password_is_refused_without_asking_for_it(self, certificates, tmp_path):
        locked = tmp_path / "locked.pem"
        command = ["openssl", "ec", "-in", str(certificates.key), "-out", str(locked), "-aes128"]
        subprocess.run([*command, "-passout", "pass:secret"], check=True, capture_output=True)
        with pytest.raises(AccessError, match=r"locked\.pem: .*the key has a password"):
            Certificates(ca_file=certificates.ca_file, cert=certificates.cert, key=locked)

    def test_one_that_its_own_authority_did_not_sign_starts_no_workers(self, certificates, foreign):
        mixed = Certificates(ca_file=certificates.ca_file, cert=foreign.cert, key=foreign.key)
        with (
            pytest.raises(StackError, match=r"workers cannot be started: .*certificate"),
            local_client(1, certificates=mixed),
        ):
            pass


@needs_openssl
def test_an_open_cluster_lets_in_those_with_a_certificate_alone(certificates, foreign):
    with local_client(1, host=EVERYWHERE, certificates=certificates) as client:
        address = client.scheduler.address
        workers = worker_info(client)
        nannies = [worker["nanny"] for worker in workers.values()]
        assert address.startswith("tls://")
        assert client.submit(sum, [1, 2]).result() == 3
        assert set().union(*client.run(listening).values()) == {EVERYWHERE, "127.0.0.1"}
        # HTTP is not encrypted: that of the scheduler and of the workers stays here
        assert set().union(*client.run(http_addresses).values()) == {"127.0.0.1"}
        assert client.run_on_scheduler(http_addresses) == {"127.0.0.1"}
        assert urlsplit(client.dashboard_link).hostname == "127.0.0.1"
        with pytest.raises(OSError, match="certificate does not match"):
            Client(address, security=foreign.security, timeout="10s")
        with pytest.raises(OSError, match="closed"):
            Client(address.replace("tls:", "tcp:"), security=Security(), timeout="10s")
        friend = stranger(certificates)
        friend.load_cert_chain(certificates.cert, certificates.key)
        for door in (address, *workers, *nannies):
            assert answer(door, friend) != b""
            assert answer(door, stranger(certificates)) == answer(door, None) == b""


@needs_openssl
def test_a_run_on_an_open_cluster_is_the_same_and_warns(call, make_project, certificates):
    project = make_project(channels=["ESB", "SE2"])
    assert call("run", project, "--workers", 0).status == 0
    expected = result(project)
    options = ["--workers", 1, "--host", EVERYWHERE, *tls_options(certificates)]
    done = call("run", project, "--restart", "--yes", *options)
    assert done.status == 0, done.err
    assert f"warning: {exposure(EVERYWHERE, certificates)}" in done.err
    assert re.search(r"^scheduler: tls://", done.err, re.MULTILINE)
    assert "dashboard: http://127.0.0.1:" in done.err
    np.testing.assert_array_equal(result(project), expected)


@needs_openssl
def test_a_scheduler_with_tls_is_joined_with_certificates_alone(
    call, make_project, certificates, foreign, tmp_path
):
    project = make_project()
    assert call("run", project, "--workers", 0).status == 0
    expected = result(project)
    (tmp_path / "cluster").mkdir()
    with remote_cluster(tmp_path / "cluster", certificates) as file:
        address = re.search(r"tls://127\.0\.0\.1:\d+", file.read_text())[0]
        again = ["run", project, "--restart", "--yes"]
        for where in (["--scheduler", address], ["--scheduler-file", file]):
            before = listing(project)
            for given, message in (([], "wants TLS"), (tls_options(foreign), "does not match")):
                failed = call(*again, *where, *given)
                assert failed.status == 1
                assert str(where[1]) in failed.err
                assert message in failed.err
                assert listing(project) == before
            done = call(*again, *where, *tls_options(certificates))
            assert done.status == 0, done.err
            assert not re.search("warning: (?!voxel_size)", done.err)
            np.testing.assert_array_equal(result(project), expected)


@needs_openssl
def test_a_scheduler_without_tls_gets_nothing_from_those_who_want_it(certificates, tmp_path):
    with (
        remote_cluster(tmp_path) as file,
        pytest.raises(StackError, match="encryption required"),
        remote_client(None, file, certificates),
    ):
        pass


class Started(Exception):
    """Workers would have been started."""


@pytest.fixture
def not_started(monkeypatch):
    """Keep open ports without TLS from being there, even in tests."""

    def refuse(*arguments, **options):
        raise Started(options["host"])

    monkeypatch.setattr("pystack3d_dask.cluster.local.local_client", refuse)


@pytest.mark.usefixtures("not_started")
@pytest.mark.parametrize("host", [EVERYWHERE, "::"])
def test_open_ports_without_tls_are_warned_of(call, make_project, host):
    if host == "::" and not socket.has_ipv6:
        pytest.skip("needs IPv6, without which this Python was built")
    told = call("run", make_project(), "--workers", 1, "--host", host)
    assert f"warning: scheduler and workers listen at {host} without TLS: anyone " in told.err
    assert "can run any program as this user" in told.err
    assert f"Started: {host}" in told.err


@pytest.mark.usefixtures("not_started")
@pytest.mark.parametrize("options", [[], ["--host", "localhost"], ["--host", "127.0.0.1"]])
def test_nothing_is_to_be_warned_of_on_this_machine(call, make_project, options):
    told = call("run", make_project(), "--workers", 1, *options)
    assert not re.search("warning: (?!voxel_size)", told.err)
    assert "Started: " in told.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--tls-ca-file", "{}"], "go together; missing: --tls-cert, --tls-key"),
        (["--tls-cert", "{}", "--tls-key", "{}"], "go together; missing: --tls-ca-file"),
        (["--tls-cert", "nowhere.pem"], "'--tls-cert': File 'nowhere.pem' does not exist"),
        (["--tls-ca-file", "."], "'--tls-ca-file': File '.' is a directory"),
        (["--host", EVERYWHERE, "--workers", "0"], "add --workers N"),
        (["--host", EVERYWHERE, "--scheduler", "tcp://h:1"], "--scheduler uses another"),
        (["--host", EVERYWHERE, "--scheduler-file", "{}"], "--scheduler uses another"),
    ],
)
def test_options_that_do_not_go_together_end_with_status_2(call, make_project, options, expected):
    project = make_project()
    params = str(project / "params.toml")
    before = listing(project)
    refused = call("run", project, *(each.replace("{}", params) for each in options))
    assert refused.status == 2
    assert expected in refused.err
    assert listing(project) == before


@needs_openssl
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler tls://HOST:PORT is expected"),
        (["--scheduler", "127.0.0.1:1"], "--scheduler tls://HOST:PORT is expected"),
        (["--workers", "0"], "add --workers N"),
    ],
)
def test_certificates_are_for_encrypted_connections(
    call, make_project, certificates, options, expected
):
    refused = call("run", make_project(), *options, *tls_options(certificates))
    assert refused.status == 2
    assert expected in refused.err


@needs_openssl
def test_files_that_are_no_certificates_end_with_status_2(call, make_project, certificates):
    project = make_project()
    mixed = tls_options(certificates)
    mixed[1] = str(project / "params.toml")
    refused = call("run", project, *mixed)
    assert refused.status == 2
    assert "params.toml: certificates in PEM format expected" in refused.err
    assert not (project / "process").exists()
