"""Processes that end with the one that began them, and a function called in one."""

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
    """A process ended without an answer."""


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, or raises, in a process of its own; ChildDiedError if that is killed."""
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    process = context.Process(target=answer, args=(other, function, arguments))
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


def answer(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The other end of `call`."""
    init_child()
    threading.Thread(target=exit_with_parent, args=(connection,), daemon=True).start()
    try:
        result = function(*arguments)
    except Exception as error:
        result = error
    connection.send(result)


def init_child() -> None:
    """Leave Ctrl-C to the parent, in a group of processes that can be ended together; one thread a library."""
    with suppress(OSError):
        os.setpgrp()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def exit_with_parent(connection: Connection, take: Callable[[Any], None] = lambda message: None) -> None:
    """Hand on what the parent says, and end this process and all it began when the parent is gone."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            with suppress(OSError):
                if os.getpgrp() == os.getpid():
                    os.killpg(0, signal.SIGKILL)
            os._exit(1)
        take(message)
