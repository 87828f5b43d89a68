"""One run at a time on a project, whoever tries, and a dead one blocks nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest
from stacks import make_project

from pystack3d_dask.errors import LockedError
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.project import lock
from pystack3d_dask.project.lock import Holder, check_free, locked

PROGRAM = """
import sys, time
from pathlib import Path
from pystack3d_dask.project.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.lock"


@pytest.fixture
def other(tmp_path):
    """Return a process that holds the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def leave(path, silent=0.0, **changes):
    """Leave a lock as another holder would, touched some seconds ago."""
    path.write_text(json.dumps(asdict(replace(Holder.me(), key="other", **changes))))
    os.utime(path, (time.time() - silent,) * 2)


def test_the_directory_is_held_and_released(path):
    with locked(path.parent):
        holder = json.loads(path.read_text())
        assert (holder["pid"], holder["host"]) == (os.getpid(), Holder.me().host)
    assert list(path.parent.iterdir()) == []


def test_it_is_released_after_errors(path):
    with pytest.raises(KeyError), locked(path.parent):
        raise KeyError
    assert not path.exists()


def test_another_process_is_told_who_holds_it(path, other):
    with pytest.raises(LockedError) as caught, locked(path.parent):
        pass
    message = str(caught.value)
    assert f"process {other.pid} on {Holder.me().host}" in message
    assert "since 20" in message
    assert "last heard of" in message
    assert path.exists()


def test_who_holds_it_is_told_before_anything_is_begun(path, other):
    with pytest.raises(LockedError, match=f"process {other.pid} on"):
        check_free(path.parent)
    assert path.exists()
    other.kill()
    other.wait()
    check_free(path.parent)
    assert not path.exists()
    check_free(path.parent)
    check_free(path.parent / "missing")


def test_a_killed_process_blocks_nobody(path, other):
    other.kill()
    other.wait()
    assert path.exists()
    with locked(path.parent):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_another_process_with_the_number_of_a_dead_one_is_not_taken_for_it(path):
    leave(path, silent=90, born=Holder.me().born - 3600)
    with locked(path.parent):
        assert json.loads(path.read_text())["key"] != "other"


@pytest.mark.parametrize("place", [{"host": "elsewhere"}, {"pids": "of a container"}])
def test_elsewhere_whoever_was_heard_of_lately_is_alive(path, place):
    leave(path, silent=200, **place)
    with pytest.raises(LockedError, match=r"last heard of 20\d s ago"), locked(path.parent):
        pass
    leave(path, silent=330, **place)
    with locked(path.parent):
        pass


def test_a_long_run_is_heard_of(path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.01)
    with locked(path.parent):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 3}'])
def test_nobody_s_lock_counts_for_some_minutes(path, content):
    path.write_text(content)
    with pytest.raises(LockedError, match="somebody works on this project"), locked(path.parent):
        pass
    os.utime(path, (time.time() - 330,) * 2)
    with locked(path.parent):
        pass


def test_a_living_holder_keeps_it_when_the_clock_is_set(path):
    leave(path, silent=20, born=Holder.me().born + 3600)
    with pytest.raises(LockedError, match="works on this project"), locked(path.parent):
        pass


def test_a_link_whose_answer_is_lost_counts(path, monkeypatch):
    link = os.link

    def forgetful(*names):
        link(*names)
        raise FileExistsError

    monkeypatch.setattr(os, "link", forgetful)
    with locked(path.parent):
        assert path.exists()
    assert list(path.parent.iterdir()) == []


def test_a_run_that_lost_its_lock_ends_and_leaves_it_alone(path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.01)

    def work():
        with locked(path.parent):
            leave(path, host="elsewhere", pid=7)
            end = time.monotonic() + 60
            while time.monotonic() < end:
                time.sleep(0.01)

    with pytest.raises(LockedError, match="took it for dead"):
        work()
    assert json.loads(path.read_text())["host"] == "elsewhere"
    before = path.stat().st_mtime_ns
    time.sleep(0.05)
    assert path.stat().st_mtime_ns == before


def test_file_systems_without_links_do(path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    with locked(path.parent):
        with pytest.raises(LockedError), locked(path.parent):
            pass
        assert path.exists()
    assert list(path.parent.iterdir()) == []


def test_of_many_who_find_a_dead_one_s_lock_one_gets_it_at_a_time(path):
    leave(path, silent=90, born=Holder.me().born - 3600)
    inside, most, done = 0, 0, 0
    guard = threading.Lock()

    def work():
        nonlocal inside, most, done
        while True:
            try:
                with locked(path.parent):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.002)
                    with guard:
                        inside -= 1
                        done += 1
                    return
            except LockedError:
                time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (done, most) == (8, 1)
    assert list(path.parent.iterdir()) == []


def test_a_project_is_held_by_what_changes_it(tmp_path):
    directory = make_project(tmp_path / "project", ["cropping", "bkg_removal"])
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    with locked(directory / "process"):
        for change in (pipeline.run, pipeline.fit, pipeline.clean, pipeline.verify):
            with pytest.raises(LockedError):
                change()
        assert pipeline.plan().passes == ()
    pipeline.run(restart=True)
    assert not list((directory / "process").glob("run.lock*"))
