"""One run at a time on a project, also from several hosts that share its file system.

The lock is a file that names its holder, who touches it every few seconds. Whether a holder
on this machine is alive, its process tells; one elsewhere is taken for dead when the file
was not touched for five minutes: native code may keep the interpreter, and with it whoever
touches the file, for long.
"""

from __future__ import annotations

import _thread
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pystack3d_dask.errors import LockedError

HEARTBEAT = 5.0  # seconds between touches
SILENCE = 300.0  # seconds after which a holder on another host is taken for dead
SAME_START = 2.0  # seconds by which start times of one process may seem to differ
CLOCK_SET = (
    60.0  # seconds of silence until another start time means another process: clocks are set
)
PIDS = Path("/proc/self/ns/pid")  # processes of containers are numbered by themselves


@dataclass(frozen=True)
class Holder:
    """Who holds a project.

    Parameters
    ----------
    host : str
        Name of the machine.
    pids : str
        Which processes its numbers are about; empty where there is one kind only.
    pid : int
        The process.
    born : float
        When it was started, in seconds since 1970.
    since : str
        When it took the lock.
    key : str
        Tells this lock from all others.
    """

    host: str
    pids: str
    pid: int
    born: float
    since: str
    key: str

    @classmethod
    def me(cls) -> Holder:
        """Return this process."""
        return cls(
            host=socket.gethostname(),
            pids=os.readlink(PIDS) if PIDS.exists() else "",
            pid=os.getpid(),
            born=psutil.Process().create_time(),
            since=datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="seconds"),
            key=uuid.uuid4().hex,
        )

    def is_dead(self, silent: float) -> bool:
        """Return whether the process is gone, or was silent for too long to be thought alive."""
        me = Holder.me()
        if (self.host, self.pids) != (me.host, me.pids):
            return silent > SILENCE
        try:
            born: float = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        return abs(born - self.born) > SAME_START and silent > CLOCK_SET


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a directory as long as the context lasts.

    Parameters
    ----------
    directory : Path
        Made if it is not there.

    Raises
    ------
    LockedError
        When somebody else holds it, with who and since when.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path, me = _path(directory), Holder.me()
    while not _taken(path, me):
        _remove_if_dead(path)
        time.sleep(0.01)
    stop, lost = threading.Event(), threading.Event()
    heart = threading.Thread(target=_beat, args=(path, me, stop, lost), daemon=True, name=path.name)
    heart.start()
    try:
        yield
    except KeyboardInterrupt:
        if lost.is_set():
            raise LockedError(_lost(path)) from None
        raise
    finally:
        stop.set()
        heart.join()
        if _holder(path) == me:
            path.unlink(missing_ok=True)


def check_free(directory: Path) -> None:
    """Refuse a directory that somebody holds, before anything is begun that takes time.

    The lock of somebody dead is removed.

    Raises
    ------
    LockedError
        With who holds it, and since when.
    """
    path = _path(directory)
    if path.exists():
        _remove_if_dead(path)


def is_locked(directory: Path) -> bool:
    """Return whether somebody holds a directory, or did and is dead."""
    return _path(directory).exists()


def _path(directory: Path) -> Path:
    return directory / "run.lock"


def _taken(path: Path, me: Holder) -> bool:
    draft, content = path.with_name(f"{path.name}.{me.key}.partial"), json.dumps(asdict(me))
    try:
        draft.write_text(content)
        os.link(draft, path)  # whole or not at all, also on network drives
    except FileExistsError:
        return _holder(path) == me  # the answer of a network drive may have been lost
    except OSError:  # a file system without links
        return _created(path, content)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _created(path: Path, content: str) -> bool:
    try:
        with path.open("x") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _holder(path: Path) -> Holder | None:
    """Return who holds the lock; None if it is gone, or nobody's."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _named(holder: Holder | None) -> str:
    return "somebody" if holder is None else f"process {holder.pid} on {holder.host}"


def _remove_if_dead(path: Path) -> None:
    """Remove a lock whose holder is dead.

    Raises
    ------
    LockedError
        When the holder is alive.
    """
    holder, silent = _holder(path), _silence(path)
    is_dead = silent > SILENCE if holder is None else holder.is_dead(silent)
    if not path.exists():
        return
    if not is_dead:
        who = _named(holder)
        since = "" if holder is None else f" since {holder.since}"
        message = (
            f"{path.parent}: {who} works on this project{since}, last heard of "
            f"{silent:.0f} s ago; wait until it is done, or stop it there"
        )
        raise LockedError(message)
    with _alone(path) as is_alone:
        # a lock that somebody else has taken by now is not that of the dead
        if is_alone and _holder(path) == holder:
            path.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Yield whether nobody else removes a dead one's lock at the same time."""
    door = path.with_name(f"{path.name}.removing")
    if not _created(door, ""):
        if _silence(door) > SILENCE:  # whoever came last was killed
            door.unlink(missing_ok=True)
        yield False
        return
    try:
        yield True
    finally:
        door.unlink(missing_ok=True)


def _silence(path: Path) -> float:
    """Return the seconds since a file was touched, by the clock of its file system."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    probe.touch()
    try:
        return max(0.0, probe.stat().st_mtime - path.stat().st_mtime)
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink()


def _beat(path: Path, me: Holder, stop: threading.Event, lost: threading.Event) -> None:
    """Touch the lock, until it is somebody else's: then end what the main thread does."""
    while not stop.wait(HEARTBEAT):
        if _holder(path) not in (me, None):
            lost.set()
            _thread.interrupt_main()
            return
        with suppress(OSError):  # the disk may be away for a while
            os.utime(path)


def _lost(path: Path) -> str:
    who = _named(_holder(path))
    return (
        f"{path.parent}: this run was silent for so long, suspended perhaps, that {who} took it "
        "for dead and goes on with the project; what was finished stays valid"
    )
