/// A database as nodes with the first version of the schema made it and left it: the node n1 was killed while it ran a job,
/// and n2 works. Never changed: databases like this one exist.
enum FirstSchema {
  static let sql = """
    CREATE SEQUENCE IF NOT EXISTS hero_order;
    CREATE TABLE IF NOT EXISTS hero_nodes (
      session BIGINT PRIMARY KEY,
      name TEXT NOT NULL,
      instance TEXT NOT NULL,
      address TEXT,
      writer BIGINT NOT NULL,
      lease_until TIMESTAMPTZ NOT NULL
    );
    CREATE TABLE IF NOT EXISTS hero_runners (
      name TEXT PRIMARY KEY,
      seq BIGINT NOT NULL,
      queue TEXT NOT NULL,
      is_stopped BOOLEAN NOT NULL,
      epoch BIGINT NOT NULL,
      owner TEXT NOT NULL,
      session BIGINT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS hero_jobs (
      id TEXT PRIMARY KEY,
      seq BIGINT NOT NULL,
      runner TEXT NOT NULL,
      executor TEXT NOT NULL,
      caller_id BYTEA NOT NULL,
      context_id BYTEA NOT NULL,
      payload BYTEA NOT NULL,
      timeout DOUBLE PRECISION NOT NULL,
      environment BYTEA,
      status BIGINT NOT NULL,
      attempt BIGINT NOT NULL,
      created_at TIMESTAMPTZ NOT NULL,
      updated_at TIMESTAMPTZ NOT NULL,
      started_at TIMESTAMPTZ,
      completed_at TIMESTAMPTZ,
      queue_order BIGINT,
      result BYTEA,
      pid BIGINT,
      start_ticks BIGINT,
      boot_id TEXT,
      step BIGINT NOT NULL,
      session BIGINT,
      node TEXT,
      stdout BYTEA,
      stderr BYTEA,
      stdout_dropped BIGINT,
      stderr_dropped BIGINT
    );
    CREATE INDEX IF NOT EXISTS hero_jobs_unfinished ON hero_jobs (runner, queue_order) WHERE status IN (1, 2);
    CREATE INDEX IF NOT EXISTS hero_jobs_expiry ON hero_jobs (completed_at) WHERE status IN (3, 4, 5);
    CREATE INDEX IF NOT EXISTS hero_jobs_by_status ON hero_jobs ((status + 0), created_at, seq);
    CREATE INDEX IF NOT EXISTS hero_jobs_by_runner ON hero_jobs (runner, status, created_at, seq);
    CREATE INDEX IF NOT EXISTS hero_jobs_by_caller ON hero_jobs (caller_id, status, created_at, seq);
    CREATE INDEX IF NOT EXISTS hero_jobs_by_context ON hero_jobs (context_id, status, created_at, seq);
    CREATE TABLE hero_schema (id BIGINT PRIMARY KEY, version BIGINT NOT NULL, oldest_writer BIGINT NOT NULL);
    INSERT INTO hero_schema VALUES (1, 1, 1);
    SELECT setval('hero_order', 5);
    INSERT INTO hero_nodes (session, name, instance, address, writer, lease_until) VALUES
      (101, 'n1', 'instance of n1', '127.0.0.1:1001', 3, now() + INTERVAL '15 s'),
      (202, 'n2', 'instance of n2', '127.0.0.1:1002', 1, now() + INTERVAL '15 s');
    INSERT INTO hero_runners (name, seq, queue, is_stopped, epoch, owner, session) VALUES
      ('mine', 1, 'q', false, 7, 'n1', 101), ('theirs', 2, 'q2', true, 4, 'n2', 202);
    INSERT INTO hero_jobs (id, seq, runner, executor, caller_id, context_id, payload, timeout, environment, status, attempt,
      created_at, updated_at, started_at, completed_at, queue_order, result, pid, start_ticks, boot_id, step, session, node,
      stdout, stderr, stdout_dropped, stderr_dropped)
    VALUES
      ('queued', 3145728, 'mine', 'echo', 'caller', 'context', 'payload', 60, '{"A":"b"}', 1, 0,
        '2026-01-01 00:00:01Z', '2026-01-01 00:00:01Z', NULL, NULL, 3145728, NULL, NULL, NULL, NULL, 11, NULL, NULL,
        NULL, NULL, NULL, NULL),
      ('running', 2097152, 'mine', 'echo', 'caller', 'context', 'payload', 60, NULL, 2, 1,
        '2026-01-01 00:00:00Z', '2026-01-01 00:00:02Z', '2026-01-01 00:00:02Z', NULL, 2097152, NULL, 4711, 99, 'boot', 12,
        101, 'n1', NULL, NULL, NULL, NULL),
      ('ended', 1048576, 'theirs', 'echo', 'caller', 'context', 'payload', 60, NULL, 3, 1,
        '2025-12-31 23:59:59Z', '2026-01-01 00:00:03Z', '2026-01-01 00:00:00Z', '2026-01-01 00:00:03Z', 1048576,
        'result', NULL, NULL, NULL, 13, NULL, NULL, NULL, 'err', 0, 0);
    """
}
