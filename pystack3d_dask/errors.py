"""What can go wrong, in words for the person who has to mend it.

Every message says what was given, what was expected, where, and what to do.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class StackError(Exception):
    """Base of every error that this package raises on purpose.

    ``exit_status`` is what the command line ends with: 2 when parameters or file
    headers are wrong and nothing was written, 1 when reading pixels or running failed.
    """

    exit_status = 1


class SourceError(StackError):
    """The slices cannot be opened as one stack (found in their headers)."""

    exit_status = 2


class HeadersError(SourceError):
    """The headers of the slices make no stack; the parameters may be right."""


class PixelError(StackError):
    """The pixels of a slice cannot be read."""


class DamageError(PixelError):
    """Pixels that were stored are missing, or are not those that were written.

    Parameters
    ----------
    path : str
        The file.
    reason : str
        What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(path, reason)

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.reason}; `pystack3d-dask verify` finds all that is damaged, "
            "`pystack3d-dask run` then computes it again"
        )


class AccessError(StackError):
    """Where to listen, or the certificates for it, cannot be used; nothing was started."""

    exit_status = 2


class DeviceError(StackError):
    """GPUs are named in a way that says nothing; nothing was started."""

    exit_status = 2


class RoomError(StackError):
    """The disk, or a worker, has no room for what was planned."""


class ExportError(StackError):
    """What is asked for cannot be exported, or not to that place; nothing was written."""

    exit_status = 2


class LockedError(StackError):
    """Another run holds the project."""


class VersionError(StackError):
    """Workers have another version of this package; nothing was computed."""


MORE_MEMORY = (
    "(`pystack3d-dask plan` tells what a worker needs): use fewer workers (--workers), or give "
    "them more memory; their logs tell more"
)


class WorkersDiedError(StackError):
    """Every worker that computed a block died of it."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} worker processes in a row died while they computed it, of too little memory "
            f"most likely {MORE_MEMORY}"
        )


class RunError(StackError):
    """Blocks failed; what was finished stays valid and the same command continues."""


class WorkersStarvedError(RunError):
    """Workers are killed for their memory as soon as they are started."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} worker processes in a row died before they had finished anything, of too "
            f"little memory {MORE_MEMORY}"
        )


class FitRequiredError(StackError, TypeError):
    """A correction with a stack-wide fit was called without its fit."""


ADVICE = {
    errno.ENOSPC: "make room, or give the project another disk (project_dir), and run again",
    errno.EDQUOT: "make room within the quota, or use another disk (project_dir), and run again",
    errno.EROFS: "results go into the project's directory: copy the parameter file to a directory "
    "that can be written, and name there where the slices are",
    errno.EACCES: "give yourself the right to read and write there, and run again",
    errno.EPERM: "give yourself the right to read and write there, and run again",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer workers",
}


def explain(error: OSError) -> str:
    """Return what the operating system refused, where, and what to do about it."""
    text = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename else ""
    advice = ADVICE.get(error.errno or 0)
    return f"{where}{text}" + (f"; {advice}" if advice else "")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or merely noteworthy, in the parameters.

    Parameters
    ----------
    path : str
        TOML path of the culprit, such as ``bkg_removal.orders``.
    message : str
        What was found, what was expected and what to do.
    severity : {"error", "warning", "note"}
        Warnings, of what is hardly meant, and notes are shown and the run goes on.
    """

    path: str
    message: str
    severity: Literal["error", "warning", "note"] = "error"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ParameterError(StackError):
    """Parameters are wrong; carries every problem that was found, not only the first."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem], origin: str = "") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        super().__init__(self.problems, origin)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''}"
        head += f" in {self.origin}:" if self.origin else ":"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])
