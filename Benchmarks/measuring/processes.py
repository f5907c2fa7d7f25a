"""Processes that end with this one, whatever ends it."""
import signal
import subprocess
import sys
import threading
import time


def start(words, **options):
    """A process that the kernel kills when this one is gone."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *words], stdin=subprocess.DEVNULL, **options)


def end(process):
    """Kills a process that may be gone already, and forgets it."""
    process.kill()
    process.wait()


def end_tidily():
    """A signal ends this process as an exception does: what must be cleaned up is."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


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
