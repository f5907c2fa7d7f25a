"""How soon every survivor says that a node failed: after kill -9, beside serf; and when a host falls silent."""
import random
import time

from measuring.figures import row
from measuring.node import until

from .hero import Cluster
from .serf import Agents


def measure(options, hosts, stack, home, figures):
    cluster = Cluster(options.binary, home, hosts.make(5), stack)
    agents = Agents(hosts.make(5), stack)
    generator = random.Random(options.seed)
    kills, serf_kills = (5, 1) if options.quick else (50, 10)
    ours, theirs = [], []
    for n in range(kills):
        # At any moment of the probe period.
        time.sleep(generator.uniform(0, 1))
        victim = generator.choice(cluster.nodes)
        ours.append(seconds_to_detect(cluster, victim, victim.kill))
        victim.start()
        cluster.settle(60)
        if len(theirs) * kills < (n + 1) * serf_kills:
            theirs.append(agents.seconds_to_detect(generator.choice(agents.agents)))
    row(f"node, kill -9, {kills} times, failed at every survivor after", ours, "median 0.3, worst 1", " s")
    row(f"serf, kill -9, {serf_kills} times, failed at every survivor after", theirs, "-", " s")


def measure_silence(options, hosts, stack, home, figures):
    places = hosts.make(5)
    if not places[0].can_be_silent:
        return print("a silent host: not measured, network namespaces are not permitted here")
    cluster = Cluster(options.binary, home, places, stack)
    generator = random.Random(options.seed)
    found, healed = [], []
    for _ in range(2 if options.quick else 5):
        time.sleep(generator.uniform(0, 1))
        victim = generator.choice(cluster.nodes)
        found.append(seconds_to_detect(cluster, victim, victim.host.silence))
        victim.host.heal()
        moment = time.monotonic()
        cluster.settle(120)
        healed.append(time.monotonic() - moment)
    row(f"node, silent host, {len(found)} times, failed at every other after", found, "at most 5", " s")
    row("node, no longer silent, a member with all links again after", healed, "-", " s")


def seconds_to_detect(cluster, victim, strike):
    """From the blow until the last of the others says that the victim failed. None of them may say so of another one."""
    waiting = [node for node in cluster.nodes if node is not victim]
    survivors = [node.name for node in waiting]
    started = time.monotonic()
    strike()

    def all_say_so():
        for node in list(waiting):
            states = node.states()
            if any(states[name] == "failed" for name in survivors):
                raise SystemExit(f"{node.name} says that a live node failed: {states}")
            if states[victim.name] == "failed":
                waiting.remove(node)
        return not waiting

    until(60, f"{victim.name} is not missed", all_say_so, 0.005)
    return time.monotonic() - started
