"""Where nodes run: each in a network namespace of its own, on one switch; or all on 127.0.0.1.

A namespace has no name: a process holds it, and it disappears with that process. The switch is in the namespace of this
process, which `Benchmarks/cluster` made for it. Addresses are of the range for such tests (RFC 2544).
"""
import contextlib
import os
import subprocess
import time

from measuring import processes

SILENCE = """table inet silence {
  chain in { type filter hook input priority 0; policy drop; }
  chain out { type filter hook output priority 0; policy drop; }
}
"""


class Host:
    """A place for a node: an address, and the words before a command that run it there."""

    def __init__(self, address, holder=None):
        self.address = address
        self._holder = holder
        self.words = ["nsenter", f"--net=/proc/{holder}/ns/net"] if holder else []

    @property
    def can_be_silent(self):
        return self._holder is not None

    def traffic(self):
        """Bytes sent and received by all that runs here, with the headers of Ethernet; `None` where that is not known."""
        if not self._holder:
            return None
        with open(f"/proc/{self._holder}/net/dev") as f:
            for line in f:
                name, _, numbers = line.partition(":")
                if name.strip() == "eth0":
                    fields = numbers.split()
                    return int(fields[8]), int(fields[0])
        raise SystemExit("a namespace without eth0")

    def silence(self):
        """From now on nothing leaves and nothing arrives; nobody is told."""
        subprocess.run([*self.words, "nft", "-f", "-"], input=SILENCE, text=True, check=True)

    def heal(self):
        subprocess.run([*self.words, "nft", "delete", "table", "inet", "silence"], check=True)


class Hosts:
    """Makes hosts."""

    def __init__(self, own_network, stack):
        self._own_network = own_network
        self._stack = stack
        self._count = 0
        if own_network:
            ip("link set lo up")
            ip("link add name switch type bridge")
            ip("addr add 198.18.0.254/24 dev switch")
            ip("link set switch up")

    def loopback(self, count):
        return [Host("127.0.0.1") for _ in range(count)]

    def make(self, count):
        """Hosts with a network between them, if that is possible."""
        return [self._join() for _ in range(count)] if self._own_network else self.loopback(count)

    def _join(self):
        self._count += 1
        holder = processes.start(["unshare", "--net", "sleep", "infinity"])
        self._stack.callback(processes.end, holder)
        deadline = time.monotonic() + 10
        while network(holder.pid) == network("self"):
            if time.monotonic() > deadline:
                raise SystemExit("unshare(1) made no namespace within 10 s")
            time.sleep(0.001)
        host = Host(f"198.18.0.{self._count}", holder.pid)
        ip(f"link add port{self._count} type veth peer name eth0 netns {holder.pid}")
        ip(f"link set port{self._count} master switch up")
        for words in (f"addr add {host.address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            ip(words, host.words)
        # Else the kernel looks for routers, which would count as traffic.
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(
                [*host.words, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"], check=True)
        return host


def network(pid):
    return os.readlink(f"/proc/{pid}/ns/net")


def ip(words, prefix=()):
    subprocess.run([*prefix, "ip", *words.split()], check=True)
