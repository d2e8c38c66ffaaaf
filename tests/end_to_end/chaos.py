"""`make chaos`: trials that are killed, starved and hung at random, and the records that they must leave.

Workers and whole commands are killed with SIGKILL at random moments, the disk is full once, plugins hang, exit and
eat memory. In the end every trial has its record, equal to the undisturbed run's in every bit, and nothing else is
left.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from metabench.experiments.executors.queue import Limits
from metabench.records import requests, store
from tests import cli_helpers
from tests.waiting import HANG, wait_for

HERE = Path(__file__).resolve().parent
COMMAND = [sys.executable, "-c", "from metabench.cli.main import main; main()"]
EVERY = 25
"""Updates between checkpoints."""
BAD = ("Hanging", "Exiting", "Eating")
"""Loggers that die before their first checkpoint."""
OWN = {"record.json", "scores.json", "examples.json", "checkpoint.pt", "state.pt", ".gitignore"}


class Load(NamedTuple):
    """What is run: `seeds` good trials of each of two algorithms, and `bad` of each that misbehaves."""

    seeds: int = 18
    updates: int = 250
    bad: tuple[str, ...] = ("hanging", "eating", "exiting", "exiting")

    @property
    def trials(self) -> int:
        """All of them."""
        return 2 * self.seeds + len(self.bad)


def commands(load: Load, out: Path) -> Iterator[list[str]]:
    """The words of the commands that run the load into a folder."""
    common = [
        "--suites", "sinusoid", "--jobs", "2", "--out", str(out), "--plugin", str(HERE / "chaos_plugin.py"),
        "--updates", str(load.updates), "--validations", "3", "--validation-tasks", "10", "--test-tasks", "20",
        "--test-steps", "1", "--strategy", "vectorised", "--checkpoint-every", str(EVERY), "--memory-limit", "1600MB",
    ]  # fmt: skip
    yield ["run", "--algos", "logged,maml", "--seeds", str(load.seeds), *common]
    for name in sorted(set(load.bad)):
        limit = ["--trial-timeout", "30s"] if name == "hanging" else []  # else how busy the machine is would decide
        yield ["run", "--algos", name, "--seeds", str(load.bad.count(name)), *common, *limit]


def start(words: list[str], log: Path, limit: int | None = None) -> subprocess.Popen[str]:
    """A command in a process of its own; `limit` is the size in bytes that none of its files may exceed."""

    def full() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [*COMMAND, *words], env={**os.environ, "CHAOS_LOG": str(log)}, preexec_fn=full,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
    )  # fmt: skip


def in_peace(words: list[str], log: Path) -> None:
    """A command that nobody disturbs: it needs no process of its own, and so no second server of workers."""
    ended = cli_helpers.call(log.parent, *words, CHAOS_LOG=str(log))
    assert ended.returncode in (0, 1), ended


def undisturbed(load: Load, folder: Path) -> Path:
    """The results of a run that nobody disturbs."""
    for words in commands(load, folder / "calm"):
        in_peace(words, folder / "calm.log")
    return folder / "calm"


def disturbed(load: Load, folder: Path, kills: int, dice: random.Random, say: Callable[[str], None]) -> Path:
    """The results of a run that is killed and begun again, and whose disk is full once."""
    out, log = folder / "wild", folder / "wild.log"
    words, *bad = commands(load, out)
    done = kill_at_random(words, log, kills // 2, dice)
    full_disk(words, folder / "full.log", say)
    done.update(kill_at_random(words, log, kills - kills // 2, dice))
    say(f"killed {done['worker']} workers and {done['command']} commands")
    for rest in (words, *bad):
        in_peace(rest, log)
    return out


def kill_at_random(words: list[str], log: Path, kills: int, dice: random.Random) -> Counter[str]:
    """Run a command, again and again, and kill its workers and itself so often."""
    done: Counter[str] = Counter()
    while done.total() < kills:
        process = start(words, log)
        if dice.random() < 0.15:  # before it has begun
            time.sleep(dice.uniform(0.0, 3.0))
        elif "trials to run" not in process.stdout.readline():
            break
        killed = 0
        while done.total() < kills:
            victims = next_victims(process, dice.uniform(0.0, 4.0))
            if not victims:
                break
            if killed < Limits().max_deaths - 1 and dice.random() < 0.7:  # once more, and a trial may be `lost`
                kill(dice.choice(victims))
                done["worker"] += 1
                killed += 1
            else:
                process.kill()
                done["command"] += 1
                no_orphans(victims)
                break
        if done.total() >= kills:
            process.kill()
        _, _ = process.communicate()
        assert process.returncode not in (0, 1), "the trials were over before all kills were made"
    return done


def next_victims(process: subprocess.Popen[str], pause: float) -> list[psutil.Process]:
    """The workers of a command some seconds after it has any; none if it is over.

    Between the process that plans and those that run trials there may be none for a moment.
    """
    found: list[psutil.Process] = []
    wait_for(lambda: workers(process) or process.poll() is not None)
    time.sleep(pause)
    wait_for(lambda: found.extend(workers(process)) or found or process.poll() is not None)
    return found if process.poll() is None else []


def no_orphans(processes: list[psutil.Process]) -> None:
    """Workers end with their command."""
    wait_for(lambda: not any(alive(each) for each in processes))


def full_disk(words: list[str], log: Path, say: Callable[[str], None]) -> None:
    """Run while no file may grow beyond 1,000 bytes: one clear line, exit code 2."""
    process = start(words, log, limit=1000)
    output, _ = process.communicate(timeout=HANG)
    lines = [line for line in output.splitlines() if line.startswith("metabench: ")]
    say(f"full disk: exit code {process.returncode}, {lines}")
    assert process.returncode == 2, output
    assert len(lines) == 1, output
    assert "Traceback" not in output, output


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes below a command that run trials."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
        return [each for each in below if "forkserver" in " ".join(each.parent().cmdline())]
    except psutil.Error:
        return []


def kill(process: psutil.Process) -> None:
    """SIGKILL, if it is still there."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass


def alive(process: psutil.Process) -> bool:
    """Whether a process is still at work."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def audit(load: Load, calm: Path, wild: Path, log: Path) -> dict[str, int]:
    """What was promised, checked; the counts of what was looked at."""
    one, other = ({record.trial.id: record for record in store.records(root)} for root in (calm, wild))
    assert len(one) == len(other) == load.trials, (len(one), len(other))
    for name, record in one.items():
        again = other[name]
        assert (record.status, kind(record.reason)) == (again.status, kind(again.reason)), name
        assert (calm / name / "scores.json").read_bytes() == (wild / name / "scores.json").read_bytes(), name
        assert record.tests == again.tests, name
        curves = [[(p.update, p.train_loss, p.score, p.ci95) for p in each.curve] for each in (record, again)]
        assert curves[0] == curves[1], name
        assert record.selected_update == again.selected_update, name
    left = [path for path in wild.rglob("*") if path.is_file() and path.parent.name != requests.PLANS]
    strays = [path for path in left if path.name not in OWN]
    assert not strays, strays
    unfinished = {path.parent.name for path in left if path.name == "checkpoint.pt"}
    assert unfinished <= {name for name, record in other.items() if not record.is_final}
    # What a killed command had begun ends when it notices: a server of workers, once it has imported torch.
    wait_for(lambda: not any(mine(each, log) for each in psutil.process_iter(["environ"])))
    resumed = sum(bool(record.provenance.resumed) for record in other.values())
    return {"records": len(other), "resumed": resumed, "updates repeated": repeated(load, log)}


def kind(reason: str) -> str:
    """A reason without its figures."""
    return "".join(letter for letter in reason if not letter.isdigit())


def mine(process: psutil.Process, log: Path) -> bool:
    """Whether a process was begun by this test."""
    return (process.info["environ"] or {}).get("CHAOS_LOG") == str(log) and alive(process)


def repeated(load: Load, log: Path) -> int:
    """How many updates were done again; none of them further back than one checkpoint interval."""
    last: dict[str, int] = {}
    again = 0
    for line in log.read_text(encoding="utf-8").splitlines():
        name, progress = line.split()
        update = round(float(progress) * load.updates)
        before = last.get(name, -1)
        if update <= before:
            again += before - update + 1
            far = before - update + 1
            assert far <= EVERY or name.startswith(BAD), (name, before, update)
        last[name] = update
    return again


def chaos(load: Load, kills: int, seed: int, say: Callable[[str], None] = print) -> dict[str, int]:
    """All of it; raises AssertionError where a promise is broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        calm = undisturbed(load, folder)
        say(f"undisturbed: {load.trials} trials in {time.monotonic() - began:.0f} s")
        began = time.monotonic()
        wild = disturbed(load, folder, kills, random.Random(seed), say)
        say(f"disturbed: {time.monotonic() - began:.0f} s")
        return audit(load, calm, wild, folder / "wild.log")


def main() -> None:
    """Run, print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(chaos(Load(), given.kills, given.seed))


if __name__ == "__main__":
    main()
