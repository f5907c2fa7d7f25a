"""The servers that a run starts, each in a directory below `home`; all end with the run."""
import os
import subprocess

import psycopg
from measuring import processes
from measuring.node import free_port, wait_for


class Postgres:
    """A server of its own (scripts/postgres), which stops itself should this process be killed."""

    def __init__(self, home, stack):
        self.port = free_port()
        self._directory = os.path.join(home, "postgres")
        os.chmod(home, 0o755)
        environment = {**os.environ, "POSTGRES_OWNER": str(os.getpid())}
        subprocess.run(["scripts/postgres", "start", self._directory, str(self.port)], check=True, env=environment)
        stack.callback(subprocess.run, ["scripts/postgres", "stop", self._directory], check=True)
        with open(os.path.join(self._directory, "data", "postmaster.pid")) as f:
            self.pid = int(f.readline())

    def create(self, database):
        """An empty database; answers its URL."""
        with self.connect("hero") as connection:
            connection.execute(f"CREATE DATABASE {database}")
        return self.url(database)

    def drop(self, database):
        with self.connect("hero") as connection:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def url(self, database):
        return f"postgresql://hero@127.0.0.1:{self.port}/{database}"

    def connect(self, database):
        return psycopg.connect(self.url(database), autocommit=True)


def redis(home, libraries, stack):
    """Debian's defaults: snapshots now and then, no fsync a write. Answers the URL, and the process."""
    port = free_port()
    directory = os.path.join(home, "redis")
    os.makedirs(directory)
    process = processes.start(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory],
        stdout=subprocess.DEVNULL, env={**os.environ, "LD_LIBRARY_PATH": libraries})
    stack.callback(processes.end, process)
    wait_for(port, process)
    return f"redis://127.0.0.1:{port}/0", process.pid


def beanstalkd(home, stack):
    """With a log of which every write is on disk before it is answered. Answers the port, and the process."""
    port = free_port()
    directory = os.path.join(home, "beanstalkd")
    os.makedirs(directory)
    # It says on its standard error that clients hung up.
    process = processes.start(
        ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", directory, "-f", "0"], stderr=subprocess.DEVNULL)
    stack.callback(processes.end, process)
    wait_for(port, process)
    return port, process.pid
