"""A thousand runners on each of five nodes: how fast news of them travels, how fast a sixth node learns all, and what it
costs to keep them known."""
import time

from measuring.figures import row
from measuring.node import until

from .hero import SECRET, Cluster
from .idle import observe

BATCH = 500


def measure(options, hosts, stack, home, figures):
    each, rounds = (100, 3) if options.quick else (1000, 20)
    cluster = Cluster(options.binary, home, hosts.make(5), stack)
    total = each * len(cluster.nodes)
    times = []
    for node in cluster.nodes:
        for start in range(0, each, BATCH):
            started = time.monotonic()
            node.batch([registration(f"{node.name}-{n}") for n in range(start, min(start + BATCH, each))])
            times.append((time.monotonic() - started) * 1000 / min(BATCH, each))
    row(f"registering {each} runners at each of 5 nodes, a runner", times, "-", " ms")
    until(30, "the nodes do not know all runners", lambda: all(node.runners() == total for node in cluster.nodes))

    known, answered = [], []
    for n in range(rounds):
        at = cluster.nodes[n % len(cluster.nodes)]
        answer, everywhere = seconds_to_spread(cluster, at, f"new-{n}")
        answered.append(answer)
        known.append(everywhere)
    total += rounds
    row(f"a new runner beside {each * 5}, answered after", answered, "-", " s")
    row(f"a new runner beside {each * 5}, known at every node after", known, "at most 1", " s")

    joined, ready = [], []
    host = hosts.make(1)[0]
    for _ in range(2 if options.quick else 5):
        node = cluster.add(host)
        is_ready, has_all = seconds_to_join(node, total)
        ready.append(is_ready)
        joined.append(has_all)
        listed = len(node.rpc("list_runners"))
        if listed != total:
            raise SystemExit(f"the sixth node lists {listed} runners of {total}")
        node.kill()
        until(60, "the sixth node is not missed", lambda name=node.name: all(
            each.states()[name] == "failed" for each in cluster.nodes if each.is_alive))
    row(f"a sixth node, from exec until ready, {total} runners", ready, "-", " s")
    row(f"a sixth node, from exec until it knows {total} runners", joined, "at most 1", " s")
    until(30, "a runner is lost", lambda: all(node.runners() == total for node in cluster.nodes if node.is_alive))
    time.sleep(2 if options.quick else 10)
    observe(f" with {total} runners", options, {"node": [node for node in cluster.nodes if node.is_alive]})


def registration(name):
    return "register_runner", {"secret": SECRET, "name": name, "queue": name}


def seconds_to_spread(cluster, at, name):
    """From the request until its answer, and until every node can say how the runner is."""
    started = time.monotonic()
    at.rpc(*registration(name))
    answered = time.monotonic() - started
    for node in cluster.nodes:
        until(30, f"{node.name} does not know {name}", lambda: "result" in node.answer("get_runner_status", [name]), 0.001)
    return answered, time.monotonic() - started


def seconds_to_join(node, total):
    """From exec until it is ready, and until it knows so many runners."""
    started = time.monotonic()
    node.start()
    ready = None

    def knows_all():
        nonlocal ready
        try:
            if ready is None and node.request("GET", "/ready")[0] == 200:
                ready = time.monotonic() - started
            return ready is not None and node.runners() == total
        except OSError:
            return False

    until(60, "the sixth node does not learn all", knows_all, 0.005)
    return ready, time.monotonic() - started
