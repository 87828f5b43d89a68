"""The command line, as its users have it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import dask
import numpy as np
import pytest
import tifffile
from atlas_files import setup_xml, slice_xml, write_slices
from clusters import remote_cluster
from conftest import listing, result, textured
from processes import wait_until
from stacks import spoil

import pystack3d_dask as ps
from pystack3d_dask.cli import main as cli
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.tiff.page import read_page

COMMAND = [sys.executable, "-m", "pystack3d_dask"]
LARGE = (40, 300, 400)  # several blocks


def unreadable(folder, plane, *arguments):
    """Read a page, but not that of slice 21."""
    if "slice_0021" in str(plane):
        message = "slice_0021: the disk is gone"
        raise PixelError(message)
    return read_page(folder, plane, *arguments)


def test_init_writes_what_runs_as_it_is(call, make_project):
    project = make_project(None, channels=["ESB", "SE2"])
    written = call("init", project)
    assert written.status == 0
    assert written.out.startswith(f"wrote {project / 'params.toml'}\n")
    done = call("run", project, "--workers", 0)
    assert done.status == 0, done.err
    assert f"result: {project.resolve() / 'process' / 'result.zarr'}" in done.out
    assert list(ps.open_result(project).c.values) == ["ESB", "SE2"]


def test_init_says_what_it_took_from_where_and_what_it_did_not(call, tmp_path):
    xml = slice_xml((36, 42), box=(9, 20, 9, 20), z=1)
    write_slices(tmp_path, np.zeros((2, 36, 42), "uint8"), [xml, xml])
    (tmp_path / "Atlas3D.a3d-setup").write_text(setup_xml((99, 99)))
    done = call("init", tmp_path)
    assert done.status == 0
    first, *_, size, area, microscope = done.out.splitlines()
    assert first == f"wrote {tmp_path / 'params.toml'}"
    assert size == "  pixels of 0.008 x 0.008 µm (x, y): TIFF metadata of slice_00000.tif"
    assert area.startswith("  cropping area [0, 41, 0, 36]: region of interest and 20 pixels")
    assert microscope == "  Zeiss Atlas, detector ESB: TIFF metadata of slice_00000.tif"
    assert "note: Atlas3D.a3d-setup is of another acquisition, nothing is taken" in done.err


def test_init_never_overwrites(call, make_project):
    project = make_project("# mine\n")
    refused = call("init", project)
    assert refused.status == 2
    assert "not overwritten" in refused.err
    assert (project / "params.toml").read_text() == "# mine\n"


def test_init_without_slices_writes_nothing(call, tmp_path):
    refused = call("init", tmp_path)
    assert refused.status == 2
    assert f"{tmp_path}: no slices; expected" in refused.err
    assert list(tmp_path.iterdir()) == []


def test_plan_computes_and_writes_nothing(call, make_project, monkeypatch):
    project = make_project()
    before = listing(project)

    def refuse(*_, **__):
        message = "something was computed"
        raise AssertionError(message)

    monkeypatch.setattr("pystack3d_dask.io.tiff.stack.read_page", refuse)
    with dask.config.set(scheduler=refuse):
        planned = call("plan", project)
    assert planned.status == 0
    assert "7 slices of 42 x 36 uint8 -> 7 slices of 36 x 27 uint8" in planned.out
    assert "pass 3" in planned.out
    assert "per worker" in planned.out
    assert listing(project) == before


def test_plan_of_a_finished_run_says_that_nothing_is_to_do(call, make_project):
    project = make_project()
    call("run", project, "--workers", 0)
    assert "nothing to do" in call("plan", project).out


def test_run_tells_passes_on_the_way_and_the_result_in_the_end(call, make_project):
    project = make_project()
    done = call("run", project, "--workers", 0)
    assert done.status == 0
    assert "pass 1/3 cropping, fit of bkg_removal" in done.err
    assert re.search(r"pass 3 .*, read \d.* B, wrote \d.* B\n", done.out.replace("KiB", "B"))
    assert f"result: {project.resolve() / 'process' / 'result.zarr'} (" in done.out
    assert (project / "process" / "summary.json").exists()


def test_a_second_run_has_nothing_to_do(call, make_project):
    project = make_project()
    call("run", project, "--workers", 0)
    before = listing(project)
    again = call("run", project)
    assert again.status == 0
    assert again.out == f"nothing to do: {project.resolve() / 'process/result.zarr'} is complete\n"
    assert listing(project) == before


def test_the_parameter_file_can_be_named(call, make_project):
    project = make_project()
    (project / "params.toml").rename(project / "night.toml")
    assert call("run", project / "night.toml", "--workers", 0).status == 0


def test_restart_without_a_terminal_needs_a_yes(call, make_project, monkeypatch):
    project = make_project()
    call("run", project, "--workers", 0)
    before = listing(project)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    refused = call("run", project, "--restart", "--workers", 0)
    sys.stdin.close()
    assert refused.status == 2
    assert "add --yes" in refused.err
    assert str(project) in refused.err
    assert listing(project) == before
    done = call("run", project, "--restart", "--yes", "--workers", 0)
    assert done.status == 0
    assert "pass 1" in done.out


def test_restart_of_what_was_never_run_needs_no_yes(call, make_project):
    assert call("run", make_project(), "--restart", "--workers", 0).status == 0


def test_restart_keeps_what_others_have_made(call, make_project):
    project = make_project()
    (project / "process" / "cropping").mkdir(parents=True)
    assert call("run", project, "--restart", "--yes", "--workers", 0).status == 0
    assert (project / "process" / "cropping").exists()


def test_restart_removes_nothing_when_no_scheduler_answers(call, make_project):
    project = make_project()
    call("run", project, "--workers", 0)
    before = listing(project)
    failed = call("run", project, "--restart", "--yes", "--scheduler", "nonsense")
    assert failed.status == 1
    assert "no scheduler answers at nonsense" in failed.err
    assert listing(project) == before


def test_some_steps_can_be_run_alone(call, make_project):
    project = make_project()
    done = call("run", project, "--steps", "bkg_removal, cropping", "--workers", 0)
    assert done.status == 0
    assert "intensity_rescaling" not in done.out
    assert (
        "steps   cropping, bkg_removal\n"
        in call("plan", project, "--steps", "cropping,bkg_removal").out
    )
    refused = call("run", project, "--steps", "croping")
    assert refused.status == 2
    assert "'croping' is not one of process_steps" in refused.err


def test_everything_wrong_is_told_with_status_2_and_nothing_written(call, make_project):
    project = make_project()
    params = project / "params.toml"
    text = params.read_text().replace("filter_size = 3", "filter_size = 0")
    params.write_text(text.replace("area =", "aera ="))
    before = listing(project)
    for command in ("run", "plan"):
        refused = call(command, project)
        assert refused.status == 2
        assert refused.out == ""
        assert f"error: 2 problems in {params}:" in refused.err
        assert "cropping.aera: unknown parameter; did you mean 'area'?" in refused.err
        assert "intensity_rescaling.filter_size: " in refused.err
        assert "Traceback" not in refused.err
    assert listing(project) == before


def test_wrong_headers_are_told_with_status_2(call, make_project):
    project = make_project()
    odd = project / "slice_0003_z=0.0300um.tif"
    tifffile.imwrite(odd, np.zeros((5, 5), np.uint8), metadata=None)
    refused = call("run", project)
    assert refused.status == 2
    assert odd.name in refused.err
    assert not (project / "process").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], "Missing argument 'PROJECT'"),
        (["runn"], "No such command 'runn'"),
        (["run", "{}", "--workers", "-1"], "--workers"),
        (["run", "{}", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "found several"),
        (["run", "{}", "--scheduler-file", "nowhere"], "'nowhere' does not exist"),
        (["run", "{}/nowhere"], "no such file or directory"),
    ],
)
def test_what_cannot_be_meant_ends_with_status_2(call, make_project, arguments, expected):
    project = make_project()
    refused = call(*(argument.replace("{}", str(project)) for argument in arguments))
    assert refused.status == 2
    assert expected in refused.err
    assert not (project / "process").exists()


def test_notes_are_told(call, make_project):
    project = make_project('dirname = "old"\nprocess_steps = ["cropping"]\n')
    done = call("run", project, "--workers", 0)
    assert done.status == 0
    assert "note: dirname: deprecated" in done.err


def test_no_workers_in_the_parameters_means_this_process(call, make_project, monkeypatch):
    def refuse(*_, **__):
        message = "workers were started"
        raise AssertionError(message)

    monkeypatch.setattr("pystack3d_dask.cluster.local.local_client", refuse)
    project = make_project("nproc = 0\nprocess_steps = []\n")
    assert call("run", project).status == 0


def test_tracebacks_are_for_debugging(call, make_project, monkeypatch):
    project = make_project()

    def fail(*_, **__):
        message = "surprise"
        raise RuntimeError(message)

    monkeypatch.setattr("pystack3d_dask.pipeline.Pipeline.plan", fail)
    failed = call("plan", project)
    assert failed.status == 1
    assert "\nerror: RuntimeError: surprise\n" in f"\n{failed.err}"
    assert "--debug" in failed.err
    assert "Traceback" not in failed.err
    for arguments in (["--debug", "plan", project], ["plan", project, "--debug"]):
        monkeypatch.setattr(sys, "argv", ["pystack3d-dask", *map(str, arguments)])
        with pytest.raises(RuntimeError, match="surprise"):
            cli.main()


def test_corrupt_pixels_cost_their_block_only(call, make_project):
    project = make_project(shape=LARGE)
    bad = project / "slice_0021_z=0.2100um.tif"
    content = spoil(bad)
    failed = call("run", project, "--workers", 0)
    assert failed.status == 1
    assert f"{bad.resolve()}, page 0" in failed.err
    assert re.search(r"1 of \d+ blocks failed", failed.err)
    slices = re.search(r"channel image, slices (\d+) to (\d+):", failed.err)
    assert int(slices[1]) <= 21 <= int(slices[2])
    assert "stay valid; the same command continues" in failed.err
    assert 'bad_slices = "interpolate"' in failed.err
    assert "Traceback" not in failed.err
    done = re.search(r"(\d+) tasks .*\n.*: (\d+) of these are done", call("plan", project).out)
    assert int(done[2]) == int(done[1]) - 1
    bad.write_bytes(content)
    assert call("run", project, "--workers", 0).status == 0
    repaired = result(project)
    assert call("run", project, "--restart", "--yes", "--workers", 0).status == 0
    np.testing.assert_array_equal(repaired, result(project))


def test_blocks_beside_pixels_that_could_not_be_read_are_not_computed_again(call, make_project):
    project = make_project("process_steps = []\n", shape=LARGE)
    with pytest.MonkeyPatch.context() as patch:  # as when a disk failed, and is there again
        patch.setattr("pystack3d_dask.io.tiff.stack.read_page", unreadable)
        assert call("run", project, "--workers", 0).status == 1
    summary = ps.Pipeline.from_toml(project).run()
    assert summary.passes[-1].tasks == 1
    np.testing.assert_array_equal(result(project)[0], textured(LARGE))


def test_corrupt_pixels_on_workers_are_told_once_without_traceback(make_project):
    project = make_project(shape=LARGE)
    bad = project / "slice_0021_z=0.2100um.tif"
    spoil(bad)
    done = subprocess.run(
        [*COMMAND, "run", str(project), "--workers", "2"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.count(bad.name) == 1
    assert "Traceback" not in done.stderr
    assert "dashboard: http://127.0.0.1:" in done.stderr


def test_every_way_of_computing_gives_the_same(call, make_project, tmp_path):
    project = make_project(shape=LARGE, channels=["ESB", "SE2"])
    assert call("run", project, "--workers", 0).status == 0
    expected = result(project)
    assert expected.std() > 5
    done = call("run", project, "--restart", "--yes", "--workers", 2)
    assert done.status == 0, done.err
    assert "dashboard: http://127.0.0.1:" in done.err
    np.testing.assert_array_equal(result(project), expected)
    (tmp_path / "cluster").mkdir()
    with remote_cluster(tmp_path / "cluster") as file:
        done = call("run", project, "--restart", "--yes", "--scheduler-file", file)
        assert done.status == 0, done.err
        np.testing.assert_array_equal(result(project), expected)
        address = re.search(r"tcp://127\.0\.0\.1:\d+", file.read_text())[0]
        done = call("run", project, "--restart", "--yes", "--scheduler", address)
        assert done.status == 0, done.err
        np.testing.assert_array_equal(result(project), expected)


def test_a_silent_address_ends_with_status_1(call, make_project, monkeypatch):
    from pystack3d_dask.cluster import local as cluster

    real = cluster.Client
    monkeypatch.setattr(
        cluster, "Client", lambda *a, **options: real(*a, **(options | {"timeout": "1s"}))
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        failed = call("run", make_project(), "--scheduler", address)
    assert failed.status == 1
    assert f"no scheduler answers at {address}" in failed.err
    assert "Traceback" not in failed.err


@pytest.mark.skipif(
    sys.platform == "win32",
    reason="Windows cannot send SIGINT to one process, as Ctrl-C in a terminal does",
)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_continues_to_the_same_result(make_project, workers):
    project = make_project(shape=(96, 300, 400))
    undisturbed = shutil.copytree(project, project.with_name("undisturbed"))
    command = [*COMMAND, "run", "--workers", str(workers)]
    process = subprocess.Popen(
        [*command, str(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        records = project / "process" / "work.zarr" / "records"
        wait_until(lambda: any(records.glob("*/*.json")), process)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "interrupted: what was finished stays valid, the same command continues" in err
    assert "Traceback" not in err
    assert not list(project.rglob("*.partial"))
    assert ps.Pipeline.from_toml(project).run().passes[0].resumed > 0
    ps.Pipeline.from_toml(undisturbed).run()
    np.testing.assert_array_equal(result(project), result(undisturbed))


def test_demo_scores_its_result_against_the_truth(call, tmp_path):
    done = call("demo", tmp_path / "new", "--workers", 0)
    assert done.status == 0, done.err
    scores = re.findall(r"([\d.]+) before, +([\d.]+) after", done.out)
    assert len(scores) == 2
    (distance, corrected), (jumps, steadied) = [map(float, each) for each in scores]
    assert corrected < distance / 2
    assert steadied < jumps / 2
    assert "result.zarr" in done.out
    again = call("demo", tmp_path / "new", "--size", 96)
    assert again.status == 2
    assert "not empty" in again.err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--size", 63, "64<=x<=2000"),
        ("--size", 2001, "64<=x<=2000"),
        ("--slices", 0, "x>=1"),
        ("--texture", "fluffy", "'porous', 'cellular'"),
        ("--seed", -1, "x>=0"),
        ("--bits", 12, "'8', '16'"),
    ],
)
def test_demo_says_what_it_expects(call, tmp_path, option, value, expected):
    done = call("demo", tmp_path / "new", option, value)
    assert done.status == 2
    assert option in done.err
    assert expected in done.err
    assert not (tmp_path / "new").exists()


def test_version_and_help_are_given(call):
    assert call("--version").out.strip().endswith(ps.__version__)
    for command in ("init", "plan", "run", "export", "verify", "clean", "demo"):
        helped = call(command, "--help")
        assert helped.status == 0
        assert f"Usage: pystack3d-dask {command}" in helped.out


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run([*COMMAND, "run", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"error: 1 problem in {tmp_path}:" in done.stderr
    assert f"`pystack3d-dask init {tmp_path}` writes one" in done.stderr


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "copy the parameter file"),
        (errno.EACCES, "right"),
    ],
)
def test_what_the_system_refuses_is_told_with_where_and_what_to_do(
    call, make_project, monkeypatch, code, advice
):
    project = make_project()

    def refuse(*_):
        raise OSError(code, os.strerror(code), "/where/it/was")

    monkeypatch.setattr("pystack3d_dask.project.record.Workspace.create", refuse)
    refused = call("run", project, "--workers", 0)
    assert refused.status == 1
    assert f"error: /where/it/was: {os.strerror(code)}; " in refused.err
    assert advice in refused.err


def test_a_full_disk_is_told_for_each_block_with_what_to_do(call, make_project, monkeypatch):
    project = make_project(shape=LARGE)

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "chunk")

    monkeypatch.setattr("pystack3d_dask.io.work.encode", refuse)
    refused = call("run", project, "--workers", 0)
    assert refused.status == 1
    assert "chunk: No space left on device; make room" in refused.err
    assert "The other blocks are finished" not in refused.err


def test_verify_compares_what_is_stored_and_the_next_run_mends_it(call, make_project):
    project = make_project()
    assert call("verify", project).status == 1
    assert call("run", project, "--workers", 0).status == 0
    sound = call("verify", project)
    assert sound.status == 0
    assert re.search(r"compared \d+ files, .* with their records: nothing is damaged", sound.out)
    shard = next(p for p in project.glob("process/result.zarr/scale0/image/c/**/*") if p.is_file())
    content = shard.read_bytes()
    shard.write_bytes(content[:-3])
    damaged = call("verify", project)
    assert damaged.status == 1
    assert f"damaged: {shard.resolve()}: it has {len(content) - 3} bytes" in damaged.err
    assert "1 damaged; `pystack3d-dask run` computes them again" in damaged.err
    assert call("run", project, "--workers", 0).status == 0
    assert shard.read_bytes() == content
    assert call("verify", project).status == 0
