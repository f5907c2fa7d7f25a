"""Clusters of Hero Supervisor, with default settings and encrypted gossip."""
import json
import os
import re
import subprocess

from measuring import node, processes
from measuring.node import until

SECRET = "key-of-the-benchmark"


class Node(node.Node):
    """A member; it can be started again after it was killed."""

    def __init__(self, cluster, name, host):
        super().__init__(name, host.address, node.free_port(), SECRET)
        self.host, self.gossip_port = host, node.free_port()
        self._cluster = cluster

    def start(self):
        directory = os.path.join(self._cluster.home, self.name)
        with open(directory + ".log", "a") as log:
            self.process = processes.start([
                *self.host.words, self._cluster.binary, "node", "--config", self._cluster.configuration,
                "--name", self.name, "--data-dir", directory, "--api", f"{self.host.address}:{self.port}",
                "--cluster", f"{self.host.address}:{self.gossip_port}",
                *(word for seed in self._cluster.nodes[:2]
                  for word in ("--join", f"{seed.host.address}:{seed.gossip_port}")),
            ], stderr=log)

    def states(self):
        """What this node says of each member."""
        return {member["name"]: member["state"] for member in self.rpc("cluster.members")}

    def runners(self):
        """How many runners of the whole cluster this node knows."""
        return self.rpc("cluster.status")["runners"]["total"]

    def failed_calls(self):
        text = self.request("GET", "/metrics")[1].decode()
        return sum(int(n) for n in re.findall(r'^hero_rpc_calls_total\{[^}]*code="-\d+"\} (\d+)$', text, re.MULTILINE))

    def is_complete(self, count):
        """Ready, with a link to each of `count` live members."""
        try:
            return (
                self.request("GET", "/ready")[0] == 200 and list(self.states().values()).count("alive") == count
                and self.metric("hero_cluster_links") == count - 1)
        except OSError:
            return False


class Cluster:
    """Nodes that know each other."""

    def __init__(self, binary, home, hosts, stack, runners=()):
        self.binary, self.home = binary, home
        self.configuration = os.path.join(home, "cluster.json")
        os.makedirs(home)
        subprocess.run(
            [binary, "cluster", "keygen", "--file", os.path.join(home, "gossip.keys")], check=True,
            stdout=subprocess.DEVNULL)
        with open(self.configuration, "w") as f:
            json.dump({
                "cluster": {"name": "benchmark", "keys": ["file:gossip.keys"]},
                # The load generator asks for job.status as clients of the contract do, without a key.
                "auth": {"admin_secrets": [SECRET], "open_methods": True}, "runners": list(runners)}, f)
        self.nodes = []
        self._stack = stack
        for host in hosts:
            self.add(host)
        for node in self.nodes:
            node.start()
        self.settle()

    def add(self, host):
        node = Node(self, f"n{len(self.nodes) + 1}", host)
        self.nodes.append(node)
        self._stack.callback(node.kill)
        return node

    def settle(self, seconds=30):
        """Waits until all live nodes know each other."""
        live = [node for node in self.nodes if node.is_alive]
        until(seconds, "the nodes do not find each other", lambda: all(node.is_complete(len(live)) for node in live))
