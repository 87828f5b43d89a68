"""The parameter file that `init` writes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

import pytest
from atlas_files import slice_xml, write_slices
from conftest import textured
from stacks import WHOLE_CHAIN

from pystack3d_dask import Pipeline
from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.step import Step
from pystack3d_dask.errors import ParameterError, SourceError
from pystack3d_dask.evidence import Finding
from pystack3d_dask.project.acquisition import describe
from pystack3d_dask.project.template import render, tables, write_params

SEEN = Finding(True, "seen in the images")
TESTED = (
    "intensity_rescaling",
    "bkg_removal",
    "registration_calculation",
    "registration_transformation",
    "destriping",
    "resampling",
)


def written(project):
    return write_params(project, describe(project), {})


def test_it_describes_the_slices_and_is_read_with_nothing_but_what_is_unknown(make_project):
    project = make_project(None)
    path = written(project)
    assert path == project / "params.toml"
    params = tomllib.loads(path.read_text(encoding="utf-8"))
    assert "# ind_max = 6 " in path.read_text(encoding="utf-8")
    assert "ind_max" not in params  # slices that come later are not left out
    assert params["cropping"]["area"] == [0, 42, 0, 36]
    assert "7 slices of 42 x 36 pixels, uint8" in path.read_text(encoding="utf-8")
    (note,) = Pipeline.from_toml(project).project.notes
    assert "pixel size is unknown" in str(note)


def test_channels_are_found_in_sub_directories(make_project):
    project = make_project(None, channels=["SE2", "ESB"])
    params = tomllib.loads(written(project).read_text(encoding="utf-8"))
    assert params["channels"] == ["ESB", "SE2"]
    assert Pipeline.from_toml(project).project.source.channels == ("ESB", "SE2")


def test_names_of_channels_may_hold_anything(make_project):
    names = ['a "b"', "c é", "'d'"]
    project = make_project(None, channels=names)
    params = tomllib.loads(written(project).read_text(encoding="utf-8"))
    assert params["channels"] == sorted(names)


def test_what_is_there_is_never_overwritten(make_project):
    project = make_project("# mine\n")
    with pytest.raises(ParameterError, match="not overwritten; rename or remove it"):
        written(project)
    assert (project / "params.toml").read_text() == "# mine\n"


def test_without_slices_nothing_is_written(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SourceError, match=r"no slices; expected .*; found 'notes.txt'"):
        written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_parameters_shown_as_comments_exist(make_project):
    """Uncommented one at a time, every line is a parameter that its table knows."""
    text = written(make_project(None)).read_text(encoding="utf-8")
    table, seen = "", 0
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            table = heading[1]
        elif commented := re.match(r"# (\w+) = ", line):
            seen += 1
            tomllib.loads(line[2:])
            if table:
                names = registry()[table].__dataclass_fields__
                assert commented[1] in names, f"[{table}] {line}"
    assert seen > 8


def test_every_correction_that_is_mentioned_exists(make_project):
    text = written(make_project(None)).read_text(encoding="utf-8")
    listed = text.partition("process_steps = [")[2].partition("]")[0]
    names = re.findall(r'^    (?:# )?"(\w+)",', listed, re.MULTILINE)
    assert len(names) == len(listed.strip().splitlines())
    assert set(names) == set(registry())
    assert set(re.findall(r"^\[(\w+)\]", text, re.MULTILINE)) <= set(registry())


def test_every_table_has_the_parameters_that_are_documented(make_project):
    """Also those of corrections that this version does not have."""
    found = {
        name: tomllib.loads(body)
        for name, body in tables(describe(make_project(None, shape=(7, 50, 60))), {}).items()
    }
    assert found["registration_calculation"] == {
        "transformation": "TRANSLATION",
        "method": "phase",
    }
    assert found["registration_transformation"] == {"cropping": True, "interpolation": "cubic"}
    assert found["destriping"] == {"neighbors": 3, "along": "y"}
    policy = "slice_{slice_nb}_z={z_coord}um.tif"
    assert found["resampling"] == {
        "policy": policy,
        "dz": 0.01,
        "z_source": "names",
        "interpolation": "catmull-rom",
    }


@dataclass(frozen=True, kw_only=True)
class OfAnotherPackage(Step):
    """A correction without a template."""

    name = "of_another_package"

    strength: float = 0.5
    modes: tuple[str, ...] = ("a", "b")
    limits: tuple[float, float] | None = None

    def apply(self, block, fitted=None):
        return block.values, {}


def listed(text):
    return tomllib.loads(text)["process_steps"]


def test_steps_without_evidence_stand_as_comments_with_the_reason(make_project):
    findings = {"destriping": Finding(False, "no stripes"), "bkg_removal": SEEN}
    text = render(describe(make_project(None)), findings)
    assert listed(text) == ["bkg_removal"]
    assert re.search(r'^    # "destriping", +# no stripes$', text, re.MULTILINE)
    assert re.search(r'^    "bkg_removal", +# seen in the images$', text, re.MULTILINE)


def test_what_was_measured_fills_the_tables(make_project):
    gabor = {"name": "Gabor", "noise_level": 0.5, "sigma": [0.6, 17.0], "theta": 3.5}
    findings = {
        "destriping": Finding(True, "stripes", {"filters": [gabor]}),
        "bkg_removal": Finding(True, "a field"),
    }
    params = tomllib.loads(render(describe(make_project(None)), findings))
    assert params["destriping"]["filters"] == [gabor]
    assert "neighbors" not in params["destriping"]
    assert params["bkg_removal"] == {"method": "classes"}


def test_gray_levels_that_are_no_image_are_named(make_project):
    acquisition = describe(make_project(None))
    found = Finding(True, "40 % of the pixels have gray level 0", {"fill": [0]})
    text = render(acquisition, {"fill": found})
    assert tomllib.loads(text)["fill"] == [0]
    assert "40 % of the pixels" in text
    assert "fill" not in tomllib.loads(render(acquisition, {}))


@pytest.mark.parametrize("shape", [(3, 50, 60), (7, 36, 60)])
def test_few_slices_or_small_ones_cannot_tell_stripes_from_the_specimen(make_project, shape):
    (table,) = (
        tomllib.loads(body)
        for name, body in tables(describe(make_project(None, shape=shape)), {}).items()
        if name == "destriping"
    )
    gabor = {"name": "Gabor", "noise_level": 1, "sigma": [1, 30], "theta": 0}
    assert table == {"filters": [gabor], "maxit": 100, "cvg_threshold": 1e-2}


def test_steps_are_listed_in_the_usual_order_when_there_are_any(make_project, monkeypatch):
    usual = [*TESTED]
    findings = dict.fromkeys(TESTED, SEEN)
    project = make_project(None)
    text = render(describe(project), findings)
    assert listed(text) == [name for name in usual if name in registry()]
    assert set(tomllib.loads(text)) & set(tables(describe(project), {})) <= set(registry())

    steps = {name: registry()[name] for name in [*reversed(WHOLE_CHAIN), "cropping_final"]}
    steps["of_another_package"] = OfAnotherPackage
    monkeypatch.setattr("pystack3d_dask.project.template.registry", lambda: steps)
    text = render(describe(project), findings)
    assert listed(text) == usual
    assert text.endswith(
        '[of_another_package]\n# strength = 0.5\n# modes = ["a", "b"]\n# limits = ...\n'
    )
    for path in project.glob("*.tif"):  # resampling needs positions
        path.rename(path.with_name(path.name.replace("z=", "")))
    assert listed(render(describe(project), findings)) == usual[:-1]


def test_names_of_files_may_hold_what_comments_may_not(tmp_path):
    xml = slice_xml((36, 42), box=(9, 20, 9, 20))
    write_slices(tmp_path, textured((2, 36, 42)), [xml] * 2, name="a\nb\x7f{0}.tif")
    assert "TIFF metadata of a?b?0.tif" in written(tmp_path).read_text(encoding="utf-8")
    (note,) = Pipeline.from_toml(tmp_path).project.notes
    assert "the distance of slices is unknown" in str(note)
