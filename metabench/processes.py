"""Processes that die with their parent. They run a function of ours, and never the user's script again.

`multiprocessing` imports the parent's main module in each process that it spawns: a script without `if __name__ ==
"__main__":` would begin anew in each worker. Here Python is started with a line of code, is told where modules are,
and is then sent the function by its name.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.spawn import get_executable
from typing import Any

CODE = (
    "import sys; from multiprocessing.connection import Connection; parent = Connection(int(sys.argv[1])); "
    "sys.path[:] = parent.recv(); from metabench.processes import serve; serve(parent)"
)


class ChildDiedError(Exception):
    """The process was killed before it could answer."""


class Child:
    """A process that runs `function(connection, *arguments)`, which must be importable by name."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self.connection, other = multiprocessing.Pipe()
        number = other.fileno()
        command = [os.fsdecode(get_executable()), "-P", "-c", CODE, str(number)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(number,), process_group=0)
        other.close()  # so that the end of the process is the end of the pipe
        with suppress(OSError):  # one that is dead already is noticed when its messages are read
            self.connection.send(sys.path)
            self.connection.send((function, arguments))

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)

    def kill(self, timeout: float = 0.0) -> int:
        """Kill it and all that it started, after `timeout` seconds to exit by itself; its exit code."""
        self.join(timeout)
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.process.pid) == self.process.pid:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.join(5.0)
        if self.process.poll() is None:
            self.process.kill()
        self.connection.close()
        return self.process.wait()


def run_in_subprocess(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a new process; return its result, or raise what it raised. ChildDiedError if it is killed."""
    child = Child(serve_call, function, arguments)
    try:
        result = child.connection.recv()
    except (EOFError, OSError):
        raise ChildDiedError from None
    finally:
        child.connection.close()
        child.join()
    if isinstance(result, BaseException):
        raise result
    return result


def serve(parent: Connection) -> None:
    """Run in the child: what the parent asks for. Ctrl-C is the parent's; one thread per numeric library."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    function, arguments = parent.recv()
    function(parent, *arguments)


def serve_call(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run in the child: call the function and send back the result or the exception."""
    threading.Thread(target=exit_with_parent, args=(connection,), daemon=True).start()
    try:
        result = function(*arguments)
    except Exception as error:
        result = error
    connection.send(result)


def exit_with_parent(connection: Connection, take: Callable[[Any], None] = lambda message: None) -> None:
    """Pass on the parent's messages; when the parent is gone, kill this process and all it started."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            with suppress(OSError):
                if os.getpgrp() == os.getpid():
                    os.killpg(0, signal.SIGKILL)
            os._exit(1)
        take(message)
