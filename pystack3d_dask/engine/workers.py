"""The workers that the scheduler knows, asked of the scheduler itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distributed import Client

from pystack3d_dask.engine.placement import Workers


def worker_info(client: Client) -> Mapping[str, Mapping[str, Any]]:
    """Return what the scheduler knows of each worker now, by address.

    ``Client.scheduler_info`` keeps the answer where the client, every two seconds, writes one
    that lists no workers; so it returns none now and then, though there are some.
    """
    found: Mapping[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)
    workers: Mapping[str, Mapping[str, Any]] = found["workers"]
    return workers


def seen_workers(client: Client) -> Workers:
    """Return the workers that the scheduler knows now."""
    return Workers.of(worker_info(client))
