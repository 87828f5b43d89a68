"""Parameters of every step: plausible ones for tiny stacks, extreme ones, and nonsense."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.step import Step

Tables = dict[str, dict[str, Any]]

low = st.floats(-10, 60, width=32) | st.integers(0, 50)
high = st.floats(60, 300, width=32) | st.integers(51, 255)
area = st.tuples(st.integers(-2, 4), st.integers(12, 45), st.integers(-2, 4), st.integers(12, 45))
blocks = st.tuples(st.integers(1, 2), st.integers(1, 2))
bases = ["1 + x", "x*y + z**2", "x*x", "y**7", "z", "1", "x**3*y**2*z"]
gabor = st.fixed_dictionaries(
    {
        "name": st.just("Gabor"),
        "noise_level": st.floats(0.1, 100),
        "sigma": st.tuples(st.floats(0.1, 5), st.floats(0.1, 60)),
    },
    optional={"theta": st.sampled_from([0, 90, 45, 180, -12.5])},
)
dirac = st.fixed_dictionaries({"name": st.just("Dirac"), "noise_level": st.floats(0.1, 100)})

KNOWN: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "cropping": {"area": area},
    "cropping_final": {"area": area},
    "bkg_removal": {
        "outside": st.sampled_from(["keep", "correct"]),
        "orders": st.lists(st.integers(0, 4), min_size=2, max_size=3),
        "cross_terms": st.booleans(),
        "poly_basis": st.sampled_from(bases),
        "dim": st.sampled_from([2, 3]),
        "skip_factors": st.lists(st.integers(1, 6), min_size=3, max_size=3),
        "skip_averaging": st.booleans(),
        "threshold_min": low,
        "threshold_max": high,
        "weight_func": st.sampled_from(["HuberT", "Hampel", "None"]),
        "preserve_avg": st.booleans(),
        "max_samples": st.integers(1, 10_000),
        "method": st.sampled_from(["polynomial", "polynomial", "local", "classes"]),
        "model": st.sampled_from(["auto", "subtract", "divide"]),
        "size": st.tuples(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0.1, 10)),
        "size_unit": st.sampled_from(["pixels", "um"]),
    },
    "intensity_rescaling": {
        "method": st.sampled_from(["histogram", "neighbors"]),
        "neighbors": st.integers(1, 5),
        "anchor": st.sampled_from(["none", "auto"]),
        "nbins": st.integers(2, 300),
        "range_bins": st.tuples(low, high),
        "filter_size": st.integers(-1, 12),
    },
    "intensity_rescaling_area": {
        "area": area,
        "threshold_min": low,
        "threshold_max": high,
        "factors_range": st.tuples(st.floats(0.1, 1), st.floats(1, 3)),
    },
    "registration_calculation": {
        "transformation": st.sampled_from(
            ["TRANSLATION", "TRANSLATION", "RIGID_BODY", "SCALED_ROTATION", "AFFINE"]
        ),
        "method": st.sampled_from(["stackreg", "phase"]),
        "area": area,
        "threshold": low,
        "nb_blocks": blocks,
        "channel": st.sampled_from(["", "."]),
    },
    "registration_transformation": {
        "subpixel": st.booleans(),
        "constant_drift": st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
        "box_size_averaging": st.integers(1, 12),
        "mode": st.sampled_from(["constant", "edge", "symmetric", "reflect", "wrap"]),
        "cropping": st.booleans(),
        "interpolation": st.sampled_from(
            ["bilinear", "linear", "catmull-rom", "cubic", "lanczos3", "whole", "spline"]
        ),
        "nb_blocks": blocks,
    },
    "destriping": {
        "filters": st.lists(gabor | dirac, min_size=1, max_size=2),
        "maxit": st.integers(1, 6),
        "cvg_threshold": st.floats(0, 0.1),
        "beta": st.floats(0.1, 100),
        "wavelet_decomposition": st.fixed_dictionaries(
            {
                "wavelet": st.sampled_from(["db2", "haar", "coif3", "bior2.2", "db25"]),
                "sigma": st.floats(0.1, 10),
            },
            optional={"level": st.integers(1, 4)},
        ),
    },
    "resampling": {
        "dz": st.floats(0.001, 0.1),
        "zpos_out": st.lists(st.floats(0, 0.05), max_size=6).map(sorted),
        "z_source": st.sampled_from(["names", "metadata", "coordinates"])
        | st.lists(st.floats(0, 1), min_size=1, max_size=6),
        "policy": st.sampled_from(
            ["slice_{slice_nb}_z={z_coord}um.tif", "{x}z={z_coord}um{y}", "nothing"]
        ),
        "interpolation": st.sampled_from(["linear", "catmull-rom", "cubic", "lanczos3", "whole"]),
    },
    "gamma": {"gamma": st.floats(0.1, 10), "in_range": st.tuples(low, high)},
    "percentile_clipping": {
        "percentiles": st.tuples(st.floats(0, 40), st.floats(60, 100)),
        "scope": st.sampled_from(["stack", "slice"]),
    },
    "equalization": {
        "scope": st.sampled_from(["stack", "slice"]),
        "nbins": st.integers(2, 300),
    },
    "clahe": {
        "size": st.tuples(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0.1, 10)),
        "size_unit": st.sampled_from(["pixels", "um"]),
        "scope": st.sampled_from(["stack", "slice"]),
        "clip_limit": st.floats(0.001, 1),
        "nbins": st.integers(2, 300),
        "range_bins": st.tuples(low, high),
    },
}


def of_type(hint: Any) -> st.SearchStrategy[Any] | None:
    """Return values of a type that a parameter may have; None where TOML has none of it."""
    simple = {bool: st.booleans(), int: st.integers(0, 20), float: st.floats(0, 100)}
    if hint in simple:
        return simple[hint]
    inner = [each for each in get_args(hint) if each not in (type(None), ...)]
    if get_origin(hint) is Literal:
        return st.sampled_from(inner)
    found = [each for each in map(of_type, inner) if each is not None]
    if not found or len(found) < len(inner):
        return None
    return st.tuples(*found) if get_origin(hint) is tuple else st.one_of(found)


def of_fields(step: type[Step]) -> dict[str, st.SearchStrategy[Any]]:
    """Return values for the parameters of a step, by their types."""
    hints = get_type_hints(step)
    found = {each.name: of_type(hints[each.name]) for each in fields(step)}
    return {name: values for name, values in found.items() if values is not None}


PLAUSIBLE = {name: KNOWN.get(name) or of_fields(step) for name, step in registry().items()}
NEEDED = {
    "bkg_removal": {"orders"},
    "registration_calculation": {"transformation"},
    "destriping": {"filters"},
    "resampling": {"dz"},
}
SETTINGS: Mapping[str, st.SearchStrategy[Any]] = {
    "precision": st.sampled_from(["float32", "source"]),
    "ind_min": st.integers(-1, 2),
    "ind_max": st.integers(0, 8),
    "voxel_size": st.lists(
        st.sampled_from([0.01, 0.03]) | st.floats(-1, 1e7), min_size=1, max_size=4
    ),
    "keep": st.lists(st.sampled_from(["ingested", "intermediates"]), max_size=2, unique=True),
}

counts = st.sampled_from(
    [0, 1, 2, 3, 5, 30, 255, 1000, 10**4, 10**6, 2**31, 2**53, 10**30, 10**400]
)
integers = counts | counts.map(lambda count: -count)
sizes = st.sampled_from([0.0, 0.5, 1.0, 1e3, 1e4, 1e6, 1e9, 1e30, 1e300, 1e-6, 1e-9, 1e-30, 5e-324])
floats = sizes | sizes.map(lambda size: -size) | st.sampled_from([float("nan"), float("inf")])
numbers = integers | floats
names = st.sampled_from(["", " ", ".", "..", "x", "\0", "a\0b", "é", "😀", "/", "C:", "\n", "\x7f"])
formulas = st.sampled_from(
    ["x**9999999", "x**" + "9" * 5000, "x+" * 5000, "x*" * 999 + "x", "x**y"]
)
policies = st.sampled_from(
    ["{", "{}", "{z_coord}", "{z_coord}" * 2, "{a}" * 20 + "{z_coord}x", "(" * 50]
)
texts = names | formulas | policies | st.text(max_size=20) | st.just("y" * 100_000)
scalars = numbers | texts | st.booleans() | st.integers() | st.floats()
junk = (
    scalars
    | st.lists(numbers, max_size=5)
    | st.lists(scalars, max_size=5)
    | st.integers(1, 4).flatmap(lambda n: st.lists(numbers, min_size=n, max_size=n))
    | numbers.map(lambda number: [number] * 20_000)
    | st.dictionaries(st.text(max_size=8), scalars, max_size=3)
    | st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=3), max_leaves=9)
)


@st.composite
def plausible_tables(draw: st.DrawFn, least: int = 0, most: int = 4) -> Tables:
    """Return steps in some order, each with some of its parameters."""
    known = st.sampled_from(sorted(PLAUSIBLE))
    names = draw(st.lists(known, min_size=least, max_size=most, unique=True))
    if "registration_transformation" in names and draw(st.sampled_from([True] * 9 + [False])):
        names = [name for name in names if name != "registration_calculation"]
        names.insert(names.index("registration_transformation"), "registration_calculation")
    return {name: draw(plausible(name)) for name in names}


@st.composite
def plausible(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Return parameters of one step: those that it needs, and up to three others."""
    every = PLAUSIBLE[name]
    others = draw(st.lists(st.sampled_from(sorted(every)), max_size=3))
    return {key: draw(every[key]) for key in sorted({*NEEDED.get(name, ()), *others})}


@st.composite
def wild_tables(draw: st.DrawFn) -> tuple[Tables, dict[str, Any]]:
    """Return one to three steps and settings, one or two of whose values are anything."""
    tables = draw(plausible_tables(least=1, most=3))
    settings = draw(plausible_settings)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        if draw(st.sampled_from(["step"] * 8 + ["setting"])) == "step":
            name = draw(st.sampled_from(sorted(tables)))
            key = draw(st.sampled_from([*PLAUSIBLE[name]]))
            tables[name][key] = _changed(draw, draw(PLAUSIBLE[name][key]))
        else:
            keys = ["channels", "process_steps", "nproc", "project_dir", "samples", "bad_slices"]
            keys += ["bad_content", "history", "dirname", "other"]
            key = draw(st.sampled_from([*SETTINGS, *keys]))
            settings[key] = draw(junk)
    return tables, settings


plausible_settings = st.fixed_dictionaries({}, optional=dict(SETTINGS))


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """Return an extreme value of the same type, or the same with one such inside; or anything."""
    if draw(st.sampled_from([False] * 7 + [True])):
        return draw(junk)
    if isinstance(value, dict):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _changed(draw, value[key])}
    if isinstance(value, list | tuple) and value:
        changed, at = list(value), draw(st.integers(0, len(value) - 1))
        changed[at] = _changed(draw, changed[at])
        return changed
    if isinstance(value, bool | list | tuple):
        return draw(junk)
    if isinstance(value, str):
        return draw(texts)
    return draw(numbers if isinstance(value, float) else integers)


def toml_file(tables: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return a parameter file."""
    top = {"process_steps": list(tables)} | dict(settings)
    lines = [f"{_quoted(key)} = {_value(value)}" for key, value in top.items()]
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{_quoted(key)} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(k)} = {_value(each)}" for k, each in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
