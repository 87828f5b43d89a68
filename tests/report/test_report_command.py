"""The report on the command line."""

from __future__ import annotations

import re


def page_of(project):
    return project.resolve() / "process" / "report.html"


def test_a_run_ends_with_a_report(call, make_project):
    project = make_project()
    done = call("run", project, "--workers", 0)
    assert done.status == 0
    assert done.out.splitlines()[-1] == f"report: {page_of(project)}"
    assert "intensity_rescaling" in page_of(project).read_text()


def test_a_run_can_do_without(call, make_project):
    project = make_project()
    done = call("run", project, "--workers", 0, "--no-report")
    assert done.status == 0
    assert "report" not in done.out
    assert not page_of(project).exists()


def test_a_report_that_is_missing_is_made_although_nothing_is_to_do(call, make_project):
    project = make_project()
    call("run", project, "--workers", 0, "--no-report")
    done = call("run", project, "--workers", 0)
    assert done.out.splitlines()[0].startswith("nothing to do")
    assert page_of(project).exists()


def test_a_report_that_fails_does_not_fail_the_run(call, make_project):
    project = make_project()
    page_of(project).mkdir(parents=True)  # there is no writing over that
    done = call("run", project, "--workers", 0)
    assert done.status == 0
    assert "result.zarr" in done.out
    assert re.search(r"warning: the report cannot be written: .*report.html", done.err)


def test_the_command_writes_the_page_and_files(call, make_project, tmp_path):
    project = make_project(channels=["ESB", "SE2"])
    call("run", project, "--workers", 0, "--no-report")
    done = call("report", project, "--files", tmp_path / "figures")
    assert done.status == 0
    assert done.out == (
        f"report: {page_of(project)}\npictures and numbers: {tmp_path / 'figures'}\n"
    )
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("figures/*/*/*")}
    assert {
        "figures/before_and_after/SE2/planes_after.png",
        "figures/bkg_removal/ESB/coefficients.csv",
        "figures/intensity_rescaling/ESB/profiles.png",
    } <= written


def test_without_a_run_the_command_says_so(call, make_project):
    project = make_project()
    refused = call("report", project)
    assert refused.status == 1
    assert "no run has left anything here to report on; `pystack3d-dask run`" in refused.err
    assert not (project / "process").exists()


def test_a_restart_leaves_no_old_report(call, make_project):
    project = make_project()
    call("run", project, "--workers", 0)
    call("run", project, "--workers", 0, "--restart", "--yes", "--no-report")
    assert not page_of(project).exists()
