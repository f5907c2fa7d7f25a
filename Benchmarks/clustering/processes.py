"""Processes that end with this one, whatever ends it, and what they cost."""
import os
import re
import subprocess
import threading
import time


def start(words, **options):
    """A process that the kernel kills when this one is gone."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *words], stdin=subprocess.DEVNULL, **options)


def end(process):
    """Kills a process that may be gone already, and forgets it."""
    process.kill()
    process.wait()


def cpu_seconds(pid):
    """What a process has used, with all its threads, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def family(pid):
    """A process and its children."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as f:
            for child in f.read().split():
                found += family(int(child))
    return found


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024


class Lines:
    """What a process says, each line with the moment when it was read."""

    def __init__(self, stream):
        self._lines = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            with self._changed:
                self._lines.append((time.monotonic(), line))
                self._changed.notify_all()

    def count(self):
        with self._changed:
            return len(self._lines)

    def when(self, words, after, deadline):
        """The moment of the first line with these words, from the line of number `after` on."""
        with self._changed:
            while True:
                for moment, line in self._lines[after:]:
                    if words in line:
                        return moment
                if not self._changed.wait(deadline - time.monotonic()):
                    raise SystemExit(f"nobody said {words!r} in time")
