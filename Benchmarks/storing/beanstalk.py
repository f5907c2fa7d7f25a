"""A node on SQLite against beanstalkd: put, reserve and delete, each write of which is on disk before it is answered, as
the record of a job that ran is. The client of either is written in C."""
import os
import re
import subprocess

from measure import lua_run, row, wrk

from . import nodes, servers


def measure(run, stack):
    node = nodes.start(run.binary, nodes.sqlite(os.path.join(run.home, "beanstalk.db")), stack)
    port = servers.beanstalkd(run.home, stack)
    for connections in (1, 64):
        rounds = []
        for n in range(run.rounds):
            cycles = load(run.ceilings, port, connections, run.seconds)
            jobs = wrk(node.port, lua_run(node.secret, "echo", f"s{connections}-{n}"), run.seconds, connections).rate
            rounds.append((jobs, cycles))
        words = f"{connections} connection{'s' if connections > 1 else ''}"
        row(f"beanstalkd -f 0, put + reserve + delete/s, {words}", [cycles for _, cycles in rounds], "-")
        row(f"job.run echo, SQLite, jobs/s, {words}", [jobs for jobs, _ in rounds], "-")
        row(f"job.run echo / beanstalkd, {words}", [jobs / cycles for jobs, cycles in rounds], "- (1: as fast)")


def load(ceilings, port, connections, seconds):
    out = subprocess.run(
        [os.path.join(ceilings, "beanstalk_load"), str(port), str(connections), str(seconds)], capture_output=True,
        text=True, check=True).stdout
    return float(re.search(r"([\d.]+) per second", out).group(1))
