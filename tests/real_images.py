"""Real images that some tests use: of others, too large for the repository, kept beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "shared" / "data"
ATLAS = DATA / "atlas_fibsem"
MEDULLA = DATA / "flyem_medulla_250" / "flyem_medulla_250.tif"
CURTAINED = DATA / "curtained_fibsem" / "curtained_fibsem.tif"
NOISY = DATA / "noisy_fibsem" / "fibsem.tif"
PC12 = DATA / "pc12_stackreg"


def needs(path: Path) -> pytest.MarkDecorator:
    """Return the mark of a test that cannot run without some of these images."""
    inside = path.relative_to(DATA.parents[1]).as_posix()
    reason = (
        f"needs real images of third parties, which are not part of the repository: put "
        f"{inside} beside the checkout"
    )
    return pytest.mark.skipif(not path.exists(), reason=reason)
