"""Who takes the next block: lanes, their bounds, and what is waited for. No cluster is needed."""

from __future__ import annotations

import pytest

from pystack3d_dask.engine.placement import QUEUED, Lanes, Watch, Workers, whereabouts

GPUS = {"gpu-a": 1, "gpu-b": 1}
CPUS = {"cpu-a": 1, "cpu-b": 3}
MIXED = Workers(threads=GPUS | CPUS, gpus=GPUS)
PLAIN = Workers(threads=CPUS, gpus={})


def lanes(use="share", *, is_gpu_work=True, workers=MIXED) -> Lanes:
    made = Lanes(use, is_gpu_work)
    made.update(workers, bool(workers.gpus))
    return made


def taken(of: Lanes, waiting: int) -> dict[str, int]:
    """Give blocks to lanes until none takes one; return how many each took."""
    names = {id(of.gpu): "gpu", id(of.cpu): "cpu", id(of.all): "all"}
    counts = dict.fromkeys(names.values(), 0)
    while waiting and (lane := of.next(waiting)):
        lane.give(1)
        counts[names[id(lane)]] += 1
        waiting -= 1
    return counts


def test_what_the_scheduler_tells_is_sorted_by_the_label():
    told = {
        "a": {"nthreads": 1, "resources": {"GPU": 1.0}},
        "b": {"nthreads": 4, "resources": {}},
        "c": {"nthreads": 2, "resources": {"GPU": 0.0, "MEMORY": 7.0}},
    }
    workers = Workers.of(told)
    assert workers == Workers(threads={"a": 1, "b": 4, "c": 2}, gpus={"a": 1})
    assert workers.others == {"b": 4, "c": 2}


@pytest.mark.parametrize("use", ["only", "prefer"])
def test_gpu_work_is_for_gpu_workers_where_there_are_any(use):
    assert taken(lanes(use), 100) == {"gpu": QUEUED * 2, "cpu": 0, "all": 0}


@pytest.mark.parametrize("use", ["only", "prefer", "share"])
def test_gpu_work_is_for_all_where_there_are_none(use):
    assert taken(lanes(use, workers=PLAIN), 100) == {"gpu": 0, "cpu": 0, "all": QUEUED * 4}


@pytest.mark.parametrize(("use", "is_gpu_work"), [("off", True), ("only", False), ("share", False)])
def test_other_work_is_for_all(use, is_gpu_work):
    found = taken(lanes(use, is_gpu_work=is_gpu_work), 100)
    assert found == {"gpu": 0, "cpu": 0, "all": QUEUED * 6}


def test_a_shared_pass_tries_cpus_with_one_block():
    of = lanes()
    assert taken(of, 100) == {"gpu": QUEUED * 2, "cpu": 1, "all": 0}
    of.cpu.take(1)
    of.cpu.learn([2.0])
    assert taken(of, 95)["cpu"] == 4  # one for each thread, none in reserve


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [(30, 4), (10, 4), (9, 3), (7, 1), (6, 0), (1, 0)],  # 4 are with the two GPUs: 1 s for each 2
)
def test_toward_the_end_a_cpu_gets_no_block_that_the_gpus_would_have_done_before(waiting, expected):
    of = lanes()
    taken(of, 100)
    of.cpu.take(1)
    of.gpu.learn([1.0])
    of.cpu.learn([5.5])
    assert taken(of, waiting)["cpu"] == expected


def test_without_gpu_workers_cpus_take_all_that_is_left_of_a_shared_pass():
    of = lanes()
    of.gpu.learn([1.0])
    of.cpu.learn([100.0])
    of.update(PLAIN, True)  # they may come back
    assert taken(of, 3) == {"gpu": 0, "cpu": 3, "all": 0}


def test_what_a_first_block_took_is_soon_forgotten():
    of = lanes()
    for seconds in (30.0, *[1.0] * 10):
        of.gpu.learn([seconds])
    assert of.gpu.seconds == pytest.approx(1, abs=0.1)


def test_gpu_workers_are_expected_back_for_a_while():
    now = 100.0
    watch = Watch(60.0, lambda: now)
    assert not watch.expects(PLAIN)  # there never were any
    assert not watch.has_seen_some
    assert watch.expects(MIXED)
    now += 60
    assert watch.expects(PLAIN)
    now += 1
    assert not watch.expects(PLAIN)
    assert watch.expects(MIXED)
    now += 59
    assert watch.expects(PLAIN)


@pytest.mark.parametrize(
    ("use", "is_gpu_work", "workers", "expected"),
    [
        ("prefer", False, None, ""),
        ("prefer", False, MIXED, "on 4 workers"),
        ("only", True, None, "on GPU workers; on CPU workers, if there are no GPU workers"),
        ("share", True, None, "on GPU workers, with CPU workers, by speed; on CPU workers"),
        ("off", True, None, 'on CPUs (gpu = "off")'),
        ("off", True, MIXED, 'on CPUs (gpu = "off"), of 4 workers'),
        ("prefer", True, MIXED, "on 2 GPU workers"),
        ("share", True, MIXED, "on 2 GPU workers and 2 CPU workers, by speed"),
        ("only", True, PLAIN, "on 2 CPU workers: there are no GPU workers"),
        ("share", True, Workers(threads={}, gpus={}), "in this process"),
        ("only", False, Workers(threads={}, gpus={}), "in this process"),
    ],
)
def test_where_a_pass_runs_is_told(use, is_gpu_work, workers, expected):
    found = whereabouts(use, is_gpu_work, workers)
    assert found.startswith(expected)
    assert bool(found) == bool(expected)
