"""Loads a node and the ceilings of this machine in turn, and prints ratios against the aims.

Every figure that is compared comes from the same round, seconds apart. Nothing here passes or fails: it prints.
"""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import typing
import urllib.request


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


class Node:
    """A node of its own, in a temporary directory; `settings` are added to its configuration."""

    def __init__(self, binary, runners=None, **settings):
        self.directory = tempfile.mkdtemp(prefix="hero-bench-")
        self.port = free_port()
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
        path = os.path.join(self.directory, "cluster.json")
        with open(path, "w") as f:
            json.dump(config, f)
        started = time.monotonic()
        self.process = subprocess.Popen(
            [binary, "node", "--config", path, "--data-dir", os.path.join(self.directory, "data")],
            stderr=open(os.path.join(self.directory, "log"), "w"))
        wait_for(self.port, self.process)
        self.ready_ms = (time.monotonic() - started) * 1000
        with open(os.path.join(self.directory, "data", "admin.secret")) as f:
            self.secret = f.read().strip()

    def rpc(self, method, params):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/", json.dumps(
                {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.secret}"})
        answer = json.load(urllib.request.urlopen(request))
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']}")
        return answer["result"]

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        shutil.rmtree(self.directory)


def job(identifier, executor, payload=""):
    return {
        "id": identifier, "caller_id": "bench", "context_id": "bench", "payload": payload, "runner": "bench",
        "executor": executor, "timeout": 60, "env_vars": {}, "created_at": "", "updated_at": ""}


class Load(typing.NamedTuple):
    """What wrk saw; latencies in milliseconds."""
    rate: float
    p50: float
    p99: float
    requests: int


def wrk(port, script, seconds, connections):
    """Loads a node and answers what wrk saw."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as f:
        f.write(script)
        f.flush()
        out = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", "-s", f.name, f"http://127.0.0.1:{port}/"],
            capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        print(out)

    def latency(percentile):
        value, unit = re.search(rf"{percentile}%\s+([\d.]+)(us|ms|s)", out).groups()
        return float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
    return Load(
        float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), latency(50), latency(99),
        int(re.search(r"(\d+) requests in", out).group(1)))


def lua(body):
    return f"wrk.method='POST'; wrk.headers['Content-Type']='application/json'\nwrk.body=[==[{json.dumps(body)}]==]\n"


def lua_run(secret, executor, tag):
    """Every request runs a new job."""
    template = json.dumps({
        "jsonrpc": "2.0", "id": 1, "method": "job.run",
        "params": {"secret": secret, "job": job("IDENTIFIER", executor)}})
    before, after = template.split("IDENTIFIER")
    return (
        "wrk.method='POST'; wrk.headers['Content-Type']='application/json'\nlocal n=0\n"
        f"request=function() n=n+1; return wrk.format(nil,nil,nil,[==[{before}]==]..'{tag}-'..n..[==[{after}]==]) end\n")


def run_processes(node, seconds, in_flight, tag):
    """Process jobs a second, `in_flight` at a time; each must have succeeded."""
    before = node.rpc("get_runner_status", ["bench"])
    started = time.monotonic()
    wrk(node.port, lua_run(node.secret, "true", tag), seconds, in_flight)
    after = node.rpc("get_runner_status", ["bench"])
    if after["failed"] + after["timeout"] > before["failed"] + before["timeout"]:
        raise SystemExit("a process job failed")
    return (after["completed"] - before["completed"]) / (time.monotonic() - started)


def run_backlog(binary, total, in_flight):
    """Process jobs a second from a queue that was filled before, so that no client takes part."""
    node = Node(binary, runners=[{"name": "bench", "queue": "bench", "concurrency": in_flight}])
    try:
        node.rpc("stop_runner", ["bench", False])
        fill(node, [job(f"b-{n}", "true") for n in range(total)])
        started = time.monotonic()
        node.rpc("start_runner", ["bench"])
        node.rpc("job.result", [f"b-{total - 1}"])
        node.rpc("stop_runner", ["bench", False])
        seconds = time.monotonic() - started
        if node.rpc("get_runner_status", ["bench"])["completed"] != total:
            raise SystemExit("a process job failed")
        return total / seconds
    finally:
        node.stop()


def fill(node, jobs):
    """Creates and starts jobs, 500 in a batch."""
    for start in range(0, len(jobs), 500):
        part = jobs[start:start + 500]
        post(node, [{"jsonrpc": "2.0", "id": n, "method": "jobs.create",
                     "params": {"secret": node.secret, "job": new}} for n, new in enumerate(part)])
        post(node, [{"jsonrpc": "2.0", "id": n, "method": "job.start",
                     "params": {"secret": node.secret, "job_id": new["id"]}} for n, new in enumerate(part)])


def row(name, values, aim, unit=""):
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{name:<58} {middle:>10.3g}{unit}   ({low:.3g} to {high:.3g})   aim {aim}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--ceilings", required=True)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    seconds = options.seconds
    listing = lua({"jsonrpc": "2.0", "id": 1, "method": "list_runners", "params": []})

    limit_port = free_port()
    limit = subprocess.Popen([os.path.join(options.ceilings, "http_limit"), str(limit_port)])
    wait_for(limit_port, limit)
    node = Node(options.binary)
    time.sleep(0.5)
    idle = node.resident_mib()
    figures = {key: [] for key in ("ceiling", "list", "status", "echo", "backlog", "process", "p99", "list_rate", "echo_rate")}
    try:
        node.rpc("job.run", {"secret": node.secret, "job": job("known", "echo", "hello")})
        status = lua({"jsonrpc": "2.0", "id": 1, "method": "job.status", "params": ["known"]})
        for n in range(options.rounds):
            ceiling = wrk(limit_port, listing, seconds, 32).rate
            listed = wrk(node.port, listing, seconds, 32).rate
            known = wrk(node.port, status, seconds, 32).rate
            echo = wrk(node.port, lua_run(node.secret, "echo", f"e{n}"), seconds, 64)
            out = subprocess.run(
                [os.path.join(options.ceilings, "spawn_limit"), "3000", "16", "0"], capture_output=True, text=True).stdout
            spawned = float(re.search(r"([\d.]+) per second", out).group(1))
            backlog = run_backlog(options.binary, 3000, 16)
            ran = run_processes(node, seconds, 16, f"p{n}")
            for key, value in {
                "ceiling": ceiling, "list": listed / ceiling, "status": known / ceiling, "echo": echo.rate / listed,
                "backlog": backlog / spawned, "process": ran / spawned, "p99": echo.p99, "list_rate": listed, "echo_rate": echo.rate}.items():
                figures[key].append(value)
    finally:
        limit.terminate()
        limit.wait()
        node.stop()

    row("http_limit (C), requests/s at 32 connections", figures["ceiling"], "-")
    row("list_runners, requests/s at 32 connections", figures["list_rate"], "-")
    row("list_runners / http_limit", figures["list"], "0.5, better 0.75")
    row("job.status / http_limit", figures["status"], "0.45")
    row("job.run echo, jobs/s at 64 connections", figures["echo_rate"], "10000 where list_runners does 60000")
    row("job.run echo / list_runners", figures["echo"], "0.167")
    row("job.run echo, 99th percentile", figures["p99"], "20", " ms")
    row("/bin/true from a filled queue / spawn_limit, 16 in flight", figures["backlog"], "0.8")
    row("/bin/true by job.run of 16 clients / spawn_limit", figures["process"], "-")
    row("resident when idle", [idle], "25", " MiB")

    starts = []
    for _ in range(options.rounds):
        fresh = Node(options.binary)
        starts.append(fresh.ready_ms)
        fresh.stop()
    row("exec to ready, a new data directory", starts, "150", " ms")

    queued = Node(options.binary, runners=[{"name": "bench", "queue": "bench", "concurrency": 1}])
    try:
        queued.rpc("stop_runner", ["bench", False])
        fill(queued, [job(f"q-{n:06}-{'i' * 28}", "echo", "x" * 100) for n in range(100_000)])
        waiting = queued.rpc("get_runner_status", ["bench"])["queued"]
        row(f"resident with {waiting} queued jobs", [queued.resident_mib()], "100", " MiB")
    finally:
        queued.stop()


def post(node, batch):
    request = urllib.request.Request(
        f"http://127.0.0.1:{node.port}/", json.dumps(batch).encode(), {"Content-Type": "application/json"})
    for answer in json.load(urllib.request.urlopen(request)):
        if "error" in answer:
            raise SystemExit(str(answer))


if __name__ == "__main__":
    main()
