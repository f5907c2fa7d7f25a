"""What it costs to ask a node that is not the owner: short rounds at each in turn, so that noise meets all alike.

A third way goes through a relay in C that reads nothing of what it passes on: what no node on the way can do better on
this machine.
"""
import os

from measure import free_port, job, lua, lua_run, row, wait_for, wrk

from . import processes
from .hero import SECRET, Cluster, until

# A latency is measured with one connection, a throughput with as many as keep both cores busy.
LOADS = {"job.status": 32, "job.run": 64}
WAYS = ("owner", "another", "relay")


def measure(options, hosts, stack, home):
    cluster = Cluster(options.binary, home, hosts.loopback(3), stack, runners=[
        {"name": "bench", "queue": "bench", "node": "n1", "concurrency": 16}])
    until(10, "a node does not know the runner", lambda: all(node.runners() == 1 for node in cluster.nodes))
    owner, another, _ = cluster.nodes
    relay_port = free_port()
    relay = processes.start([os.path.join(options.ceilings, "relay"), str(relay_port), str(owner.api)])
    stack.callback(processes.end, relay)
    wait_for(relay_port, relay)
    # Asks both before anything is measured.
    another.rpc("job.run", {"secret": SECRET, "job": job("known", "echo", "hello")})
    for node in (owner, another):
        node.rpc("job.status", ["known"])
    refused = sum(node.failed_calls() for node in cluster.nodes)

    pids = [relay.pid, *(node.pid for node in cluster.nodes)]
    ports = dict(zip(WAYS, (owner.api, another.api, relay_port)))
    seconds, rounds = (1, 3) if options.quick else (2, 10)
    for method, connections in LOADS.items():
        for count in (1, connections):
            results = []
            for n in range(rounds):
                # None is always the first.
                order = WAYS[n % 3:] + WAYS[:n % 3]
                results.append({way: load(
                    pids, ports[way], script(method, f"{method}-{count}-{n}-{way}"), seconds, count) for way in order})
            report(f"{method}, {count} connection{'s' if count > 1 else ''}", results, is_latency=count == 1)
    if sum(node.failed_calls() for node in cluster.nodes) > refused:
        raise SystemExit("calls were answered with errors")


def script(method, tag):
    if method == "job.run":
        return lua_run(SECRET, "echo", tag)
    return lua({"jsonrpc": "2.0", "id": 1, "method": "job.status", "params": ["known"]})


def load(pids, port, text, seconds, connections):
    """One round: what wrk saw, and microseconds of CPU a call, of the relay and all nodes together."""
    before = sum(map(processes.cpu_seconds, pids))
    seen = wrk(port, text, seconds, connections)
    used = sum(map(processes.cpu_seconds, pids)) - before
    return {"p50": seen.p50, "rate": seen.rate, "cpu": used * 1e6 / max(seen.requests, 1)}


def report(name, results, is_latency):
    def all_ways(words, key, unit=""):
        for way in WAYS:
            row(f"{name}: {words}, {way}", [result[way][key] for result in results], "-", unit)

    def ratios(words, key, aim):
        for way in WAYS[1:]:
            row(f"{name}: {words}, {way} / owner", [result[way][key] / result["owner"][key] for result in results],
                aim if way == "another" else "-")

    if is_latency:
        all_ways("median latency", "p50", " ms")
        ratios("median latency", "p50", "at most 1.6")
    else:
        all_ways("calls/s", "rate")
        ratios("calls/s", "rate", "at least 0.6")
        ratios("median latency", "p50", "-")
        all_ways("CPU a call", "cpu", " us")
