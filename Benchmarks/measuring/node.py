"""A node, and what it says."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .connection import Connection
from .processor_time import Stopwatch, total


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            if process.poll() is not None:
                raise SystemExit("a server ended before it listened")
            time.sleep(0.005)
    raise SystemExit("a server did not listen within 10 s")


def until(seconds, complaint, condition, pause=0.01):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{complaint} within {seconds} s")
        time.sleep(pause)


def call(method, params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


class Node:
    """What all nodes have in common: a process, which may be gone, and a connection that stays open."""

    def __init__(self, name, address, port, secret):
        self.name, self.port, self.secret = name, port, secret
        self.process = None
        self.connection = Connection(address, port, secret)

    @property
    def pid(self):
        return self.process.pid

    @property
    def is_alive(self):
        return self.process is not None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.connection.close()

    def request(self, method, path):
        return self.connection.request(method, path)

    def answer(self, method, params=()):
        """The whole answer, an error too."""
        return self.connection.post(call(method, params))[1]

    def rpc(self, method, params=()):
        answer = self.answer(method, params)
        if "error" in answer:
            raise SystemExit(f"{method} at {self.name}: {answer['error']}")
        return answer["result"]

    def batch(self, calls):
        """Calls of (method, params) in one request."""
        calls = [{**call(method, params), "id": n} for n, (method, params) in enumerate(calls)]
        for answer in self.connection.post(calls)[1]:
            if "error" in answer:
                raise SystemExit(f"{self.name}: {answer['error']}")

    def metric(self, words):
        text = self.request("GET", "/metrics")[1].decode()
        found = re.findall(rf"^{re.escape(words)} (\S+)$", text, re.MULTILINE)
        return float(found[0]) if found else 0.0

    def resident_mib(self):
        return resident_mib(self.pid)


class LoneNode(Node):
    """A node without a cluster, in a temporary directory; `settings` are added to its configuration. With `tls` it speaks
    HTTPS, and only http_load speaks with it."""

    def __init__(self, binary, runners=None, tls=False, **settings):
        super().__init__("the node", "127.0.0.1", free_port(), None)
        self.directory = tempfile.mkdtemp(prefix="hero-bench-")
        config = {
            "api": {"listen": f"127.0.0.1:{self.port}"},
            "executors": {"true": {"command": ["/bin/true"], "payload": "stdin"}},
            "runners": runners or [
                {"name": "bench", "queue": "bench", "concurrency": 16},
                {"name": "runner-1", "queue": "q1"}, {"name": "runner-2", "queue": "q2"},
                {"name": "runner-44", "queue": "q44"},
            ],
            **settings,
        }
        if tls:
            config["api"]["tls"] = certificate(binary, self.directory)
        path = os.path.join(self.directory, "cluster.json")
        with open(path, "w") as f:
            json.dump(config, f)
        started = time.monotonic()
        with open(os.path.join(self.directory, "log"), "w") as log:
            self.process = subprocess.Popen(
                [binary, "node", "--config", path, "--data-dir", os.path.join(self.directory, "data")], stderr=log)
        wait_for(self.port, self.process)
        self.ready_ms = (time.monotonic() - started) * 1000
        with open(os.path.join(self.directory, "data", "admin.secret")) as f:
            self.secret = f.read().strip()
        self.connection = Connection("127.0.0.1", self.port, self.secret)

    def start_cpu_ms(self):
        """Milliseconds of processor time from exec until the node had nothing to do any more; to be asked first."""
        stopwatch = Stopwatch(self.pid)
        stopwatch.start()
        stopwatch.stop()
        return total(self.pid).seconds * 1000

    def fill(self, jobs):
        """Creates and starts jobs, 500 in a batch."""
        for start in range(0, len(jobs), 500):
            part = jobs[start:start + 500]
            self.batch([("jobs.create", {"secret": self.secret, "job": new}) for new in part])
            self.batch([("job.start", {"secret": self.secret, "job_id": new["id"]}) for new in part])

    def stop(self):
        """May be called again."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def certificate(binary, directory):
    """The section `api.tls` for a node at 127.0.0.1."""
    authority = os.path.join(directory, "authority")
    for words in (["init", "--out", authority], ["issue", "node", "--authority", authority, "--ip", "127.0.0.1"]):
        subprocess.run([binary, "cluster", "certs", *words], check=True, stdout=subprocess.DEVNULL)
    return {"certificate": f"{authority}/node.pem", "key": f"{authority}/node.key"}


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024
