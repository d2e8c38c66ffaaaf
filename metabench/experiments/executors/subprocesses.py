"""Subprocesses that die with their parent; run one function in such a process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any


class ChildDiedError(Exception):
    """The process was killed before it could answer."""


def run_in_subprocess(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a new process; return its result, or raise what it raised. ChildDiedError if it is killed."""
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    process = context.Process(target=serve_call, args=(other, function, arguments))
    process.start()
    other.close()  # so that the end of the process is the end of the pipe
    try:
        result = connection.recv()
    except EOFError:
        raise ChildDiedError from None
    finally:
        connection.close()
        process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def serve_call(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run in the child: call the function and send back the result or the exception."""
    init_child()
    threading.Thread(target=exit_with_parent, args=(connection,), daemon=True).start()
    try:
        result = function(*arguments)
    except Exception as error:
        result = error
    connection.send(result)


def init_child() -> None:
    """Set up a child: Ctrl-C is the parent's, one process group to kill together, one thread per numeric library."""
    with suppress(OSError):
        os.setpgrp()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


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
