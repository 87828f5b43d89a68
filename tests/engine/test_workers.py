"""The workers that the scheduler knows."""

from __future__ import annotations

import pytest
from tornado.ioloop import PeriodicCallback

from pystack3d_dask.cluster.local import local_client
from pystack3d_dask.engine.workers import seen_workers


@pytest.fixture
def client():
    """Return a client that refreshes what it knows every few milliseconds, not seconds."""
    with local_client(2, gpus=("0",)) as client:
        refresh = PeriodicCallback(client._update_scheduler_info, 3)
        client.loop.add_callback(refresh.start)
        yield client
        client.loop.add_callback(refresh.stop)


def test_all_workers_are_seen_whenever_the_client_refreshes_what_it_knows(client):
    seen = [seen_workers(client) for _ in range(500)]
    assert {(len(workers.threads), len(workers.gpus)) for workers in seen} == {(2, 1)}
