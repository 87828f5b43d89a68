"""The pictures of the README are there, small, and those that the script makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browsers import MISSING, has_browser
from PIL import Image
from screenshots import NAMES

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SHOWN = re.compile(r"!\[([^]]*)\]\(([^)]+)\)")
LARGEST, LARGEST_TOGETHER = 150_000, 500_000  # bytes


def test_the_readme_shows_each_picture_of_the_script_once() -> None:
    shown = SHOWN.findall((ROOT / "README.md").read_text())
    assert sorted(path for _, path in shown) == sorted(f"docs/images/{name}" for name in NAMES)
    assert all(len(text.split()) > 5 for text, _ in shown)


def test_nothing_but_the_pictures_is_kept() -> None:
    assert {path.name for path in IMAGES.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_small_and_wide_enough_to_be_read(name: str) -> None:
    check_picture(IMAGES / name)


def test_the_pictures_are_small_together() -> None:
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) <= LARGEST_TOGETHER


@pytest.mark.slow
@pytest.mark.skipif(not has_browser(), reason=MISSING)
def test_the_script_makes_every_picture(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "screenshots.py"), str(tmp_path / "images")],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = {path.name: path for path in (tmp_path / "images").iterdir()}
    assert made.keys() == set(NAMES)
    for name, path in made.items():
        check_picture(path)
        with Image.open(path) as new, Image.open(IMAGES / name) as kept:
            assert new.width == kept.width


def check_picture(path: Path) -> None:
    """Check that there is something to see, in a file that is not too large."""
    assert path.stat().st_size <= LARGEST
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 800
        colors = picture.convert("RGB").getcolors(256)
        assert colors is not None
        assert len(colors) > 32
        most, _ = max(colors)
        assert most < 0.9 * picture.width * picture.height
