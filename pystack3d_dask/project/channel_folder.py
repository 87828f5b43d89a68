"""Directories for the files of channels."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

NOT_IN_NAMES = re.compile(r'[<>:"|?*\\\x00-\x1f]')


def channel_folder(name: str) -> PurePosixPath:
    """Return the relative directory for the files of a channel; empty for ``"."``."""
    parts = NOT_IN_NAMES.sub("_", name).split("/")
    return PurePosixPath(*(part for part in parts if part not in ("", ".", "..")))
