"""Child processes that die with their parent, and start without importing torch anew; run one function in one.

Where the system can fork safely, one server process imports torch once, and every child is a copy of it that is there
in milliseconds. Elsewhere each child is spawned. Neither runs the user's script again: a script needs no
`if __name__ == "__main__":`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

PRELOADED = ["metabench.engine.run", "torch._dynamo"]
"""What the server imports: torch, and what torch's optimizers import when the first is made. By name: the driver must
not import it."""
MAIN_LOCK = threading.Lock()


class ChildDiedError(Exception):
    """The process was killed before it could answer."""


def run_in_subprocess(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a new process; return its result, or raise what it raised. ChildDiedError if it is killed."""
    process, connection = start_child(serve_call, function, arguments)
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


def start_child(serve: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Start `serve(connection, *arguments)` in a new process; return it and our end of the connection."""
    context = child_context()
    connection, other = context.Pipe()
    process = context.Process(target=begin_child, args=(dict(os.environ), serve, other, *arguments))  # type: ignore[attr-defined]
    with hidden_main():
        process.start()
    other.close()  # so that the end of the process is the end of the pipe
    return process, connection


def child_context() -> BaseContext:
    """The way in which children start."""
    if sys.platform != "linux":  # elsewhere system libraries do not survive a fork, or there is none
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextmanager
def hidden_main() -> Iterator[None]:
    """Hide the main module: multiprocessing would import it, and so run it, in each child that starts meanwhile."""
    with MAIN_LOCK:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def begin_child(environment: dict[str, str], serve: Callable[..., None], *arguments: Any) -> None:
    """Run in the child: take over the parent's environment, since the server has that of its own start."""
    os.environ.clear()
    os.environ.update(environment)
    init_child()
    serve(*arguments)


def serve_call(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run in the child: call the function and send back the result or the exception."""
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
    one_thread_per_library()


def one_thread_per_library() -> None:
    """Keep numeric libraries that are imported later from starting threads, unless the user has said how many."""
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
