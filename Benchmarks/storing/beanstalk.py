"""A node on SQLite against beanstalkd: put, reserve and delete, each write of which is on disk before it is answered, as
the record of a job that ran is. The client of either is written in C."""
import os
import re
import subprocess

from measuring.figures import row
from measuring.load import PROGRAMS, Load, Target, job_run, load_in_turn
from measuring.processor_time import Stopwatch

from . import nodes, servers

# Connections, and jobs of a round.
LOADS = ((1, 2_000), (64, 10_000))


def measure(run, stack):
    targets = {}
    for build in run.builds:
        node = nodes.start(build.binary, nodes.sqlite(os.path.join(run.home, f"beanstalk-{build.name}.db")), stack)
        targets[build.name] = Target(node.port, job_run(node.secret, "echo"), [node.pid], jobs_at=node)
    port, pid = servers.beanstalkd(run.home, stack)
    for connections, jobs in LOADS:
        words = f"{connections} connection{'s' if connections > 1 else ''}"
        name = f"job.run echo, SQLite, {words}"
        for n in range(run.rounds):
            run.figures.add(name, "beanstalkd -f 0", load_beanstalkd(port, pid, connections, run.seconds))
            for build, found in load_in_turn(
                    targets, '"result":', jobs // (10 if run.is_quick else 1), connections, f"s{connections}-{n}", n,
                    is_coarse=run.is_quick).items():
                run.figures.add(name, build, found)
        run.figures.show(name)
        row(f"job.run echo / beanstalkd, {words}", [a / b for a, b in zip(
            run.figures.of(name, "node", "rate"), run.figures.of(name, "beanstalkd -f 0", "rate"))], "- (1: as fast)")


def load_beanstalkd(port, pid, connections, seconds):
    """A call is a cycle of put, reserve and delete."""
    stopwatch = Stopwatch(pid)
    stopwatch.start()
    out = subprocess.run(
        [os.path.join(PROGRAMS, "beanstalk_load"), str(port), str(connections), str(seconds)], capture_output=True,
        text=True, check=True).stdout
    stopwatch.stop()
    cycles, rate = re.search(r"(\d+) cycles, ([\d.]+) per second", out).groups()
    return Load(float(rate), None, None, stopwatch.per_call(int(cycles)))
