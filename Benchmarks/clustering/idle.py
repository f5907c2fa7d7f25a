"""What a node costs that has nothing to do, beside an agent of serf in the same seconds."""
import time

from measuring.figures import row
from measuring.node import resident_mib
from measuring.processor_time import total

from .hero import Cluster
from .serf import Agents


def measure(options, hosts, stack, home, figures):
    clusters = {
        build.name: Cluster(build.binary, f"{home}-{build.name}", hosts.make(5), stack) for build in options.builds}
    agents = Agents(hosts.make(5), stack)
    time.sleep(2 if options.quick else 10)  # what starting and meeting costs is no part of it
    used = observe("", options, {**{name: each.nodes for name, each in clusters.items()}, "serf": agents.agents})
    for build in options.builds:
        for share in used[build.name]:
            figures.add_time("idle, in a cluster of five", build.name, share)


def observe(when, options, groups):
    """Watches all processes of all groups in the same seconds; answers the share of a core that each used."""
    shares = {}
    seconds = 5 if options.quick else 30
    everyone = [each for group in groups.values() for each in group]
    # Asking costs as well: it comes before the first look and after the last one.
    gossip_before = {each: gossip(each) for each in everyone}
    time.sleep(0.2)
    before = {each: Costs(each) for each in everyone}
    time.sleep(seconds)
    after = {each: Costs(each) for each in everyone}
    for name, group in groups.items():
        def rates(value):
            return [
                (value(after[each]) - value(before[each])) / (after[each].moment - before[each].moment) for each in group]

        shares[name] = [rate * 100 for rate in rates(lambda costs: costs.cpu)]
        row(f"{name}, idle{when}, share of a core", shares[name],
            aim(name, "at most 0.5"), " %")
        if group[0].host.traffic():
            for index, words in enumerate(("sent", "received")):
                row(f"{name}, idle{when}, {words}", [
                    rate / 1000 for rate in rates(lambda costs: costs.traffic[index])], aim(name, "at most 5"), " kB/s")
        if gossip_before[group[0]] is not None:
            row(f"{name}, idle{when}, sent, datagrams alone",
                [(gossip(each) - gossip_before[each]) / 1000 / seconds for each in group], "-", " kB/s")
        row(f"{name}, idle{when}, resident", [after[each].resident for each in group], "-", " MiB")
    return shares


def aim(name, words):
    return "-" if name == "serf" else words


def gossip(of):
    return of.metric('hero_gossip_bytes_total{direction="out"}') if hasattr(of, "metric") else None


class Costs:
    """What a process and its children have used until now, and the traffic of their host, with its Ethernet headers."""

    def __init__(self, of):
        self.cpu = total(of.pid).seconds
        self.resident = resident_mib(of.pid)
        self.traffic = of.host.traffic()
        self.moment = time.monotonic()
