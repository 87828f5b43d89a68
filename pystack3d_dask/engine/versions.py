"""Whether workers have the versions that the driving process has; looked at before a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pystack3d_dask.core.formatting import listed
from pystack3d_dask.engine.workers import worker_info
from pystack3d_dask.errors import VersionError

if TYPE_CHECKING:
    from distributed import Client

LOG = logging.getLogger("pystack3d_dask")
OURS = "pystack3d_dask"
OTHERS = ("python", "dask", "distributed", "numpy", "zarr", "numcodecs")
SHOWN = 5  # workers

Versions = Mapping[str, str | None]  # by package; None for one that is not there
Found = dict[str | None, list[str]]  # workers by version


def check_versions(client: Client) -> None:
    """Compare the versions of workers with those of this process; log what differs.

    Parameters
    ----------
    client : distributed.Client
        The cluster.

    Raises
    ------
    VersionError
        When workers have another version of this package, or none.
    """
    told: Mapping[str, Any] = client.get_versions(packages=[OURS, *OTHERS[1:]])
    names = worker_info(client)
    workers = {
        str(names.get(address, {}).get("name", address)): found["packages"]
        for address, found in told["workers"].items()
    }
    own: Versions = told["client"]["packages"]
    if found := differing(OURS, own, workers):
        message = (
            f"{OURS} is {own[OURS]} here, and another version on workers: {_listed(found)}; "
            f"install {own[OURS]} there and start them again, or run with the version that they "
            "have"
        )
        raise VersionError(message)
    others = {package: differing(package, own, workers) for package in OTHERS}
    parts = [
        f"{package} {_short(own[package])} here, {_listed(found)}"
        for package, found in others.items()
        if found
    ]
    if parts:
        LOG.warning("versions differ, and so may values: %s", "; ".join(parts))


def differing(package: str, own: Versions, workers: Mapping[str, Versions]) -> Found:
    """Return the workers that have another version of a package than ``own``, by version."""
    found: Found = {}
    for name, versions in sorted(workers.items()):
        if versions.get(package) != own.get(package):
            found.setdefault(versions.get(package), []).append(name)
    return found


def _listed(found: Found) -> str:
    parts = (f"{_short(version)} on {listed(names, SHOWN)}" for version, names in found.items())
    return ", ".join(parts)


def _short(version: str | None) -> str:
    return "none" if version is None else version.removesuffix(".final.0")
