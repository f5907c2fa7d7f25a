"""A node on PostgreSQL against pgbench on the same server, which runs the statements of the node, a transaction a job.

pgbench waits for the answer of each statement; in its pipeline mode it sends all of a transaction at once, as the node
does. All write the same row into tables of the same schema. 64 clients that lock the same row (FOR SHARE) get into each
other's way, which one writer does not: so pgbench also shows what it reaches with the INSERT alone.
"""
import os
import re
import subprocess

from measuring.figures import row
from measuring.load import Load, Target, job_run, load_in_turn
from measuring.processor_time import Stopwatch

from . import nodes

# As `Batch` makes them (Sources/PostgresJobStore/Batch.swift) for one `echo` job that comes finished.
INSERT = """\
INSERT INTO hero_jobs (id, seq, runner, executor, caller_id, context_id, payload, timeout, environment, status,
  attempt, created_at, updated_at, started_at, completed_at, queue_order, result, step, stdout, stderr,
  stdout_dropped, stderr_dropped)
SELECT x.id, o.base + x.place, x.runner, x.executor, x.caller_id, x.context_id, x.payload, x.timeout,
  x.environment, x.status, x.attempt, x.created_at, x.updated_at, x.started_at, x.completed_at,
  CASE WHEN x.status = 1 THEN o.base + x.place END, x.result, x.step, x.stdout, x.stderr, x.stdout_dropped,
  x.stderr_dropped
FROM (SELECT nextval('hero_order') * 1048576 AS base) AS o,
  unnest(ARRAY['p-' || :job]::text[], '{bench}'::text[], '{echo}'::text[], ARRAY['bench'::bytea],
    ARRAY['bench'::bytea], ARRAY[''::bytea], '{60}'::float8[], '{NULL}'::bytea[], '{3}'::bigint[], '{1}'::bigint[],
    ARRAY[now()], ARRAY[now()], ARRAY[now()], ARRAY[now()], ARRAY[''::bytea], ARRAY[:step]::bigint[],
    '{NULL}'::bytea[], ARRAY[''::bytea], '{0}'::bigint[], '{0}'::bigint[], '{0}'::bigint[])
  AS x(id, runner, executor, caller_id, context_id, payload, timeout, environment, status, attempt, created_at,
    updated_at, started_at, completed_at, result, step, stdout, stderr, stdout_dropped, stderr_dropped, place)
WHERE NOT EXISTS (SELECT 1 FROM hero_runners r WHERE r.name = x.runner AND r.session <> 1)
ON CONFLICT (id) DO NOTHING RETURNING id;
"""
TRANSACTION = f"""\
BEGIN;
SELECT CASE WHEN count(*) > 0 THEN 1
  ELSE CAST('hero-supervisor fence: pgbench ' || CAST(count(*) AS TEXT) AS BIGINT) END FROM (
  SELECT 1 FROM hero_nodes WHERE session = 1 AND writer = 1
    AND (SELECT oldest_writer FROM hero_schema WHERE id = 1) <= 2 FOR KEY SHARE
) AS fence;
SELECT name FROM hero_runners WHERE name = ANY('{{bench}}'::text[]) OR name IN (
  SELECT runner FROM hero_jobs WHERE id = ANY('{{}}'::text[])) ORDER BY name FOR SHARE;
{INSERT}COMMIT;
"""
ECHO = "job.run echo, PostgreSQL, 64 connections"
SET = "\\set job random(1, 9223372036854775807)\n\\set step random(1, 9223372036854775807)\n"
SCRIPTS = {
    "pgbench": SET + TRANSACTION,
    "pgbench in pipeline mode": SET + "\\startpipeline\n" + TRANSACTION + "\\endpipeline\n",
    "pgbench, the INSERT alone": SET + INSERT,
}


def measure(run, stack):
    server = run.postgres
    url = server.create("peer")
    stack.callback(server.drop, "peer")
    nodes.start(run.binary, nodes.postgres(url)).stop()
    with server.connect("peer") as connection:
        # A node of pgbench's own, that nobody renews or looks for.
        connection.execute("DELETE FROM hero_nodes")
        connection.execute("INSERT INTO hero_nodes (session, name, instance, writer, length, beat)"
            " VALUES (1, 'pgbench', 'pgbench', 1, 15, 1)")
        connection.execute("UPDATE hero_runners SET session = 1")
    targets = {}
    for build in run.builds:
        node = nodes.start(build.binary, nodes.postgres(server.create(f"transactions_{build.name}")), stack)
        targets[build.name] = Target(node.port, job_run(node.secret, "echo"), [node.pid], [server.pid], node)
    scripts = {}
    for name, text in SCRIPTS.items():
        scripts[name] = os.path.join(run.home, f"{name}.sql")
        with open(scripts[name], "w") as f:
            f.write(text)
    for n in range(run.rounds):
        for name, script in scripts.items():
            run.figures.add(ECHO, name, pgbench(url, script, 20 if run.is_quick else 100, server.pid))
        for build, found in load_in_turn(
                targets, '"result":', 10_000 // (10 if run.is_quick else 1), 64, f"e{n}", n,
                is_coarse=run.is_quick).items():
            run.figures.add(ECHO, build, found)
    # Of pgbench, which is a client, only the server's time counts, and so it is all apart.
    run.figures.show(ECHO)
    for name in scripts:
        row(f"job.run echo / {name}", [a / b for a, b in zip(
            run.figures.of(ECHO, "node", "rate"), run.figures.of(ECHO, name, "rate"))], "0.5" if name == "pgbench" else "-")


def pgbench(url, script, count, server):
    """So many transactions of each client."""
    stopwatch = Stopwatch(server)
    stopwatch.start()
    out = subprocess.run(
        ["pgbench", "-M", "prepared", "-n", "-c", "64", "-j", "1", "-t", str(count), "-f", script, url],
        capture_output=True, text=True)
    stopwatch.stop()
    found = re.search(r"tps = ([\d.]+)", out.stdout)
    if out.returncode or not found or "number of failed transactions: 0 " not in out.stdout:
        raise SystemExit(f"{script}: {out.stdout}{out.stderr}")
    return Load(float(found.group(1)), None, None, None, stopwatch.per_call(64 * count, is_coarse=True))
