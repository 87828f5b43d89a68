"""Charts and pictures as drawn, also of what is odd."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pystack3d_dask.core.charts import Lines, Maps, Table, statistics
from pystack3d_dask.report.draw import draw, is_drawn, png, svg
from pystack3d_dask.report.pictures import Cube, Cuts
from pystack3d_dask.report.planes import Planes

NAMED = {"name": "chart", "title": "A chart", "text": "Read it."}
MAP = {**NAMED, "x": "x, pixels", "y": "y, pixels", "value": "gray levels"}


def lines(values, **given):
    return Lines(**NAMED, panels={"a": {"": np.array(values, float)}}, **given)


def planes(**given):
    rng = np.random.default_rng(0)
    xy, xz, yz = (rng.integers(0, 255, shape, "uint8") for shape in ((40, 60), (9, 60), (40, 9)))
    found = {"xy": xy, "xz": xz, "yz": yz, "front": xy, "top": xz, "right": yz}
    rest = {"size": (0.09, 0.4, 0.6), "unit": "µm", "slices": 9, "read": 9}
    return Planes(**{**found, **rest, **given})


CHARTS = {
    "one slice": statistics({"cast": np.array([[1.0, 3.0, 2.0]])}),
    "nothing known": lines([np.nan] * 5),
    "nothing known, logarithmic": lines([np.nan] * 5, logarithmic=True),
    "nothing above zero, logarithmic": lines([0, 0, 0], logarithmic=True),
    "infinity": lines([1, np.inf, 2]),
    "marks": lines([1, 2, 9, 2], flags={2: "it stands out"}),
    "marks of slices that are not there": lines([1, 2], flags={7: "it stands out"}),
    "many blocks": Lines(**NAMED, panels={"x": {f"b{k}": np.arange(3.0) for k in range(30)}}),
    "symbols": Lines(**NAMED, panels={"$x_ <&> µm": {"$^": np.arange(3.0), "b": np.arange(3.0)}}),
    "map of nothing": Maps(**MAP, maps={"a": np.full((3, 4), np.nan)}, extent=(0, 4, 0, 3)),
    "map of one pixel": Maps(**MAP, maps={"a": np.ones((1, 1))}, extent=(0, 1, 0, 1)),
    "image": Maps(**MAP, maps={"a": np.eye(4)}, extent=(0, 4, 0, 4), is_image=True),
    "cuts": Cuts(**NAMED, planes=planes()),
    "cuts of one gray level": Cuts(**NAMED, planes=planes(**dict.fromkeys(
        ("xy", "xz", "yz", "front", "top", "right"), np.zeros((4, 4), "uint8")
    ))),
    "cuts of a long stack in pixels": Cuts(**NAMED, planes=planes(size=(900, 4, 6), unit="pixels")),
    "cube": Cube(**NAMED, planes=planes()),
}  # fmt: skip


@pytest.mark.parametrize("name", CHARTS)
def test_everything_can_be_drawn_as_png_and_as_svg(name):
    with Image.open(io.BytesIO(png(CHARTS[name], 80))) as picture:
        assert picture.size[0] == 400
    root = ElementTree.fromstring(svg(CHARTS[name]))
    assert root.attrib["viewBox"].startswith("0 0 360 ")


def test_the_same_chart_is_the_same_file():
    assert svg(CHARTS["marks"]) == svg(CHARTS["marks"])


def test_labels_are_text_as_it_stands():
    text = "".join(ElementTree.fromstring(svg(CHARTS["symbols"])).itertext())
    assert "$x_ <&> µm" in text
    assert "$^" in text


def test_marked_slices_are_ringed():
    plain = lines([1, 2, 9, 2])
    red = [np.asarray(Image.open(io.BytesIO(png(c))))[..., :3] for c in (plain, CHARTS["marks"])]
    rings = [((p[..., 0] > 180) & (p[..., 1] < 60) & (p[..., 2] < 80)).sum() for p in red]
    assert rings[0] == 0
    assert rings[1] > 20


def test_ink_follows_the_mode_of_the_page():
    text = svg(CHARTS["marks"]).decode()
    assert "currentColor" in text
    assert "prefers-color-scheme: dark" in text


def test_tables_are_not_drawn():
    table = Table(**NAMED, columns={"a": [1]})
    assert not is_drawn(table)
    with pytest.raises(TypeError, match="found Table"):
        draw(table)
