"""Other processes that have imported torch already: one for each PYTHONHASHSEED of the kit, for all of pytest.

A process of its own imports torch and its optimizers first, which takes ten times as long as what is then asked of
it. These two have done so, and answer each question by a fork: what one question leaves behind, no other finds.
Real ones of the kit are started by the tests of a stranger's package: tests/cli/test_new.py.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import secrets
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from filelock import FileLock

from metabench.testing import other_processes
from tests.waiting import HANG

CODE = "from tests.warm_processes import serve; serve()"
KIT = "metabench.testing.other_processes:main"


def said_warmly(shared: Path, arguments: list[str]) -> list[str]:
    """As other_processes.said_elsewhere; `shared` is a folder of all of pytest's workers."""
    places = sys.path, os.getcwd(), dict(os.environ)
    asked = [ask(address, KIT, arguments, *places) for address in addresses(shared)]
    return [answer_of(connection)[0] for connection in asked]


def run_warmly(
    shared: Path, call: str, arguments: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """What a console script `module:function` prints in a folder, and its exit code; PYTHONPATH goes before ours."""
    path = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path]
    output, code = answer_of(ask(addresses(shared)[0], call, arguments, path, str(folder), environment))
    return subprocess.CompletedProcess([call, *arguments], code, output)


def addresses(shared: Path) -> list[tuple[int, str]]:
    """The port and the key of each process, which whoever asks first starts."""
    path = shared / "warm-processes.json"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            key = secrets.token_hex()
            running = [started(seed, key) for seed in other_processes.SEEDS]
            ports = [int(process.stdout.readline()) for process in running]
            path.write_text(json.dumps([(port, key) for port in ports]), encoding="utf-8")
    return [(port, key) for port, key in json.loads(path.read_text(encoding="utf-8"))]


def started(seed: str, key: str) -> subprocess.Popen[str]:
    """A process that lives as long as pytest, whose workers may end before it."""
    pytest = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(pytest), key],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def ask(address: tuple[int, str], *question: Any) -> Connection:
    """A connection to a copy of a process, which computes already; see answer for what it is asked."""
    port, key = address
    connection = Client(("127.0.0.1", port), authkey=key.encode())
    connection.send(question)
    return connection


def answer_of(connection: Connection) -> tuple[str, int]:
    """What was printed, and the exit code; RuntimeError for an exception."""
    assert connection.poll(HANG), "another process says nothing"
    output, code, error = connection.recv()
    if error:
        raise RuntimeError(f"another process ended with {error}")
    return output, code


def serve() -> None:
    """In the process: print the port, then answer until pytest is gone."""
    pytest, key = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=end_with, args=(pytest,), daemon=True).start()
    importlib.import_module("torch._dynamo")  # as torch's optimizers do when the first is made
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the copies
    with Listener(("127.0.0.1", 0), backlog=16, authkey=key.encode()) as listener:
        print(listener.address[1], flush=True)
        while True:
            connection = listener.accept()
            if os.fork() == 0:
                answer(connection)
            connection.close()


def end_with(pytest: int) -> None:
    """End when that process has."""
    while True:
        try:
            os.kill(pytest, 0)
        except ProcessLookupError:
            os._exit(0)
        time.sleep(1.0)


def answer(connection: Connection) -> None:
    """In a copy: what a function prints, both streams in one; its exit code; or the last line of what goes wrong."""
    output, code, error = io.StringIO(), 0, ""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        call, arguments, path, folder, environment = connection.recv()
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:] = [*filter(None, path)]
        sys.argv[1:] = arguments
        with redirect_stdout(output), redirect_stderr(output):
            code = pkgutil.resolve_name(call)() or 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        error = traceback.format_exc().strip().splitlines()[-1]
    finally:
        connection.send((output.getvalue(), code, error))
        os._exit(0)
