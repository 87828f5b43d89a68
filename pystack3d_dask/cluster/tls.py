"""Who may reach the ports of a cluster: the address it listens at, and its certificates.

Whoever reaches a Dask scheduler or worker can have it run any program.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from socket import AI_PASSIVE, SOCK_STREAM, getaddrinfo, socket

from distributed.security import Security

from pystack3d_dask.errors import AccessError

LOOPBACK = "127.0.0.1"
ROLES = ("client", "scheduler", "worker")


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files, in PEM format, for encrypted connections between those who hold a certificate.

    Parameters
    ----------
    ca_file : Path
        Certificates of the authorities that are trusted.
    cert, key : Path
        The certificate of this user, and its key, without a password.

    Raises
    ------
    AccessError
        When they cannot be used.
    """

    ca_file: Path
    cert: Path
    key: Path

    def __post_init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self.ca_file)
        except OSError as error:  # of which errors of TLS are a kind
            message = f"{self.ca_file}: certificates in PEM format expected: {_reason(error)}"
            raise AccessError(message) from error
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except OSError as error:
            message = (
                f"{self.cert}, {self.key}: a certificate and its key in PEM format expected: "
                f"{_reason(error)}"
            )
            raise AccessError(message) from error

    @property
    def security(self) -> Security:
        """What Dask wants to have for scheduler, workers and clients alike."""
        files = {f"tls_{role}_cert": str(self.cert) for role in ROLES}
        files |= {f"tls_{role}_key": str(self.key) for role in ROLES}
        return Security(require_encryption=True, tls_ca_file=str(self.ca_file), **files)


def own_address(host: str) -> str:
    """Return the address of this machine that a name or an address stands for.

    Raises
    ------
    AccessError
        When it is no address of this machine.
    """
    try:
        family, _, _, _, address = getaddrinfo(host, 0, type=SOCK_STREAM, flags=AI_PASSIVE)[0]
        with socket(family, SOCK_STREAM) as probe:
            probe.bind(address)
    except (OSError, ValueError) as error:
        message = (
            f"{host!r}: a name or an address of this machine expected, 0.0.0.0 for all that it "
            f"has: {_reason(error)}"
        )
        raise AccessError(message) from error
    return str(address[0])


def is_loopback(address: str) -> bool:
    """Return whether only processes on this machine can reach an address."""
    return ip_address(address.partition("%")[0]).is_loopback


def exposure(
    address: str, certificates: Certificates | None, who: str = "scheduler and workers"
) -> str:
    """Return what it means to listen at an address that other machines reach."""
    where = f"{who} listen at {address}"
    if certificates is None:
        return (
            f"{where} without TLS: anyone who reaches their ports can run any program as this "
            "user; --tls-ca-file, --tls-cert and --tls-key keep others out"
        )
    return (
        f"{where} with TLS: anyone who holds a certificate of an authority in "
        f"{certificates.ca_file} can run any program as this user"
    )


def _no_password() -> str:
    message = "the key has a password, which workers cannot be asked for"
    raise OSError(message)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
