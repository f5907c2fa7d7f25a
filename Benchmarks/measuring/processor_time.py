"""Processor time, user and system, of process trees.

Two clocks make up the figure:

- A process that exists, also a zombie, is read by its processor clock (clock_getcpuclockid(3)): nanoseconds, with all
  its threads, also those that ended. /proc/PID/stat would give the same total in ticks of 10 ms, and the schedstat of
  its tasks misses threads that ended.
- Descendants that were reaped are in cutime and cstime of the process that reaped them (/proc/PID/stat). The kernel adds
  them up exactly, but shows ticks: the difference of two readings is right to two ticks, 20 ms.

So no descendant is lost, whether it lives, waits to be reaped, was killed, or was reaped, as long as its parent reaps it
and whoever inherits orphans belongs to the tree (a node does: PR_SET_CHILD_SUBREAPER). The load generator is no part of
any tree.
"""
import os
import time
import typing

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """What process trees use from `start` until `stop`, which may follow each other several times."""

    def __init__(self, *pids):
        self._pids = pids
        self._used = 0.0
        self._uncertain = set()
        self._before = {}

    def start(self):
        self._before = {pid: total(pid) for pid in self._pids}

    def stop(self):
        """Waits until what was begun is done, and takes the time."""
        self._settle()
        for pid in self._pids:
            after = total(pid)
            self._used += after.seconds - self._before[pid].seconds
            # Who reaps nothing is known to the nanosecond. That it was stopped and started again adds nothing, as
            # nothing is reaped in between: what one difference misses is in the next.
            if after.reaped != self._before[pid].reaped:
                self._uncertain.add(pid)

    def per_call(self, calls, is_coarse=False):
        """Microseconds. A figure that the ticks make uncertain by more than 1 % is none, unless it may be coarse."""
        uncertainty = 2 * TICK * len(self._uncertain)
        if uncertainty > 0.01 * self._used and not is_coarse:
            raise SystemExit(
                f"no figure: {calls} calls used {self._used:.2f} s, uncertain by {uncertainty * 1000:.0f} ms: more calls "
                "are needed")
        return self._used * 1e6 / calls

    def _settle(self):
        """Work that calls leave behind belongs to them: waits until all trees use less than 5 % of a core, and have no
        process that they did not have before; for 5 seconds at most, as a server may have its own things to do."""
        deadline = time.monotonic() + 5
        moment, used = 0.0, 0.0
        while self._pids and moment < deadline:
            now, seen = time.monotonic(), {pid: total(pid) for pid in self._pids}
            seconds = sum(each.seconds for each in seen.values())
            is_quiet = seconds - used < 0.05 * (now - moment)
            if moment and is_quiet and all(seen[pid].members <= self._before[pid].members for pid in self._pids):
                return
            moment, used = now, seconds
            time.sleep(0.05)


class Total(typing.NamedTuple):
    """Seconds; how many of them are of processes that were reaped; and the identifiers of those that exist."""
    seconds: float
    reaped: float
    members: frozenset


def total(root):
    """What a process and all its descendants have used until now."""
    for _ in range(1000):
        try:
            before = family(root)
            clocks = sum(clock(pid) for pid in before)
            if family(root) == before:
                reaped = sum(before.values())
                return Total(clocks + reaped, reaped, frozenset(before))
        except OSError:
            # A thread ended, or a process ended and was reaped meanwhile. If it was the root, there is nothing to measure.
            if not os.path.exists(f"/proc/{root}"):
                raise SystemExit(f"process {root} ended while its processor time was measured") from None
    raise SystemExit(f"the processes below {root} come and go too fast to be measured")


def clock(pid):
    """What one process has used, in seconds (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def family(pid):
    """A process and its descendants that exist; for each what its reaped children had used, in seconds."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    # cutime and cstime are the fields 16 and 17 of proc(5); the first two are cut off here.
    found = {pid: (int(fields[13]) + int(fields[14])) * TICK}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as f:
            for child in f.read().split():
                found.update(family(int(child)))
    return found
