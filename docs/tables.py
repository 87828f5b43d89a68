"""Write the table of corrections in the README anew: ``python docs/tables.py``."""

from __future__ import annotations

import re
from pathlib import Path

from pystack3d_dask.core.registry import registry

README = Path(__file__).parents[1] / "README.md"
TABLE = re.compile(r"\| step \| mends \|\n(?:\|.*\n)+")


def table() -> str:
    """Return the corrections of this package, as Markdown."""
    steps = sorted(registry().values(), key=lambda step: (step.usual_place, step.name))
    ours = (step for step in steps if step.__module__.startswith("pystack3d_dask."))
    rows = (f"| `{step.name}` | {step.purpose} |" for step in ours)
    return "\n".join(["| step | mends |", "|---|---|", *rows, ""])


def written(readme: str) -> str:
    """Return a README with today's table."""
    return TABLE.sub(lambda _: table(), readme, count=1)


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
