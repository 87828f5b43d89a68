"""How far runs are, as terminals, notebooks and logs show it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from stacks import images, make_project

from pystack3d_dask.cli import progress as shown
from pystack3d_dask.cli.progress import bars, show_progress
from pystack3d_dask.pipeline import Pipeline


@pytest.fixture
def pipeline(tmp_path):
    stacks = {"ESB": images(), "SE2": images(seed=1)}
    return Pipeline.from_toml(make_project(tmp_path / "project", ["cropping"], stacks))


@pytest.fixture
def log():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), width=200, force_terminal=True)


def text(console):
    return console.file.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose first entry is the time."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_events_count_slices_of_all_channels(pipeline):
    events = []
    pipeline.run(on_block=events.append)
    assert {event.slices_in_pass for event in events} == {40}
    done = [event.slices_done for event in events]
    assert done == sorted(done)
    assert done[-1] == 40


def test_slices_of_an_earlier_run_count_as_done(pipeline):
    def interrupt(event):
        if event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(on_block=interrupt)
    events = []
    pipeline.run(on_block=events.append)
    assert [event.receipt is None for event in events[:4]] == [True, True, True, False]
    assert [event.slices_done for event in events] == list(
        range(2, 41, 2)
    )  # blocks of two slices, all told


def test_a_terminal_shows_a_bar_for_each_pass(pipeline, terminal):
    with show_progress(console=terminal) as show:
        pipeline.run(on_block=show)
    assert "pass 1/1 cropping" in text(terminal)
    assert "40/40" in text(terminal)
    assert "slices, " in text(terminal)


def test_a_log_has_a_line_for_each_pass_and_then_few(log, clock):
    with bars("slices", log) as show:
        for k in range(1, 101):
            clock[0] += 1
            show(1, "pass 1/2 cropping", k, 100)
        show(2, "pass 2/2 destriping", 1, 10)
    lines = text(log).splitlines()
    assert lines == [
        "pass 1/2 cropping",
        "pass 1/2 cropping: 31/100 slices, 1.03/s, 67 s left",
        "pass 1/2 cropping: 61/100 slices, 1.02/s, 38 s left",
        "pass 1/2 cropping: 91/100 slices, 1.01/s, 9 s left",
        "pass 2/2 destriping",
    ]


def test_what_was_done_before_says_nothing_about_the_speed(log, clock):
    with shown._rows(log, "slices") as rows:
        for k in range(1, 51):
            rows.show(1, "pass", k, 100, is_new=False)
        clock[0] += 40
        rows.show(1, "pass", 54, 100)
    assert text(log).splitlines() == ["pass", "pass: 54/100 slices, 0.1/s, 8 min left"]


def test_addresses_are_told_once(pipeline, log):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        show_progress(client, log) as show,
    ):
        pipeline.run(client=client, on_block=show)
        link = client.dashboard_link
    lines = text(log).splitlines()
    assert [line for line in lines if line.startswith("scheduler: tcp://")]
    assert lines.count(f"dashboard: {link}") == 1
    assert lines[2:] == ["pass 1/1 cropping"]
