"""Calls to servers on 127.0.0.1, a given number of them, each of which must succeed (ceilings/http_load.c)."""
import array
import json
import os
import subprocess
import typing

from .node import Node, call
from .processor_time import Stopwatch

# Where the C programs are that the three commands build.
PROGRAMS = os.path.join(".build", "ceilings")
# A round goes round its targets so often, with a part of its calls each time: a machine that others use changes its pace
# within seconds.
SLICES = 10


def in_turn(things, n):
    """The same things, beginning with another one each time: none is always the first."""
    things = list(things)
    return things[n % len(things):] + things[:n % len(things)]


class Load(typing.NamedTuple):
    """What the clients saw, latencies in milliseconds (`None` if nobody waited for single calls); and microseconds of
    processor time a call: of the processes that answered, and of others apart (`None` if there are no such processes). The
    load generator's share of a core tells whether it was what limited the rate."""
    rate: float
    p50: float | None
    p99: float | None
    cpu: float | None
    apart: float | None = None
    generator: float | None = None


class Target(typing.NamedTuple):
    """What is asked where, and whose processor time that takes: identifiers of processes, meant with their descendants."""
    port: int
    body: dict
    of: list
    apart: list = []
    # Where each call runs a job of the runner `bench`, if it does.
    jobs_at: Node | None = None
    tls: bool = False


def load_in_turn(targets, expected, calls, connections, tag, turn=0, is_coarse=False):
    """One round: as many calls to each of the targets, by name, in slices in turn, of which the one with the number `turn`
    comes first. Answers a `Load` for each.

    `expected` is to be found in each answer; `tag` must be another one each time, as jobs are named after it: a job that
    exists already is answered, but not run."""
    rounds = {name: _Round(target) for name, target in targets.items()}
    names = sorted(targets)
    for n in range(SLICES):
        for place in in_turn(range(len(names)), n + turn):
            rounds[names[place]].slice(expected, calls // SLICES, connections, f"{tag}-{place}-{n}")
    return {name: done.result(is_coarse) for name, done in rounds.items()}


class _Round:
    """Of one target."""

    def __init__(self, target):
        self._target = target
        self._own, self._apart = Stopwatch(*target.of), Stopwatch(*target.apart)
        self._seconds = self._busy = 0.0
        self._latencies = array.array("f")

    def slice(self, expected, calls, connections, tag):
        count = JobCount(self._target.jobs_at) if self._target.jobs_at else None
        self._own.start()
        self._apart.start()
        run = subprocess.run(
            [os.path.join(PROGRAMS, "http_load"), str(self._target.port), str(connections), str(calls), expected, tag,
             *(["tls"] if self._target.tls else [])],
            input=json.dumps(self._target.body).encode(), capture_output=True)
        if run.returncode:
            raise SystemExit(f"no figure, as calls failed: {run.stderr.decode(errors='replace').strip()}")
        self._own.stop()
        self._apart.stop()
        if count:
            count.expect(calls)
        head, _, latencies = run.stdout.partition(b"\n")
        seen = json.loads(head)
        self._seconds += seen["seconds"]
        self._busy += seen["busy"] * seen["seconds"]
        self._latencies.frombytes(latencies)

    def result(self, is_coarse):
        ordered = sorted(self._latencies)
        count = len(ordered)
        return Load(
            count / self._seconds, ordered[count // 2] * 1e3, ordered[count * 99 // 100] * 1e3,
            self._own.per_call(count, is_coarse), self._apart.per_call(count, True) if self._target.apart else None,
            self._busy / self._seconds * 100)


# What is asked

def job(identifier, executor, payload=""):
    return {
        "id": identifier, "caller_id": "bench", "context_id": "bench", "payload": payload, "runner": "bench",
        "executor": executor, "timeout": 60, "env_vars": {}, "created_at": "", "updated_at": ""}


def job_run(secret, executor):
    """Every call runs a new job: http_load puts identifiers in."""
    return call("job.run", {"secret": secret, "job": job("IDENTIFIER", executor)})


class JobCount:
    """Shows that as many jobs were run as were asked for, and that all of them succeeded: an answer alone does not."""

    def __init__(self, node):
        self._node = node
        self._before = self._ended()

    def expect(self, completed):
        after = self._ended()
        if after != (self._before[0] + completed, self._before[1]):
            raise SystemExit(
                f"no figure: {completed} jobs were asked for, {after[0] - self._before[0]} completed and "
                f"{after[1] - self._before[1]} failed")

    def _ended(self):
        status = self._node.rpc("get_runner_status", ["bench"])
        return status["completed"], status["failed"] + status["timeout"]
