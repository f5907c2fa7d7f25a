"""Nodes on a store that is given, and a connection to one that costs the client little."""
import json
import os
import socket
import time

from measure import Node

# Nothing that a run made is old or too much.
RETENTION = {"days": 3650, "max_jobs": 100_000_000}
RUNNERS = [{"name": "bench", "queue": "bench", "concurrency": 16}, {"name": "parked", "queue": "parked"}]


def start(binary, store, stack=None):
    """A node that runs jobs."""
    node = Node(binary, RUNNERS, store=store, retention=RETENTION)
    if stack:
        stack.callback(stop, node)
    deadline = time.monotonic() + 120
    while node.rpc("get_runner_status", ["bench"])["state"] != "running":
        if time.monotonic() > deadline:
            raise SystemExit("a node does not take its runner within 120 s")
        time.sleep(0.02)
    return node


def stop(node):
    if node.process.poll() is None:
        node.stop()


def sqlite(path):
    return {"sqlite": {"path": os.path.abspath(path)}}


def postgres(url):
    return {"postgres": {"url": url}}


class Connection:
    """Calls one after another over one connection. http.client takes longer than what it would measure."""

    def __init__(self, node):
        self._socket = socket.create_connection(("127.0.0.1", node.port), 120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{node.port}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {node.secret}\r\nContent-Length: ")

    def call(self, method, params):
        return self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    def post(self, body):
        """Seconds, and the answer."""
        text = json.dumps(body)
        request = f"{self._head}{len(text)}\r\n\r\n{text}".encode()
        started = time.perf_counter()
        self._socket.sendall(request)
        answer = self._socket.recv(1 << 20)
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, content = answer.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(content) < length:
            content += self._more()
        seconds = time.perf_counter() - started
        return seconds, json.loads(content)

    def _more(self):
        more = self._socket.recv(1 << 20)
        if not more:
            raise SystemExit("a node hung up")
        return more

    def close(self):
        self._socket.close()
