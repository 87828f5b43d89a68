"""Parameter files: what is read, and what is said about what is wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pystack3d_dask import Pipeline
from pystack3d_dask.core.registry import registry
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.project.config import build_step, find_params, load_project

PYSTACK3D = """\
#project_dir = ""
ind_min = 0
ind_max = 99999
channels = ["."]
nproc = 1
process_steps = ["cropping", "bkg_removal", "intensity_rescaling",
    "intensity_rescaling_area", "cropping_final"]
history = []

[cropping]
area = [0, 99999, 0, 99999]

[bkg_removal]
dim = 3
orders = [1, 2, 1]
cross_terms = true
skip_factors = [10, 10, 10]
threshold_min = 2
preserve_avg = true

[intensity_rescaling]
nbins = 256
filter_size = -1

[intensity_rescaling_area]
area = [0, 99999, 0, 99999]
factors_range = [0.8, 1.2]

[destriping]
cvg_threshold = 1e-2
filters = [{ name = "Gabor", noise_level = 20, sigma = [0.5, 200], theta = 0 }]

[registration_calculation]
area = [0, 99999, 0, 99999]
nb_blocks = [1, 1]
transformation = "TRANSLATION"

[registration_transformation]
mode = "edge"

[resampling]
policy = "slice_{slice_nb}_z={z_coord}um.tif"
dz = 0.01

[cropping_final]
area = [0, 99999, 0, 99999]
"""


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in directory.rglob("*"):
        status = path.stat()
        found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def problems(project: Path, text: str | None = None, **options) -> dict[str, str]:
    """Return what is wrong by path, having seen that nothing was written."""
    if text is not None:
        (project / "params.toml").write_text(text, encoding="utf-8")
    before = listing(project.parent)
    with pytest.raises(ParameterError) as caught:
        Pipeline.from_toml(project, **options)
    assert listing(project.parent) == before
    assert caught.value.exit_status == 2
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    assert all(problem.severity == "error" for problem in caught.value.problems)
    return found


def notes(pipeline: Pipeline) -> dict[str, str]:
    assert all(problem.severity != "error" for problem in pipeline.project.notes)
    # of slices without a pixel size
    return {each.path: each.message for each in pipeline.project.notes if each.path != "voxel_size"}


def test_a_file_of_pystack3d_loads_unchanged(make_project):
    pipeline = Pipeline.from_toml(make_project(PYSTACK3D, shape=(24, 36, 42)))
    assert [step.name for step in pipeline.project.steps] == [
        "cropping",
        "bkg_removal",
        "intensity_rescaling",
        "intensity_rescaling_area",
        "cropping_final",
    ]
    assert pipeline.project.workers == 1
    assert pipeline.project.source.specs[0].shape == (24, 36, 42)
    tables = set(tomllib.loads(PYSTACK3D)) & set(registry())
    assert not set(notes(pipeline)) & tables


def test_tables_of_corrections_that_are_not_listed_are_ignored(make_project):
    text = 'process_steps = ["cropping"]\n[bkg_removal]\nnonsense = 1\n'
    assert notes(Pipeline.from_toml(make_project(text))) == {}


def test_a_table_that_belongs_to_no_correction_is_noted(make_project):
    text = 'process_steps = ["cropping"]\n[grinding]\nnonsense = 1\n'
    assert "ignored" in notes(Pipeline.from_toml(make_project(text)))["grinding"]


def test_too_few_samples_for_the_powers_are_noted(make_project):
    text = 'process_steps = ["bkg_removal"]\n[bkg_removal]\norders = [1, 1, 2]\n'
    noted = notes(Pipeline.from_toml(make_project(text)))
    assert "1 samples along z" in noted["bkg_removal.skip_factors"]


def test_a_table_with_a_name_that_is_nearly_right_is_noted(make_project):
    text = 'process_steps = ["cropping"]\n[croping]\narea = [0, 5, 0, 5]\n'
    assert "'cropping'" in notes(Pipeline.from_toml(make_project(text)))["croping"]


@pytest.mark.parametrize("key", ["dirname", "input_dirname"])
def test_deprecated_keys_are_ignored_with_a_note_when_the_directory_is_given(make_project, key):
    project = make_project(f'{key} = "/nowhere"\nprocess_steps = []\n')
    pipeline = Pipeline.from_toml(project)
    assert pipeline.project.directory == project.resolve()
    assert re.search("deprecated.*ignored.*project_dir", notes(pipeline)[key])


@pytest.mark.parametrize("key", ["dirname", "input_dirname"])
def test_deprecated_keys_name_the_project_when_the_file_is_given(make_project, tmp_path, key):
    project = make_project(None)
    params = tmp_path / "elsewhere.toml"
    params.write_text(f'{key} = "project"\nprocess_steps = []\n')
    pipeline = Pipeline.from_toml(params)
    assert pipeline.project.directory == project.resolve()
    assert re.search("deprecated.*taken as project_dir", notes(pipeline)[key])


def test_the_key_of_today_wins_over_a_deprecated_one(make_project, tmp_path):
    project = make_project(None)
    params = tmp_path / "elsewhere.toml"
    params.write_text('dirname = "old"\nproject_dir = "project"\nprocess_steps = []\n')
    assert Pipeline.from_toml(params).project.directory == project.resolve()


def test_empty_strings_are_not_set_with_a_note(make_project):
    text = (
        'process_steps = ["cropping", "bkg_removal"]\nproject_dir = ""\nnproc = ""\n'
        '[cropping]\narea = ""\n'
        '[bkg_removal]\norders = [1, 1, 0]\npoly_basis = ""\nthreshold_max = ""\n'
    )
    project = make_project(text)
    pipeline = Pipeline.from_toml(project)
    assert pipeline.project.directory == project.resolve()
    assert pipeline.project.workers is None
    assert pipeline.project.steps[0].area is None
    noted = notes(pipeline)
    assert set(noted) == {
        "project_dir",
        "nproc",
        "cropping.area",
        "bkg_removal.poly_basis",
        "bkg_removal.threshold_max",
    }
    assert all('"not set"' in message for message in noted.values())


@pytest.mark.parametrize("channels", ['""', '[""]', '["."]', None])
def test_channels_may_say_in_several_ways_that_slices_lie_beside_the_file(make_project, channels):
    line = "" if channels is None else f"channels = {channels}\n"
    pipeline = Pipeline.from_toml(make_project(f"{line}process_steps = []\n"))
    assert pipeline.project.source.specs[0].shape == (7, 36, 42)
    assert notes(pipeline) == {}


def test_whole_floats_are_whole_numbers(make_project):
    text = (
        'process_steps = ["bkg_removal"]\nind_max = 3.0\n'
        "[bkg_removal]\norders = [1, 1, 1]\nmax_samples = 1e5\nthreshold_min = 2\n"
    )
    pipeline = Pipeline.from_toml(make_project(text))
    assert pipeline.project.source.specs[0].shape[0] == 4
    assert pipeline.project.steps[0].max_samples == 100_000
    assert isinstance(pipeline.project.steps[0].max_samples, int)
    assert isinstance(pipeline.project.steps[0].threshold_min, float)


def test_a_byte_order_mark_does_no_harm(make_project):
    project = make_project(None)
    (project / "params.toml").write_text("process_steps = []\n", encoding="utf-8-sig")
    assert Pipeline.from_toml(project).project.steps == ()


def test_any_single_parameter_file_is_taken(make_project):
    project = make_project(None)
    mine = project / "mine.toml"
    mine.write_text("process_steps = []\n")
    assert find_params(project) == mine
    assert Pipeline.from_toml(str(mine)).project.steps == ()


def test_of_several_parameter_files_the_usual_name_is_taken(make_project):
    project = make_project("process_steps = []\n")
    (project / "other.toml").write_text("nonsense")
    assert find_params(project).name == "params.toml"


def test_of_several_parameter_files_with_other_names_none_is_guessed(make_project):
    project = make_project(None)
    for name in ("a.toml", "b.toml"):
        (project / name).write_text("process_steps = []\n")
    (message,) = problems(project).values()
    assert "a.toml, b.toml" in message
    assert "name the one to use" in message


def test_without_a_parameter_file_the_command_that_writes_one_is_named(make_project):
    project = make_project(None)
    assert problems(project)[""] == (
        f"no parameter file: `pystack3d-dask init {project}` writes one"
    )


def test_a_project_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(ParameterError, match="no such file or directory") as caught:
        Pipeline.from_toml(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"process_steps = [\n", "not valid TOML: .*end of document"),
        (b"a = 1\na = 2\n", "not valid TOML"),
        (b"# \xff\n", "UTF-8"),
        (b"process_steps = " + b"[" * 5000, "deep inside each other"),
        (b"ind_min = " + b"9" * 5000, "not valid TOML: .*5000 digits"),
        (b"ind_min = 0x" + b"f" * 5000, "not valid TOML: .*digits"),
    ],
)
def test_what_is_not_toml_is_said_to_be_so(make_project, content, expected):
    project = make_project(None)
    (project / "params.toml").write_bytes(content)
    with pytest.raises(ParameterError, match=expected) as caught:
        Pipeline.from_toml(project)
    assert "params.toml" in str(caught.value)


def test_process_steps_cannot_be_left_out(make_project):
    assert problems(make_project("nproc = 1\n")) == {"process_steps": "missing"}


def test_unknown_keys_come_with_a_suggestion(make_project):
    text = (
        'process_steps = ["cropping", "bkg_removal"]\npresision = "float32"\n'
        "[cropping]\nareas = [0, 5, 0, 5]\n[bkg_removal]\norders = [1, 1, 1]\nzzz = 1\n"
    )
    found = problems(make_project(text))
    assert found["presision"] == "unknown parameter; did you mean 'precision'?"
    assert found["cropping.areas"] == "unknown parameter; did you mean 'area'?"
    assert found["bkg_removal.zzz"].startswith("unknown parameter; there are ")
    assert "skip_factors" in found["bkg_removal.zzz"]
    assert len(found) == 3


def test_unknown_corrections_come_with_a_suggestion(make_project):
    found = problems(make_project('process_steps = ["cropping", "bkg_remval", "magic"]\n'))
    assert set(found) == {"process_steps[1]", "process_steps[2]"}
    assert "did you mean 'bkg_removal'?" in found["process_steps[1]"]
    assert "'magic'" in found["process_steps[2]"]
    assert "cropping_final" in found["process_steps[2]"]


def test_a_correction_is_possible_once(make_project):
    found = problems(make_project('process_steps = ["cropping", "cropping"]\n'))
    assert found == {"process_steps": "'cropping' is listed twice; once is possible"}


@pytest.mark.parametrize(
    ("step", "line", "path", "expected"),
    [
        ("bkg_removal", 'orders = [1, "2", 1]', "orders[1]", 'a whole number .* "2"'),
        ("bkg_removal", "orders = [1, 1.5, 1]", "orders[1]", "a whole number .* 1.5"),
        ("bkg_removal", "orders = [1, true, 1]", "orders[1]", "a whole number .* true"),
        ("bkg_removal", "orders = 2", "orders", "a list expected, found 2"),
        ("bkg_removal", "orders = [1, 1]\ncross_terms = 1", "cross_terms", "true or false .* 1"),
        ("bkg_removal", "orders = [1, 1]\ncross_terms = 'no'", "cross_terms", "true or false"),
        ("bkg_removal", "orders = [1, 1]\nweight_func = 'huber'", "weight_func", "'HuberT'.*huber"),
        ("bkg_removal", "orders = [1, 1]\nthreshold_min = '2'", "threshold_min", 'a number .* "2"'),
        ("bkg_removal", "method = 'local'\nsize = [5, 5]", "size", r"3 values .* \[5, 5\]"),
        ("bkg_removal", "poly_basis = ['x']", "poly_basis", "text in quotes .* "),
        ("cropping", "area = [0, 5]", "area", r"4 values expected, found \[0, 5\]"),
        ("cropping", "area = [0, 5, 0, 5, 1]", "area", "4 values expected"),
        ("cropping", "area = [0, 5, 0, 1979-05-27]", "area[3]", "a whole number .*1979-05-27"),
        ("intensity_rescaling", "nbins = '256'", "nbins", 'a whole number .* "256"'),
        (
            "intensity_rescaling",
            "anchor = true",
            "anchor",
            "^'none' or 'auto' or a number or a list expected, found true$",
        ),
        ("intensity_rescaling", "anchor = [0, 5, 0, 1.5]", "anchor[3]", "a whole number .*1.5"),
        ("intensity_rescaling", "anchor = [0, 5]", "anchor", r"or 4 values expected, .*\[0, 5\]"),
        ("intensity_rescaling", "range_bins = [0]", "range_bins", "2 values expected"),
        ("intensity_rescaling", "range_bins = [0, nan]", "range_bins[1]", "a finite number .*NaN"),
        (
            "destriping",
            "filters = [{name='Dirac', noise_level=inf}]",
            "filters[0].noise_level",
            "a finite number .*Infinity",
        ),
    ],
)
def test_wrong_types_are_named_by_their_path(make_project, step, line, path, expected):
    found = problems(make_project(f'process_steps = ["{step}"]\n[{step}]\n{line}\n'))
    assert list(found) == [f"{step}.{path}"]
    assert re.fullmatch(f".*{expected}.*", found[f"{step}.{path}"])


@pytest.mark.parametrize(
    ("line", "path", "expected"),
    [
        ('ind_min = "3"', "ind_min", "a whole number"),
        ("ind_max = 2.5", "ind_max", "a whole number"),
        ("nproc = -1", "nproc", "greater than or equal to 0.*-1"),
        ('channels = "ESB"', "channels", 'a list expected, such as \\["ESB"\\]'),
        ("channels = []", "channels", "empty"),
        ("channels = [3]", "channels[0]", "text in quotes expected, found 3"),
        ('channels = ["..", "."]', "channels", r"'\.\.'"),
        ('voxel_size = "10 nm"', "voxel_size", "a list expected"),
        ("voxel_size = 0.01", "voxel_size", "a list expected"),
        (
            "voxel_size = [0.01]",
            "voxel_size",
            r"\[x, y\] or \[x, y, z\].* µm, expected, found \[0.01",
        ),
        ("voxel_size = [0.01, 0.01, 0]", "voxel_size", "from 1e-06 to 1e.06 µm, expected"),
        ("voxel_size = [0.01, nan]", "voxel_size", "a finite number|from 1e-06"),
        ('precision = "float"', "precision", "'float32' or 'source'.*float"),
        ('keep = "ingested"', "keep", 'such as \\["ingested"\\]'),
        ('keep = ["everything"]', "keep[0]", "'ingested' or 'intermediates'"),
        ('cropping = "all"', "cropping", r"a table, \[cropping\], expected"),
        ('project_dir = "nowhere"', "project_dir", "no such directory: .*nowhere"),
        ('project_dir = "a\\u0000b"', "project_dir", "is no directory: .*null"),
        (f'project_dir = "{"x" * 5000}"', "project_dir", r"x\.\.\. is no directory: .*too long"),
        (f'samples = "{"x" * 5000}"', "samples", r'found "x{199}\.\.\.$'),
    ],
)
def test_wrong_settings_are_named(make_project, line, path, expected):
    found = problems(make_project(f'process_steps = ["cropping"]\n{line}\n'))
    assert list(found) == [path]
    assert re.search(expected, found[path])


def test_everything_wrong_is_told_at_once(make_project):
    text = """\
precision = "double"
channels = ["."]
ind_min = 50
bad_slices = "hope"
gpu = "maybe"
process_steps = ["cropping", "bkg_removal", "intensity_rescaling", "destripping", "cropping"]
[cropping]
area = [5, 5, 0, 9]
[bkg_removal]
orders = [1, "2", 1]
skip_factor = [1, 1, 1]
[intensity_rescaling]
nbins = 1
filter_size = 0
range_bins = [9, 3]
"""
    assert set(problems(make_project(text))) == {
        "precision",
        "ind_min",
        "bad_slices",
        "gpu",
        "process_steps",
        "process_steps[3]",
        "cropping.area",
        "bkg_removal.orders[1]",
        "bkg_removal.skip_factor",
        "intensity_rescaling.nbins",
        "intensity_rescaling.filter_size",
        "intensity_rescaling.range_bins",
    }


def test_missing_slices_do_not_hide_what_is_wrong_with_parameters(make_project):
    text = """\
channels = ["A", "B"]
nproc = "two"
process_steps = ["bkg_removal", "intensity_rescaling"]
[bkg_removal]
poly_basis = "x - y"
[intensity_rescaling]
nbins = 1
"""
    found = problems(make_project(text, channels=["A", "C"]))
    assert set(found) == {
        "channels",
        "nproc",
        "bkg_removal.poly_basis",
        "intensity_rescaling.nbins",
    }
    assert 'did you mean channels = ["A", "C"]' in found["channels"]


def test_an_area_is_judged_by_the_image_that_reaches_it(make_project):
    text = """\
process_steps = ["cropping", "cropping_final"]
[cropping]
area = [0, 10, 0, 10]
[cropping_final]
area = [20, 30, 0, 10]
"""
    assert list(problems(make_project(text))) == ["cropping_final.area"]


def test_an_area_beyond_the_image_is_clipped_with_a_note(make_project):
    text = 'process_steps = ["cropping"]\n[cropping]\narea = [-5, 99, 6, 99]\n'
    pipeline = Pipeline.from_toml(make_project(text))
    assert pipeline.plan().chains[0].levels[-1].shape == (7, 30, 42)
    assert "clipped to [0, 42, 6, 36]" in notes(pipeline)["cropping.area"]


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ("ind_min = 2", 5),
        ("ind_max = 4", 5),
        ("ind_min = 2\nind_max = 4", 3),
        ("ind_min = 3\nind_max = 3", 1),
        ("ind_min = -7\nind_max = 99999", 7),
    ],
)
def test_slices_from_the_first_to_the_last_kept_are_kept(make_project, limits, count):
    pipeline = Pipeline.from_toml(make_project(f"process_steps = []\n{limits}\n"))
    assert pipeline.project.source.specs[0].shape[0] == count
    assert len(pipeline.project.source.names) == count


@pytest.mark.parametrize("limits", ["ind_min = 7", "ind_max = -1", "ind_min = 4\nind_max = 3"])
def test_keeping_no_slice_is_wrong(make_project, limits):
    found = problems(make_project(f"process_steps = []\n{limits}\n"))
    assert list(found) == ["ind_min"]
    assert "there are 7 slices, 0 to 6" in found["ind_min"]
    assert "None" not in found["ind_min"]


def test_project_dir_is_relative_to_the_file(make_project, tmp_path, monkeypatch):
    project = make_project(None)
    (tmp_path / "settings").mkdir()
    params = tmp_path / "settings" / "night.toml"
    params.write_text('project_dir = "../project"\nprocess_steps = []\n')
    monkeypatch.chdir(tmp_path.parent)
    pipeline = Pipeline.from_toml(params)
    assert pipeline.project.directory == project.resolve()
    assert pipeline.project.workspace.process == project.resolve() / "process"


def test_loading_writes_nothing(make_project):
    project = make_project(PYSTACK3D)
    before = listing(project)
    Pipeline.from_toml(project)
    assert listing(project) == before


def test_some_of_the_corrections_can_be_asked_for(make_project):
    project = make_project(PYSTACK3D)
    pipeline = Pipeline.from_toml(project, steps=["intensity_rescaling", "cropping"])
    assert [step.name for step in pipeline.project.steps] == ["cropping", "intensity_rescaling"]


def test_corrections_asked_for_must_be_listed(make_project):
    found = problems(make_project('process_steps = ["cropping"]\n'), steps=["croping"])
    assert list(found.values()) == ["'croping' is not one of process_steps (cropping)"]


def test_a_step_is_built_from_what_scripts_have_at_hand():
    step = build_step("cropping", {"area": np.array([1, 2, 3, 4])})
    assert step == build_step("cropping", {"area": (1, 2, 3, 4)})
    assert build_step("intensity_rescaling", {"nbins": np.int64(9)}).parameters()["nbins"] == 9
    with pytest.raises(ParameterError, match=r"cropping\.area: 4 values expected"):
        build_step("cropping", {"area": [1, 2]})


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('{ name = "Gabor", sigma = [1, 30] }', "destriping.filters[0].noise_level: missing"),
        (
            '{ name = "Gabor", noise_level = 2, sigma = [1] }',
            "destriping.filters[0].sigma: 2 values expected, found [1]",
        ),
        (
            '{ name = "Dirac", noise_level = 2, thta = 3 }',
            "destriping.filters[0].thta: unknown parameter",
        ),
        (
            '{ name = "Gabr", noise_level = 2 }',
            "destriping.filters[0].name: 'Gabor' or 'Dirac' expected, found \"Gabr\"",
        ),
    ],
)
def test_what_is_wrong_inside_a_list_is_told_with_its_path(make_project, table, expected):
    params = f'process_steps = ["destriping"]\n[destriping]\nfilters = [{table}]\n'
    with pytest.raises(ParameterError) as raised:
        load_project(make_project(params))
    assert expected in str(raised.value)


def test_a_step_that_cannot_be_read_is_not_called_missing(make_project):
    params = """\
process_steps = ["registration_calculation", "registration_transformation"]
[registration_calculation]
transformation = "TRANSLATE"
[registration_transformation]
"""
    with pytest.raises(ParameterError) as raised:
        load_project(make_project(params))
    assert "registration_calculation.transformation" in str(raised.value)
    assert "before it" not in str(raised.value)
