"""The same calls to a node whose store holds 1,000 finished jobs and to one whose store holds 1,000,000, in turn: how much
longer the second takes. All through the API over one connection each, but for `start`, the statement that takes a job.

A page has 10 jobs, so that what is compared is how they are found, not how they are written.
"""
import contextlib
import datetime
import os
import random
import statistics
import time

from measuring.figures import row
from measuring.load import job
from measuring.node import call

from . import filling, nodes, plans

SMALL = 1000
DAY_MS = 86_400_000
LIMIT = 10


def instant(ms):
    time = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


def filters(now):
    """By name; the jobs of a day are enough for a page of each, also in the small store."""
    old, recent = instant(now - filling.SPAN_MS + DAY_MS), instant(now - DAY_MS)
    return {
        "no filter": {},
        "runner": {"runner": "r3"},
        "status": {"status": "failed"},
        "caller_id": {"caller_id": "caller-3"},
        "context_id": {"context_id": "context-3"},
        "created_from, old": {"created_from": old},
        "created_from, recent": {"created_from": recent},
        "created_before, old": {"created_before": old},
        "created_before, recent": {"created_before": recent},
        "created_from + created_before, old": {
            "created_from": instant(now - filling.SPAN_MS), "created_before": old},
        "runner + status": {"runner": "r3", "status": "failed"},
        "runner + status, none": {"runner": "r3", "status": "queued"},
        "caller_id + status": {"caller_id": "caller-3", "status": "failed"},
        "caller_id + status, none": {"caller_id": "caller-3", "status": "running"},
        "context_id + status": {"context_id": "context-3", "status": "failed"},
        "runner + created_before, old": {"runner": "r3", "created_before": old},
        "runner + created_from, recent": {"runner": "r3", "created_from": recent},
        "runner + caller_id": {"runner": "r3", "caller_id": "caller-3"},
        "runner, unknown": {"runner": "nobody"},
    }


def measure_sqlite(run, stack):
    sizes = {}
    for size in (SMALL, run.size):
        path = os.path.join(run.home, f"growth-{size}.db")
        sizes[size] = (filling.SQLite(path), nodes.sqlite(path))
    measure(run, stack, sizes, "SQLite", start_sqlite)
    plans.sqlite(sizes[run.size][0], filters(filling.now_ms()))


def measure_postgres(run, stack):
    sizes = {}
    for size in (SMALL, run.size):
        url = run.postgres.create(f"growth_{size}")
        sizes[size] = (filling.Postgres(run.postgres, f"growth_{size}"), nodes.postgres(url))
    measure(run, stack, sizes, "PostgreSQL", start_postgres)
    plans.postgres(sizes[run.size][0], filters(filling.now_ms()))


def measure(run, stack, sizes, name, start_statement):
    now = filling.now_ms()
    for size, (filler, store) in sizes.items():
        node = nodes.start(run.binary, store)
        node.rpc("stop_runner", ["parked", False])
        node.stop()
        started = time.monotonic()
        filler.finished(size, now)
        print(f"  {name}: {size} finished jobs written in {time.monotonic() - started:.0f} s", flush=True)
    for size, (_, store) in sizes.items():
        node = nodes.start(run.binary, store)
        for n in range(1000):
            ask(node, "job.status", [f"f-{random.randint(1, size)}"])
        for filter in filters(now).values():
            ask(node, "jobs.query", {"params": {**filter, "limit": LIMIT}})
        row(f"{name}: resident with {size} finished jobs", [node.resident_mib()], "-", " MiB")
        node.stop()
    for size, (filler, _) in sizes.items():
        filler.queued(size // 10, now)
    running, starts = {}, {}
    for size, (_, store) in sizes.items():
        started = time.monotonic()
        running[size] = nodes.start(run.binary, store, stack)
        starts[size] = time.monotonic() - started
        print(f"  {name}: {running[size].rpc('get_runner_status', ['parked'])['queued']} queued; exec to ready "
              f"{starts[size] * 1000:.0f} ms, resident {running[size].resident_mib():.0f} MiB", flush=True)

    def status(size, n):
        return ask(running[size], "job.status", [f"f-{random.randint(1, size)}"])
    compare(run, name, "job.status", status)
    for words, filter in filters(now).items():
        compare(run, name, f"jobs.query {words}", lambda size, n: ask(
            running[size], "jobs.query", {"params": {**filter, "limit": LIMIT}}))
    for executor in ("echo", "true"):
        compare(run, name, f"job.run {executor}, an empty queue", lambda size, n: ask(
            running[size], "job.run",
            {"secret": running[size].secret, "job": job(f"run-{executor}-{n}-{time.time_ns()}", executor)}))
    with contextlib.ExitStack() as databases:
        start = {size: start_statement(databases.enter_context(filler.open()), size)
                 for size, (filler, _) in sizes.items()}
        compare(run, name, "start, the statement alone", lambda size, n: start[size](n))
    for node in running.values():
        node.stop()


def ask(node, method, params):
    seconds, answer = node.connection.post(call(method, params))
    if "error" in answer:
        raise SystemExit(f"{method} {params}: {answer['error']}")
    return seconds


def compare(run, name, words, call):
    """One row: the ratio of the medians of each round, calls in turn."""
    ratios, medians = [], {SMALL: [], run.size: []}
    calls = 40 if run.is_quick else 100
    for _ in range(run.rounds):
        seconds = {SMALL: [], run.size: []}
        deadline = time.monotonic() + 3
        for n in range(calls):
            for size, found in seconds.items():
                found.append(call(size, n))
            if time.monotonic() > deadline:
                break
        for size, found in seconds.items():
            medians[size].append(statistics.median(found) * 1000)
        ratios.append(medians[run.size][-1] / medians[SMALL][-1])
    small, big = (statistics.median(medians[size]) for size in (SMALL, run.size))
    row(f"{name}: {words}", ratios, f"2   {small:.2f} and {big:.2f} ms")


def start_sqlite(database, size):
    """`JobRow.update` (Sources/SQLiteJobStore/JobRow.swift), rolled back."""
    def start(n):
        database.execute("BEGIN IMMEDIATE")
        started = time.perf_counter()
        database.execute(
            """UPDATE jobs SET status = 2, attempt = 1, updated_at = ?, started_at = ?, completed_at = NULL,
               queue_order = coalesce(queue_order, NULL), result = NULL, pid = NULL, start_ticks = NULL, boot_id = NULL
               WHERE id = ?""", (filling.now_ms(), filling.now_ms(), f"q-{random.randint(1, size // 10)}"))
        seconds = time.perf_counter() - started
        database.execute("ROLLBACK")
        return seconds
    return start


def start_postgres(connection, size):
    """`Batch.start` (Sources/PostgresJobStore/Batch.swift) of one job, rolled back."""
    (session,) = connection.execute("SELECT session FROM hero_runners WHERE name = 'parked'").fetchone()

    def start(n):
        connection.execute("BEGIN")
        started = time.perf_counter()
        cursor = connection.execute(
            """UPDATE hero_jobs AS j SET status = 2, attempt = j.attempt + 1, started_at = x.at, updated_at = x.at,
                 step = x.step, session = %(session)s, node = 'benchmark'
               FROM unnest(%(ids)s::text[], '{1}'::bigint[], ARRAY[now()]) AS x(id, step, at)
               WHERE j.id = x.id AND j.status = 1 AND NOT EXISTS (
                 SELECT 1 FROM hero_runners r WHERE r.name = j.runner AND r.session <> %(session)s)
               RETURNING j.id""", {"session": session, "ids": [f"q-{random.randint(1, size // 10)}"]}, prepare=True)
        seconds = time.perf_counter() - started
        if cursor.rowcount != 1:
            raise SystemExit("start: no job was taken")
        connection.execute("ROLLBACK")
        return seconds
    return start
