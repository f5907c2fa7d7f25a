"""Loads a node and the ceilings of this machine in turn, and prints figures, and ratios against the aims.

Every figure that is compared comes from the same round, seconds apart. Nothing here passes or fails, unless --strict: it
prints. Only a call that fails ends it.
"""
import argparse
import contextlib
import os
import re
import resource
import statistics
import subprocess
import sys
import time

from measuring import processes
from measuring.figures import Figures, add_options, finish_options, row
from measuring.load import PROGRAMS, Load, Target, in_turn, job, job_run, load_in_turn
from measuring.node import LoneNode, call, free_port, wait_for
from measuring.processor_time import Stopwatch

from . import self_check

IN_FLIGHT = 16
CEILING = "fixed answer, 32 connections"
LISTING, STATUS = "list_runners, 32 connections", "job.status, 32 connections"
SECURE = "list_runners by TLS, 32 connections"
ECHO, ECHO_ALONE = "job.run echo, 64 connections", "job.run echo, 1 connection"
TRUE, TRUE_ALONE = "job.run /bin/true, 64 connections", "job.run /bin/true, 1 connection"
BACKLOG = f"/bin/true from a filled queue, {IN_FLIGHT} at a time"
START = "start with a new data directory"


def main():
    parser = argparse.ArgumentParser(prog="Benchmarks/run")
    add_options(parser)
    parser.add_argument("--self-check", action="store_true", help="shows that the measurement notices what it must")
    options = parser.parse_args()
    finish_options(parser, options)
    processes.end_tidily()
    if options.self_check:
        return self_check.run()
    print(f"{os.cpu_count()} processors; load of this machine: {os.getloadavg()[0]:.1f}; figures are: median (lowest to "
          "highest of the rounds); us: of processor time a call", flush=True)
    figures = Figures(options)
    idle = measure_calls(options, figures)
    starts = measure_starts(options, figures)
    for figure in (CEILING, LISTING, SECURE, STATUS, ECHO, ECHO_ALONE, TRUE, TRUE_ALONE, BACKLOG):
        figures.show(figure)
    show_ratios(figures)
    for build in options.builds:
        row(f"{build.name}: resident when idle", idle[build.name], "25", " MiB")
        row(f"{build.name}: exec to ready, a new data directory", [ms for ms, _ in starts[build.name]], "150", " ms")
        row(f"{build.name}: processor time of that start", [cpu for _, cpu in starts[build.name]], "-", " ms")
        row(f"{build.name}: resident with 100000 queued jobs", [resident_with_queue(build.binary)], "100", " MiB")
    sys.exit(figures.compare())


def measure_calls(options, figures):
    """Answers the idle memory of each build as well."""
    idle = {build.name: [] for build in options.builds}
    for n in range(options.rounds):
        print(f"  round {n + 1} of {options.rounds}", flush=True)
        with contextlib.ExitStack() as stack:
            # Each round has processes of its own: one can be a few percent faster than another of the same build for as
            # long as it runs, which would be taken for a difference of the builds.
            nodes = {}
            for build in options.builds:
                nodes[build.name] = LoneNode(build.binary)
                stack.callback(nodes[build.name].stop)
            time.sleep(0.5)
            for name, node in nodes.items():
                idle[name].append(node.resident_mib())
                node.rpc("job.run", {"secret": node.secret, "job": job("known", "echo", "hello")})
            measure_round(options, figures, nodes, n, stack)
    return idle


def measure_round(options, figures, nodes, n, stack):
    part = 10 if options.quick else 1
    port = free_port()
    limit = processes.start([os.path.join(PROGRAMS, "http_limit"), str(port)])
    stack.callback(processes.end, limit)
    wait_for(port, limit)
    listing, status = call("list_runners", []), call("job.status", ["known"])

    def add(figure, targets, expected, calls, connections):
        # What was never done before takes longer: a tenth comes before what counts.
        load_in_turn(targets, expected, calls // part // 10, connections, f"{figure}-{n}-warm", n, is_coarse=True)
        for name, found in load_in_turn(
                targets, expected, calls // part, connections, f"{figure}-{n}", n, is_coarse=options.quick).items():
            figures.add(figure, name, found)

    def ask(figure, calls, connections, expected, body, are_jobs=False):
        add(figure, {
            name: Target(node.port, body(node), [node.pid], jobs_at=node if are_jobs else None)
            for name, node in nodes.items()}, expected, calls, connections)

    add(CEILING, {"ceiling (C)": Target(port, listing, [limit.pid])}, '"runner-44"]', 100_000, 32)
    ask(LISTING, 50_000, 32, '"runner-44"]', lambda _: listing)
    # An earlier build may not know it.
    secure = LoneNode(options.builds[0].binary, tls=True)
    stack.callback(secure.stop)
    add(SECURE, {"node": Target(secure.port, listing, [secure.pid], tls=True)}, '"runner-44"]', 50_000, 32)
    ask(STATUS, 50_000, 32, '"completed"', lambda _: status)
    for figure, calls, connections, executor in (
            (ECHO, 10_000, 64, "echo"), (ECHO_ALONE, 4_000, 1, "echo"),
            (TRUE, 4_000, 64, "true"), (TRUE_ALONE, 2_500, 1, "true")):
        ask(figure, calls, connections, '"result":', lambda node: job_run(node.secret, executor), are_jobs=True)
    figures.add(BACKLOG, "ceiling (C)", spawned(3000 // part))
    for build in in_turn(options.builds, n):
        figures.add(BACKLOG, build.name, ran_backlog(build.binary, 4000 // part, options.quick))


def spawned(total):
    """What a C program takes to run /bin/true; it has ended, so that its whole processor time is known."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        [os.path.join(PROGRAMS, "spawn_limit"), str(total), str(IN_FLIGHT), "0"], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"spawn_limit: {run.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Load(float(re.search(r"([\d.]+) per second", run.stdout).group(1)), None, None, seconds * 1e6 / total)


def ran_backlog(binary, total, is_coarse):
    """Runs /bin/true from a queue that was filled before, so that no client takes part."""
    node = LoneNode(binary, runners=[{"name": "bench", "queue": "bench", "concurrency": IN_FLIGHT}])
    try:
        node.rpc("stop_runner", ["bench", False])
        node.fill([job(f"b-{n}", "true") for n in range(total)])
        stopwatch = Stopwatch(node.pid)
        stopwatch.start()
        started = time.monotonic()
        node.rpc("start_runner", ["bench"])
        node.rpc("job.result", [f"b-{total - 1}"])
        node.rpc("stop_runner", ["bench", False])
        seconds = time.monotonic() - started
        stopwatch.stop()
        if node.rpc("get_runner_status", ["bench"])["completed"] != total:
            raise SystemExit("no figure: a process job failed")
        return Load(total / seconds, None, None, stopwatch.per_call(total, is_coarse))
    finally:
        node.stop()


def measure_starts(options, figures):
    """For each build: milliseconds until it listens, and of processor time until it has nothing to do. A start is short:
    a round has three."""
    starts = {build.name: [] for build in options.builds}
    for n in range(options.rounds):
        rounds = {build.name: [] for build in options.builds}
        for again in range(3):
            for build in in_turn(options.builds, n + again):
                fresh = LoneNode(build.binary)
                try:
                    rounds[build.name].append((fresh.ready_ms, fresh.start_cpu_ms()))
                finally:
                    fresh.stop()
        for name, found in rounds.items():
            ready, cpu = (statistics.mean(values) for values in zip(*found))
            starts[name].append((ready, cpu))
            figures.add_time(START, name, cpu)
    return starts


def show_ratios(figures):
    def ratio(words, figure, of, aim, value, who="ceiling (C)"):
        row(words, [a / b for a, b in zip(figures.of(figure, "node", value), figures.of(of, who, value))], aim)

    ratio("list_runners / ceiling: calls/s", LISTING, CEILING, "0.5, better 0.75", "rate")
    ratio("list_runners by TLS / list_runners: calls/s", SECURE, LISTING, "0.6", "rate", "node")
    ratio("job.status / ceiling: calls/s", STATUS, CEILING, "0.45", "rate")
    ratio("job.run echo / list_runners: calls/s", ECHO, LISTING, "0.167", "rate", "node")
    ratio("/bin/true from a filled queue / ceiling: jobs/s", BACKLOG, BACKLOG, "0.8", "rate")
    ratio("list_runners / ceiling: processor time", LISTING, CEILING, "-", "cpu")
    ratio("list_runners by TLS / list_runners: processor time", SECURE, LISTING, "-", "cpu", "node")
    ratio("job.status / ceiling: processor time", STATUS, CEILING, "-", "cpu")
    ratio("job.run echo / ceiling: processor time", ECHO, CEILING, "-", "cpu")
    ratio("/bin/true from a filled queue / ceiling: processor time", BACKLOG, BACKLOG, "-", "cpu")


def resident_with_queue(binary):
    node = LoneNode(binary, runners=[{"name": "bench", "queue": "bench", "concurrency": 1}])
    try:
        node.rpc("stop_runner", ["bench", False])
        node.fill([job(f"q-{n:06}-{'i' * 28}", "echo", "x" * 100) for n in range(100_000)])
        if node.rpc("get_runner_status", ["bench"])["queued"] != 100_000:
            raise SystemExit("no figure: not all jobs are queued")
        return node.resident_mib()
    finally:
        node.stop()


if __name__ == "__main__":
    main()
