"""What it costs to ask a node that is not the owner: short rounds at each in turn, so that noise meets all alike.

A third way goes through a relay in C that reads nothing of what it passes on: what no node on the way can do better on
this machine.
"""
import os

from measuring import processes
from measuring.figures import row
from measuring.load import PROGRAMS, Target, job, job_run, load_in_turn
from measuring.node import call, free_port, until, wait_for

from .hero import SECRET, Cluster

# A latency is measured with one connection, a throughput with as many as keep both cores busy: connections and calls.
LOADS = {
    "job.status": ((1, 5_000), (32, 20_000)),
    "job.run": ((1, 1_500), (64, 10_000)),
}
WAYS = ("owner", "another", "relay")


def measure(options, hosts, stack, home, figures):
    clusters = {build.name: Cluster(build.binary, f"{home}-{build.name}", hosts.loopback(3), stack, runners=[
        {"name": "bench", "queue": "bench", "node": "n1", "concurrency": 16}]) for build in options.builds}
    ways = {name: ways_to_ask(cluster, stack) for name, cluster in clusters.items()}
    for method, loads in LOADS.items():
        for connections, calls in loads:
            name = f"{method}, {connections} connection{'s' if connections > 1 else ''}"
            calls //= 10 if options.quick else 1
            for n in range(options.rounds + 1):
                targets = {
                    (build, way): target._replace(
                        body=body(method), jobs_at=clusters[build].nodes[0] if method == "job.run" else None)
                    for build, found in ways.items() for way, target in found.items()}
                seen = load_in_turn(
                    targets, '"completed"' if method == "job.status" else '"result":', calls, connections,
                    f"{method}-{connections}-{n}", n, is_coarse=options.quick)
                for (build, way), found in seen.items():
                    # The first round warms up.
                    if n > 0:
                        figures.add(f"{name}, {way}", build, found)
            for way in WAYS:
                figures.show(f"{name}, {way}")
            for build in clusters:
                show_ratios(figures, name, build, is_latency=connections == 1)


def ways_to_ask(cluster, stack):
    """The owner, another node, and a relay before the owner. All that takes part counts, all nodes in any case."""
    until(10, "a node does not know the runner", lambda: all(node.runners() == 1 for node in cluster.nodes))
    owner, another, _ = cluster.nodes
    relay_port = free_port()
    relay = processes.start([os.path.join(PROGRAMS, "relay"), str(relay_port), str(owner.port)])
    stack.callback(processes.end, relay)
    wait_for(relay_port, relay)
    # Asks both before anything is measured.
    another.rpc("job.run", {"secret": SECRET, "job": job("known", "echo", "hello")})
    for node in (owner, another):
        node.rpc("job.status", ["known"])
    pids = [node.pid for node in cluster.nodes]
    return {
        "owner": Target(owner.port, None, pids), "another": Target(another.port, None, pids),
        "relay": Target(relay_port, None, [*pids, relay.pid])}


def body(method):
    return job_run(SECRET, "echo") if method == "job.run" else call("job.status", ["known"])


def show_ratios(figures, name, build, is_latency):
    def ratios(words, value, aim):
        for way in WAYS[1:]:
            row(f"{name}, {build}: {words}, {way} / owner",
                [a / b for a, b in zip(figures.of(f"{name}, {way}", build, value),
                                       figures.of(f"{name}, owner", build, value))], aim if way == "another" else "-")

    if is_latency:
        ratios("median latency", "p50", "at most 1.6")
    else:
        ratios("calls/s", "rate", "at least 0.6")
        ratios("median latency", "p50", "-")
    ratios("processor time", "cpu", "-")
