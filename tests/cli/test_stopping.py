"""Ctrl-C, pressed in a terminal at any time: a command ends, soon, in order, and for good."""

from __future__ import annotations

import math
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import result
from processes import descendants, lives, wait_for
from stacks import WHOLE_CHAIN, images, make_project

from pystack3d_dask.pipeline import Pipeline

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals of this kind", allow_module_level=True)
import pty

COMMAND = [sys.executable, "-m", "pystack3d_dask"]
SOON = 5.0  # seconds that a command may take to end
CTRL_C = b"\x03"
COMMANDS = {
    "run": ["run", "--workers", "2"],
    "plan": ["plan"],
    "preview": ["preview"],
    "init": ["init"],
}


@dataclass
class Ended:
    """A command that has ended."""

    status: int
    seconds: float  # since the key was pressed, or since the start where it was not
    left: list[int]  # processes that it had started when the key was pressed
    printed: str
    pressed: bool


def in_terminal(arguments: list[str], presses: list[float]) -> Ended:
    """Run a command in a terminal of its own; press Ctrl-C so many seconds after it listens."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(COMMAND[0], [*COMMAND, *arguments])
    since = time.monotonic()
    listening = math.inf  # since when
    waiting, printed, left = list(presses), b"", list[int]()
    while True:
        if select.select([terminal], [], [], 0.01)[0]:
            try:
                printed += os.read(terminal, 65536)
            except OSError:  # Linux: nobody has it open any more
                break
        if listening == math.inf and listens(pid):
            listening = time.monotonic()
        if waiting and time.monotonic() - listening >= waiting[0]:
            waiting.pop(0)
            left += descendants(pid)
            since = time.monotonic()
            os.write(terminal, CTRL_C)
    _, status = os.waitpid(pid, 0)
    seconds = time.monotonic() - since
    os.close(terminal)
    pressed = len(waiting) < len(presses)
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, seconds, left, printed.decode(errors="replace"), pressed)


def listens(pid: int) -> bool:
    """Return whether a command has come to where signals end it in order.

    The interpreter itself catches SIGINT, and never SIGTERM. Where the system does not tell,
    nothing is waited for.
    """
    status = Path("/proc", str(pid), "status")
    if not status.exists():
        return True
    caught = re.search(r"^SigCgt:\s*(\w+)", status.read_text(), re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stopping") / "project"
    return make_project(directory, WHOLE_CHAIN, images((48, 200, 240)))


def assert_stopped(ended: Ended) -> None:
    assert ended.status == 130, ended.printed
    assert "interrupted" in ended.printed
    assert "Traceback" not in ended.printed
    assert "Exception ignored" not in ended.printed
    wait_for(lambda: not any(map(lives, ended.left)), SOON)


def arguments_of(command: str, project: Path, tmp_path: Path) -> list[str]:
    if command != "init":
        return [*COMMANDS[command], str(project)]
    slices = tmp_path / "slices"
    slices.mkdir(exist_ok=True)
    for path in project.glob("*.tif"):
        if not (slices / path.name).exists():
            (slices / path.name).symlink_to(path)
    (slices / "params.toml").unlink(missing_ok=True)
    return [*COMMANDS[command], str(slices)]


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_at_the_start_ends_a_command(project, tmp_path, command):
    ended = in_terminal(arguments_of(command, project, tmp_path), [0.05])
    assert_stopped(ended)
    assert not (project / "process" / "result.zarr").exists()


def test_a_second_ctrl_c_ends_at_once(project, tmp_path):
    ended = in_terminal(arguments_of("run", project, tmp_path), [2.0, 2.05])
    assert_stopped(ended)


def test_a_signal_while_the_interpreter_ends_does_not_change_how_a_command_ended():
    late = """\
import os, signal, sys
from pystack3d_dask.cli.command import main

class Late:  # deleted by the interpreter after all that is registered for the exit has run
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT):
        kill(pid, number)

sys.late = Late()
sys.argv = ["pystack3d-dask", "--version"]
main()
"""
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_that_cannot_be_passed_on_comes_again():
    script = """\
import os, signal, threading
from pystack3d_dask.cli.stopping import orderly, stoppable

class Collected:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

with stoppable():
    try:
        with orderly():
            Collected()
            threading.Event().wait(60)
            print("went on")
    except KeyboardInterrupt:
        print("interrupted")
"""
    assert printed_by(script) == "interrupted\n"


def test_an_interrupt_that_is_swallowed_ends_the_command_all_the_same():
    script = """\
import os, signal
from contextlib import suppress
from pystack3d_dask.cli.stopping import orderly, stoppable

with stoppable():
    try:
        with orderly():
            with suppress(BaseException):
                os.kill(os.getpid(), signal.SIGTERM)
            print("went on")
    except KeyboardInterrupt:
        print("interrupted")
"""
    assert printed_by(script) == "went on\ninterrupted\n"


def test_an_interrupt_in_a_string_that_is_executed_does_not_change_the_status(tmp_path):
    (tmp_path / "interrupted.py").write_text("""\
import os, signal, sys
from pystack3d_dask.cli.stopping import orderly, stoppable

with stoppable():
    try:
        with orderly():
            exec("os.kill(os.getpid(), signal.SIGINT)")
    except KeyboardInterrupt:
        sys.exit(130)
""")
    command = [sys.executable, "-m", "interrupted"]
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == 130


def printed_by(script: str) -> str:
    """Run a script, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_at_any_time_ends_a_command_and_the_next_one_goes_on(project, tmp_path, command):
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # pytest shows it with a failure
    times = random.Random(seed)
    whole = in_terminal(arguments_of(command, project, tmp_path), [])
    assert whole.status == 0, whole.printed
    expected = result(project) if command == "run" else None
    for _ in range(20):
        begin = arguments_of(command, project, tmp_path)
        begin += ["--restart", "--yes"] * (command == "run")
        ended = in_terminal(begin, [times.uniform(0.0, whole.seconds)])
        if ended.status == 0:  # it was done before, or about to be
            continue
        assert_stopped(ended)
        assert ended.seconds < SOON, ended.printed
    if expected is not None:
        Pipeline.from_toml(project).run()
        np.testing.assert_array_equal(result(project), expected)
