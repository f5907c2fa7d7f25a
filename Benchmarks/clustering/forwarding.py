"""What it costs to ask a node that is not the owner: short rounds at each in turn, so that noise meets both alike."""
import json

from measure import job, lua, lua_run, row, wrk

from . import processes
from .hero import SECRET, Cluster, until

# A latency is measured with one connection, a throughput with as many as keep both cores busy.
LOADS = {"job.status": 32, "job.run": 64}


def measure(options, hosts, stack, home):
    cluster = Cluster(options.binary, home, hosts.loopback(3), stack, runners=[
        {"name": "bench", "queue": "bench", "node": "n1", "concurrency": 16}])
    owner, other, _ = cluster.nodes
    until(10, "a node does not know the runner", lambda: all(node.runners() == 1 for node in cluster.nodes))
    # Asks both before anything is measured.
    other.rpc("job.run", {"secret": SECRET, "job": job("known", "echo", "hello")})
    for node in (owner, other):
        node.rpc("job.status", ["known"])
    refused = sum(node.failed_calls() for node in cluster.nodes)
    seconds, rounds = (1, 3) if options.quick else (2, 10)
    for method, connections in LOADS.items():
        latency, throughput = [], []
        for n in range(rounds):
            for count, results in ((1, latency), (connections, throughput)):
                pair = {}
                # Neither is always the first.
                for node in (owner, other) if n % 2 else (other, owner):
                    script = scripts(method, f"{method}-{count}-{n}-{node.name}")
                    pair[node] = Load(cluster, node, script, seconds, count)
                results.append((pair[owner], pair[other]))
        report(method, connections, latency, throughput)
    if sum(node.failed_calls() for node in cluster.nodes) > refused:
        raise SystemExit("calls were answered with errors")


def scripts(method, tag):
    if method == "job.run":
        return lua_run(SECRET, "echo", tag)
    return lua({"jsonrpc": "2.0", "id": 1, "method": "job.status", "params": ["known"]})


class Load:
    """One round at one node: what wrk saw, and microseconds of CPU a call, of all nodes together."""

    def __init__(self, cluster, node, script, seconds, connections):
        before = sum(processes.cpu_seconds(each.pid) for each in cluster.nodes)
        self.wrk = wrk(node.api, script, seconds, connections)
        used = sum(processes.cpu_seconds(each.pid) for each in cluster.nodes) - before
        self.cpu = used * 1e6 / max(self.wrk.requests, 1)


def report(method, connections, latency, throughput):
    def both(name, pairs, value, unit=""):
        row(f"{name}, at the owner", [value(mine) for mine, _ in pairs], "-", unit)
        row(f"{name}, at another", [value(theirs) for _, theirs in pairs], "-", unit)

    both(f"{method}, 1 connection, p50", latency, lambda load: load.wrk.p50, " ms")
    row(f"{method}, latency, other / owner", [b.wrk.p50 / a.wrk.p50 for a, b in latency], "at most 1.6")
    both(f"{method}, {connections} connections, calls/s", throughput, lambda load: load.wrk.rate)
    row(f"{method}, throughput, other / owner", [b.wrk.rate / a.wrk.rate for a, b in throughput], "at least 0.6")
    both(f"{method}, {connections} connections, CPU a call", throughput, lambda load: load.cpu, " us")
