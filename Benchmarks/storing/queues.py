"""Empty jobs from the client's call until it knows the result: a node on PostgreSQL, Celery on Redis, and procrastinate on
the same PostgreSQL. Each peer is first tried in several ways, and the best of them is what the node is compared with.

64 jobs are in flight. The client of the node is wrk, written in C; the peers' clients are Python, as they must be. So
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

from clustering import processes
from measure import job, lua_run, row, wrk

from . import nodes, procrastinate_app, servers

IN_FLIGHT = 64


def measure(run, stack):
    node = nodes.start(run.binary, nodes.postgres(run.postgres.create("queues")), stack)
    celery = Celery(servers.redis(run.home, run.libraries, stack))
    procrastinate = Procrastinate(run.postgres.create("procrastinate"))
    count = 1000 if run.is_quick else 2000
    ways = {peer: best(peer, count // 2) for peer in (celery, procrastinate)}
    rounds = []
    for n in range(run.rounds):
        figures = {peer: peer.measure(ways[peer], count) for peer in ways}
        figures["wrk"] = wrk(node.port, lua_run(node.secret, "echo", f"w{n}"), run.seconds, IN_FLIGHT).rate
        figures["python"] = batches(node, f"b{n}", run.seconds)
        rounds.append(figures)
    row("node, jobs/s of 64 connections (wrk)", [r["wrk"] for r in rounds], "-")
    row("node, jobs/s of one client in Python, 64 in a batch", [r["python"] for r in rounds], "-")
    for peer, aim in ((celery, "5"), (procrastinate, "3")):
        row(f"{peer.name}, jobs/s ({ways[peer]})", [r[peer] for r in rounds], "-")
        row(f"node / {peer.name}", [r["wrk"] / r[peer] for r in rounds], aim)
        row(f"node, asked by Python / {peer.name}", [r["python"] / r[peer] for r in rounds], "-")


def best(peer, count):
    rates = {}
    for way in peer.ways:
        rates[way] = peer.measure(way, count)
        print(f"  {peer.name} tried: {way}: {rates[way]:.0f} jobs/s", flush=True)
    return max(rates, key=rates.get)


def batches(node, tag, seconds):
    connection = nodes.Connection(node)
    started, done = time.monotonic(), 0
    while time.monotonic() < started + seconds:
        _, answers = connection.post([{
            "jsonrpc": "2.0", "id": n, "method": "job.run",
            "params": {"secret": node.secret, "job": job(f"{tag}-{done + n}", "echo")}} for n in range(IN_FLIGHT)])
        if any("error" in answer for answer in answers):
            raise SystemExit(json.dumps(answers))
        done += IN_FLIGHT
    connection.close()
    return done / (time.monotonic() - started)


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


class Celery:
    name = "Celery with Redis"
    # Pool and processes or threads; whether the client keeps 64 in flight, or sends all before it waits for any.
    ways = tuple(f"{pool}, {kept}" for pool in ("prefork 1", "prefork 2", "threads 2", "solo 1")
                 for kept in ("64 in flight", "all in flight"))

    def __init__(self, url):
        os.environ["HERO_BENCH_REDIS"] = url
        self._app = importlib.import_module("storing.celery_app")

    def measure(self, way, count):
        pool, kept = way.split(", ")
        kind, number = pool.split()
        with contextlib.ExitStack() as stack:
            worker(["celery", "-A", "storing.celery_app", "worker", "-P", kind, "-c", number, "-l", "critical",
                    "--without-gossip", "--without-mingle", "--without-heartbeat"], stack)
            for result in [self._app.empty.delay() for _ in range(IN_FLIGHT)]:
                result.get(timeout=60)
            started = time.monotonic()
            window = collections.deque()
            for _ in range(count):
                window.append(self._app.empty.delay())
                if kept.startswith("64") and len(window) == IN_FLIGHT:
                    window.popleft().get(timeout=60)
            while window:
                window.popleft().get(timeout=60)
            return count / (time.monotonic() - started)


class Procrastinate:
    name = "procrastinate"
    # Worker processes with 64 jobs at a time each; whether 64 coroutines defer a job each, or one defers 64 at once.
    ways = tuple(f"{workers} worker{'s' * (workers > 1)}, {kind}" for workers in (1, 2)
                 for kind in ("64 coroutines defer", "batches of 64"))

    def __init__(self, url):
        os.environ[procrastinate_app.POSTGRES] = url
        asyncio.run(self._prepare())

    async def _prepare(self):
        app, _ = procrastinate_app.make(4)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    def measure(self, way, count):
        with contextlib.ExitStack() as stack:
            for _ in range(int(way.split()[0])):
                worker(["storing.procrastinate_app"], stack)
            return asyncio.run(self._measure(way.endswith("batches of 64"), count))

    async def _measure(self, in_batches, count):
        app, empty = procrastinate_app.make(16)
        async with app.open_async():
            await empty.batch_defer_async(*[{}] * IN_FLIGHT)
            await self._wait(app)
            started = time.monotonic()
            if in_batches:
                for _ in range(count // IN_FLIGHT):
                    await empty.batch_defer_async(*[{}] * IN_FLIGHT)
            else:
                await asyncio.gather(*(self._defer(empty, count // IN_FLIGHT) for _ in range(IN_FLIGHT)))
            await self._wait(app)
            return count // IN_FLIGHT * IN_FLIGHT / (time.monotonic() - started)

    async def _defer(self, empty, count):
        for _ in range(count):
            await empty.defer_async()

    async def _wait(self, app):
        """Until no job waits or runs. It has no call that waits for a result."""
        question = "SELECT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing')) AS is_busy"
        while (await app.connector.execute_query_one_async(question))["is_busy"]:
            await asyncio.sleep(0.02)
