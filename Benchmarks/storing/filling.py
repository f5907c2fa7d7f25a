"""Fills a store by SQL, through the tables that a node made.

The finished jobs were created evenly over the last six days. Their runner (of 8), caller (of 8), context (of 8) and
status (9 in 10 completed, 1 in 10 failed, 1 in 100 timeout) are drawn independently. Then come queued ones, a tenth as
many, of a runner that is stopped.
"""
import contextlib
import sqlite3
import time

SPAN_MS = 6 * 86_400_000
STATUS = "CASE WHEN {draw} < 0.89 THEN 3 WHEN {draw} < 0.99 THEN 4 ELSE 5 END"


class SQLite:
    def __init__(self, path):
        self._path = path

    def open(self):
        return contextlib.closing(sqlite3.connect(self._path, isolation_level=None))

    def finished(self, count, now_ms):
        with self.open() as database:
            database.execute("PRAGMA cache_size = -400000")
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN")
            database.execute(f"""
                WITH RECURSIVE numbers(i, draw) AS (
                  SELECT 1, 0.0 UNION ALL
                  SELECT i + 1, abs(random() % 1000000) / 1000000.0 FROM numbers WHERE i < {count})
                INSERT INTO jobs (seq, id, runner, executor, caller_id, context_id, payload, timeout, status, attempt,
                  created_at, updated_at, started_at, completed_at, queue_order, result)
                SELECT i, 'f-' || i, 'r' || (abs(random()) % 8), 'echo', 'caller-' || (abs(random()) % 8),
                  'context-' || (abs(random()) % 8), CAST('some payload' AS BLOB), 60.0, {STATUS.format(draw='draw')}, 1,
                  at, at, at, at, i, CAST('some result' AS BLOB)
                FROM (SELECT i, draw, {now_ms - SPAN_MS} + i * {SPAN_MS} / {count} AS at FROM numbers)""")
            database.execute("COMMIT")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def queued(self, count, now_ms):
        with self.open() as database:
            database.execute("PRAGMA cache_size = -400000")
            database.execute("BEGIN")
            database.execute(f"""
                WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {count}),
                  last AS (SELECT max(seq) AS seq FROM jobs)
                INSERT INTO jobs (seq, id, runner, executor, caller_id, context_id, payload, timeout, status, attempt,
                  created_at, updated_at, queue_order)
                SELECT last.seq + i, 'q-' || i, 'parked', 'echo', 'caller-' || (abs(random()) % 8),
                  'context-' || (abs(random()) % 8), CAST('some payload' AS BLOB), 60.0, 1, 0, {now_ms}, {now_ms},
                  last.seq + i
                FROM numbers, last""")
            database.execute("COMMIT")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class Postgres:
    def __init__(self, server, database):
        self._server, self._database = server, database

    def open(self):
        return self._server.connect(self._database)

    def finished(self, count, now_ms):
        with self.open() as connection:
            connection.execute(f"""
                INSERT INTO hero_jobs (id, seq, runner, executor, caller_id, context_id, payload, timeout, status, attempt,
                  created_at, updated_at, started_at, completed_at, queue_order, result, step)
                SELECT 'f-' || i, i, 'r' || floor(random() * 8), 'echo', ('caller-' || floor(random() * 8))::bytea,
                  ('context-' || floor(random() * 8))::bytea, 'some payload', 60, {STATUS.format(draw='draw')}, 1,
                  at, at, at, at, i, 'some result', i
                FROM (SELECT i, random() AS draw,
                  to_timestamp(({now_ms - SPAN_MS} + i * {SPAN_MS} / {count}) / 1000.0) AS at
                  FROM generate_series(1, {count}::bigint) AS i) AS x""")
        self._settle(count)

    def queued(self, count, now_ms):
        with self.open() as connection:
            connection.execute(f"""
                INSERT INTO hero_jobs (id, seq, runner, executor, caller_id, context_id, payload, timeout, status, attempt,
                  created_at, updated_at, queue_order, step)
                SELECT 'q-' || i, last + i, 'parked', 'echo', ('caller-' || floor(random() * 8))::bytea,
                  ('context-' || floor(random() * 8))::bytea, 'some payload', 60, 1, 0, to_timestamp({now_ms} / 1000.0),
                  to_timestamp({now_ms} / 1000.0), last + i, i
                FROM generate_series(1, {count}::bigint) AS i, (SELECT max(seq) AS last FROM hero_jobs) AS x""")
        self._settle(count)

    def _settle(self, count):
        """What the server does by itself within a minute or so (autovacuum), and new jobs get numbers of their own."""
        with self.open() as connection:
            connection.execute("VACUUM ANALYZE hero_jobs")
            connection.execute("SELECT setval('hero_order', 1000000)")
            connection.execute("CHECKPOINT")


def now_ms():
    return int(time.time() * 1000)
