"""Nodes of Hero Supervisor, with default settings and encrypted gossip, and a connection to each that stays open."""
import http.client
import json
import os
import re
import subprocess
import time

from measure import free_port

from . import processes

SECRET = "benchmark"


class Node:
    def __init__(self, cluster, name, host):
        self.name, self.host = name, host
        self.api, self.port = free_port(), free_port()
        self._cluster = cluster
        self._process = None
        self._connection = None

    @property
    def pid(self):
        return self._process.pid

    @property
    def is_alive(self):
        return self._process is not None

    def start(self):
        directory = os.path.join(self._cluster.home, self.name)
        with open(directory + ".log", "a") as log:
            self._process = processes.start([
                *self.host.words, self._cluster.binary, "node", "--config", self._cluster.configuration,
                "--name", self.name, "--data-dir", directory, "--api", f"{self.host.address}:{self.api}",
                "--cluster", f"{self.host.address}:{self.port}",
                *(word for seed in self._cluster.nodes[:2] for word in ("--join", f"{seed.host.address}:{seed.port}")),
            ], stderr=log)

    def kill(self):
        if self._process:
            processes.end(self._process)
        self._process = None
        self._hang_up()

    def _hang_up(self):
        if self._connection:
            self._connection.close()
        self._connection = None

    # What a node says

    def request(self, method, path, body=None):
        """Status and body. What is asked here may be asked twice: a node closes a connection that was idle for long."""
        try:
            return self._request(method, path, body)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            return self._request(method, path, body)

    def _request(self, method, path, body):
        self._connection = self._connection or http.client.HTTPConnection(self.host.address, self.api, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            self._hang_up()
            raise

    def answer(self, method, params):
        """The whole answer, an error too."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return json.loads(self.request("POST", "/rpc", json.dumps(call))[1])

    def rpc(self, method, params=()):
        answer = self.answer(method, params)
        if "error" in answer:
            raise SystemExit(f"{method} at {self.name}: {answer['error']}")
        return answer["result"]

    def batch(self, calls):
        """Calls of (method, params) in one request."""
        calls = [{"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n, (method, params) in enumerate(calls)]
        for answer in json.loads(self.request("POST", "/rpc", json.dumps(calls))[1]):
            if "error" in answer:
                raise SystemExit(f"{self.name}: {answer['error']}")

    def states(self):
        """What this node says of each member."""
        return {member["name"]: member["state"] for member in self.rpc("cluster.members")}

    def runners(self):
        """How many runners of the whole cluster this node knows."""
        return self.rpc("cluster.status")["runners"]["total"]

    def metric(self, words):
        text = self.request("GET", "/metrics")[1].decode()
        found = re.findall(rf"^{re.escape(words)} (\S+)$", text, re.MULTILINE)
        return float(found[0]) if found else 0.0

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
                "auth": {"admin_secrets": [SECRET]}, "runners": list(runners)}, f)
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


def until(seconds, complaint, condition, pause=0.01):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{complaint} within {seconds} s")
        time.sleep(pause)
