"""Empty jobs from the client's call until it knows the result: a node on PostgreSQL, Celery on Redis, and procrastinate on
the same PostgreSQL. Each peer is first tried in several ways, and the best of them is what the node is compared with.

64 jobs are in flight. The client of the node is written in C; the peers' clients are Python, as they must be. So
the node is also asked by a client in Python, which sends 64 calls in one request.
"""
import asyncio
import collections
import contextlib
import importlib
import json
import os
import subprocess
import sys
import time

from measuring import processes
from measuring.figures import row
from measuring.load import Load, Target, in_turn, job, job_run, load_in_turn
from measuring.processor_time import Stopwatch

from . import nodes, procrastinate_app, servers

IN_FLIGHT = 64


JOBS = "empty jobs, 64 in flight"
BATCHES = "empty jobs, one client in Python, 64 in a batch"


def measure(run, stack):
    running = {
        build.name: nodes.start(build.binary, nodes.postgres(run.postgres.create(f"queues_{build.name}")), stack)
        for build in run.builds}
    targets = {name: Target(node.port, job_run(node.secret, "echo"), [node.pid], [run.postgres.pid], node)
               for name, node in running.items()}
    celery = Celery(*servers.redis(run.home, run.libraries, stack))
    procrastinate = Procrastinate(run.postgres.create("procrastinate"), run.postgres.pid)
    count = 1000 if run.is_quick else 2000
    ways = {peer: best(peer, count // 2) for peer in (celery, procrastinate)}
    for n in range(run.rounds):
        for peer, way in ways.items():
            run.figures.add(JOBS, peer.name, peer.measure(way, count))
        for name, found in load_in_turn(
                targets, '"result":', 10_000 // (10 if run.is_quick else 1), IN_FLIGHT, f"w{n}", n,
                is_coarse=run.is_quick).items():
            run.figures.add(JOBS, name, found)
        for name in in_turn(running, n):
            run.figures.add(BATCHES, name, batches(running[name], f"b{n}", run.seconds, run.postgres.pid))
    run.figures.show(JOBS)
    run.figures.show(BATCHES)
    for peer, aim in ((celery, "5"), (procrastinate, "3")):
        theirs = run.figures.of(JOBS, peer.name, "rate")
        for figure, words in ((JOBS, ""), (BATCHES, ", asked by Python")):
            row(f"node{words} / {peer.name} ({ways[peer]})", [
                a / b for a, b in zip(run.figures.of(figure, "node", "rate"), theirs)], "-" if words else aim)


def best(peer, count):
    rates = {}
    for way in peer.ways:
        rates[way] = peer.measure(way, count).rate
        print(f"  {peer.name} tried: {way}: {rates[way]:.0f} jobs/s", flush=True)
    return max(rates, key=rates.get)


def batches(node, tag, seconds, postgres):
    own, apart = Stopwatch(node.pid), Stopwatch(postgres)
    own.start()
    apart.start()
    started, done = time.monotonic(), 0
    while time.monotonic() < started + seconds:
        _, answers = node.connection.post([{
            "jsonrpc": "2.0", "id": n, "method": "job.run",
            "params": {"secret": node.secret, "job": job(f"{tag}-{done + n}", "echo")}} for n in range(IN_FLIGHT)])
        if any("error" in answer for answer in answers):
            raise SystemExit(json.dumps(answers))
        done += IN_FLIGHT
    rate = done / (time.monotonic() - started)
    own.stop()
    apart.stop()
    return Load(rate, None, None, own.per_call(done), apart.per_call(done, is_coarse=True))


def worker(words, stack):
    process = processes.start(
        [sys.executable, "-m", *words], env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop():
        # Its children end with it when it is asked, not when it is killed.
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            processes.end(process)
    stack.callback(stop)
    return process.pid


class Celery:
    name = "Celery with Redis"
    # Pool and processes or threads; whether the client keeps 64 in flight, or sends all before it waits for any.
    ways = tuple(f"{pool}, {kept}" for pool in ("prefork 1", "prefork 2", "threads 2", "solo 1")
                 for kept in ("64 in flight", "all in flight"))

    def __init__(self, url, redis):
        os.environ["HERO_BENCH_REDIS"] = url
        self._redis = redis
        self._app = importlib.import_module("storing.celery_app")

    def measure(self, way, count):
        pool, kept = way.split(", ")
        kind, number = pool.split()
        with contextlib.ExitStack() as stack:
            pid = worker(["celery", "-A", "storing.celery_app", "worker", "-P", kind, "-c", number, "-l", "critical",
                          "--without-gossip", "--without-mingle", "--without-heartbeat"], stack)
            for result in [self._app.empty.delay() for _ in range(IN_FLIGHT)]:
                result.get(timeout=60)
            own, apart = Stopwatch(pid), Stopwatch(self._redis)
            own.start()
            apart.start()
            started = time.monotonic()
            window = collections.deque()
            for _ in range(count):
                window.append(self._app.empty.delay())
                if kept.startswith("64") and len(window) == IN_FLIGHT:
                    window.popleft().get(timeout=60)
            while window:
                window.popleft().get(timeout=60)
            rate = count / (time.monotonic() - started)
            own.stop()
            apart.stop()
            return Load(rate, None, None, own.per_call(count, is_coarse=True), apart.per_call(count, is_coarse=True))


class Procrastinate:
    name = "procrastinate"
    # Worker processes with 64 jobs at a time each; whether 64 coroutines defer a job each, or one defers 64 at once.
    ways = tuple(f"{workers} worker{'s' * (workers > 1)}, {kind}" for workers in (1, 2)
                 for kind in ("64 coroutines defer", "batches of 64"))

    def __init__(self, url, postgres):
        os.environ[procrastinate_app.POSTGRES] = url
        self._postgres = postgres
        asyncio.run(self._prepare())

    async def _prepare(self):
        app, _ = procrastinate_app.make(4)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    def measure(self, way, count):
        with contextlib.ExitStack() as stack:
            pids = [worker(["storing.procrastinate_app"], stack) for _ in range(int(way.split()[0]))]
            return asyncio.run(self._measure(way.endswith("batches of 64"), count, pids))

    async def _measure(self, in_batches, count, pids):
        app, empty = procrastinate_app.make(16)
        async with app.open_async():
            await empty.batch_defer_async(*[{}] * IN_FLIGHT)
            await self._wait(app)
            own, apart = Stopwatch(*pids), Stopwatch(self._postgres)
            own.start()
            apart.start()
            started = time.monotonic()
            if in_batches:
                for _ in range(count // IN_FLIGHT):
                    await empty.batch_defer_async(*[{}] * IN_FLIGHT)
            else:
                await asyncio.gather(*(self._defer(empty, count // IN_FLIGHT) for _ in range(IN_FLIGHT)))
            await self._wait(app)
            done = count // IN_FLIGHT * IN_FLIGHT
            rate = done / (time.monotonic() - started)
            own.stop()
            apart.stop()
            return Load(rate, None, None, own.per_call(done, is_coarse=True), apart.per_call(done, is_coarse=True))

    async def _defer(self, empty, count):
        for _ in range(count):
            await empty.defer_async()

    async def _wait(self, app):
        """Until no job waits or runs. It has no call that waits for a result."""
        question = "SELECT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing')) AS is_busy"
        while (await app.connector.execute_query_one_async(question))["is_busy"]:
            await asyncio.sleep(0.02)
        question = "SELECT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE status = 'failed') AS has_failed"
        if (await app.connector.execute_query_one_async(question))["has_failed"]:
            raise SystemExit("no figure: a job of procrastinate failed")
