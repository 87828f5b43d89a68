"""The commands export and clean, as their users have them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tifffile
from conftest import listing, result

import pystack3d_dask as ps


def test_export_writes_slices_and_tells_where(call, make_project, tmp_path):
    project = make_project(channels=["ESB", "SE2"])
    call("run", project, "--workers", 0)
    out = tmp_path / "out"
    done = call("export", project, "--tiff", out)
    assert (done.status, done.out) == (0, f"wrote {out}\n")
    exported = ps.open_stack(out, ("ESB", "SE2"))
    np.testing.assert_array_equal(exported.values, result(project))
    again = call("export", project, "--tiff", out)
    assert again.status == 2
    assert f"error: {out} is not empty; --overwrite writes there nevertheless\n" in again.err
    assert call("export", project, "--tiff", out, "--overwrite").status == 0


def test_export_knows_the_other_formats(call, make_project, tmp_path):
    project = make_project(channels=["ESB", "SE2"])
    call("run", project, "--workers", 0)
    done = call("export", project, "--bigtiff", tmp_path / "all.tif")
    assert done.out == f"wrote {tmp_path / 'all_ESB.tif'}\nwrote {tmp_path / 'all_SE2.tif'}\n"
    done = call("export", project, "--ome-zarr04", tmp_path / "old.zarr")
    assert done.out == f"wrote {tmp_path / 'old.zarr'}\n"
    np.testing.assert_array_equal(ps.open_stack(tmp_path / "old.zarr").values, result(project))
    done = call("export", project, "--reference-layout")
    assert f"wrote {project.resolve() / 'process' / 'bkg_removal'}\n" in done.out
    stats = project / "process" / "bkg_removal" / "ESB" / "outputs" / "stats.npy"
    assert np.load(stats).shape == (7, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "one of --tiff, --bigtiff, --ome-zarr04 and --reference-layout expected, found none"),
        (["--tiff", "{}/a", "--bigtiff", "{}/b"], "found --tiff and --bigtiff"),
        (["--ome-zarr04", "{}/a", "--step", "cropping"], "not with --ome-zarr04"),
        (["--tiff", "{}/a", "--step", "croping"], "'croping' is not one of the steps"),
        (["--ome-zarr04", "{}/a", "--removed", "bkg_removal"], "--removed goes with --tiff or"),
        (["--tiff", "{}/a", "--step", "cropping", "--removed", "bkg_removal"], "found both"),
        (["--tiff", "{}/a", "--removed", "cropping"], "'cropping' is about where pixels lie"),
        (["--tiff", "{}/a"], "no complete result of these steps and parameters"),
        (["--tiff", "{}"], "holds the slices of the source"),
    ],
)
def test_what_cannot_be_exported_ends_with_status_2(call, make_project, arguments, expected):
    project = make_project()
    if expected.startswith("holds"):
        call("run", project, "--workers", 0)
    before = listing(project)
    refused = call("export", project, *(each.replace("{}", str(project)) for each in arguments))
    assert refused.status == 2
    assert expected in refused.err
    assert listing(project) == before


def test_the_export_of_some_steps_is_that_of_their_run(call, make_project, tmp_path):
    project = make_project()
    call("run", project, "--steps", "cropping", "--workers", 0)
    assert call("export", project, "--tiff", tmp_path / "out").status == 2
    done = call("export", project, "--tiff", tmp_path / "out", "--steps", "cropping")
    assert done.status == 0, done.err


def test_what_a_step_took_away_is_exported(call, make_project, tmp_path):
    project = make_project()
    call("run", project, "--workers", 0)
    done = call("export", project, "--bigtiff", tmp_path / "taken.tif", "--removed", "bkg_removal")
    assert done.out == f"wrote {tmp_path / 'taken.tif'}\n"
    taken = tifffile.imread(tmp_path / "taken.tif")
    assert taken.dtype == np.float32
    assert taken.any()


def test_an_interrupted_export_says_what_to_do(call, make_project, tmp_path, monkeypatch):
    project = make_project()
    call("run", project, "--workers", 0)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pystack3d_dask.export.export.write_slice", interrupt)
    done = call("export", project, "--tiff", tmp_path / "out")
    assert done.status == 130
    assert "--overwrite" in done.err
    assert "the same command continues" not in done.err


def test_clean_tells_what_it_freed_and_the_result_stays(call, make_project):
    project = make_project()
    call("run", project, "--workers", 0)
    before = result(project)
    done = call("clean", project)
    assert done.status == 0
    assert re.fullmatch(r"freed [\d.]+ K?i?B: cropping\n", done.out)
    assert call("clean", project).out == "nothing to free\n"
    assert "nothing to do" in call("run", project).out
    np.testing.assert_array_equal(result(project), before)
