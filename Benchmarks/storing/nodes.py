"""Nodes on a store that is given."""
import os

from measuring.node import LoneNode, until

# Nothing that a run made is old or too much.
RETENTION = {"days": 3650, "max_jobs": 100_000_000}
RUNNERS = [{"name": "bench", "queue": "bench", "concurrency": 16}, {"name": "parked", "queue": "parked"}]


def start(binary, store, stack=None):
    """A node that runs jobs."""
    node = LoneNode(binary, RUNNERS, store=store, retention=RETENTION)
    if stack:
        stack.callback(node.stop)
    until(120, "a node does not take its runner",
          lambda: node.rpc("get_runner_status", ["bench"])["state"] == "running", 0.02)
    return node


def sqlite(path):
    return {"sqlite": {"path": os.path.abspath(path)}}


def postgres(url):
    return {"postgres": {"url": url}}
