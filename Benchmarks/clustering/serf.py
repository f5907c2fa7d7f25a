"""Agents of Debian's serf, profile lan, encrypted; what they know of each other is read from what they say."""
import subprocess
import time

from measuring import processes
from measuring.node import free_port


class Agent:
    def __init__(self, agents, name, host):
        self.name, self.host = name, host
        self.port, self._rpc = free_port(), free_port()
        self._agents = agents
        self._process = None
        self.lines = None

    @property
    def pid(self):
        return self._process.pid

    @property
    def is_alive(self):
        return self._process is not None

    def start(self):
        self._process = processes.start([
            *self.host.words, "serf", "agent", f"-node={self.name}", f"-bind={self.host.address}:{self.port}",
            f"-rpc-addr={self.host.address}:{self._rpc}", "-profile=lan", f"-encrypt={self._agents.key}",
            *(f"-retry-join={peer.host.address}:{peer.port}" for peer in self._agents.agents[:2]), "-retry-interval=1s",
        ], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = processes.Lines(self._process.stdout)

    def kill(self):
        if self._process:
            processes.end(self._process)
        self._process = None


class Agents:
    """Agents that know each other."""

    def __init__(self, hosts, stack):
        self.key = subprocess.run(["serf", "keygen"], capture_output=True, text=True, check=True).stdout.strip()
        self.agents = [Agent(self, f"s{n + 1}", host) for n, host in enumerate(hosts)]
        for agent in self.agents:
            stack.callback(agent.kill)
            agent.start()
        for agent in self.agents:
            self._is_met(agent, 0)

    def _is_met(self, agent, after):
        for peer in self.agents:
            if peer is not agent:
                agent.lines.when(f"EventMemberJoin: {peer.name} ", after, time.monotonic() + 60)

    def seconds_to_detect(self, victim):
        """From the kill of an agent until each survivor says that it failed. Then the agent is started again."""
        survivors = [agent for agent in self.agents if agent is not victim]
        before = {agent: agent.lines.count() for agent in survivors}
        killed = time.monotonic()
        victim.kill()
        found = max(
            agent.lines.when(f"EventMemberFailed: {victim.name} ", before[agent], killed + 120) for agent in survivors)
        before = {agent: agent.lines.count() for agent in survivors}
        victim.start()
        for agent in survivors:
            agent.lines.when(f"EventMemberJoin: {victim.name} ", before[agent], time.monotonic() + 60)
        self._is_met(victim, 0)
        return found - killed
