"""Runs the parts one after another, each with nodes and databases of its own, and leaves no process behind.

Nothing here passes or fails: it prints. Only what makes a figure meaningless ends it: a server that does not start, a call
that is answered with an error.
"""
import argparse
import contextlib
import functools
import os
import signal
import sys
import tempfile
import time

from . import beanstalk, growth, queues, servers, transactions

PARTS = {
    "transactions": transactions.measure,
    "queues": queues.measure,
    "beanstalkd": beanstalk.measure,
    "growth-sqlite": growth.measure_sqlite,
    "growth-postgres": growth.measure_postgres,
}


class Run:
    """What all parts share."""

    def __init__(self, options, home, stack):
        self.binary, self.ceilings, self.libraries = options.binary, options.ceilings, options.libraries
        self.home, self._stack = home, stack
        self.is_quick = options.quick
        self.seconds, self.rounds = (1, 3) if options.quick else (3, 5)
        self.size = options.jobs

    @functools.cached_property
    def postgres(self):
        return servers.Postgres(self.home, self._stack)


def main():
    parser = argparse.ArgumentParser(prog="Benchmarks/store")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="short rounds and few of them: shows that it works")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="in the big store (1000000)")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--ceilings", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--libraries", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    # So that what must be cleaned up is.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    print(f"{os.cpu_count()} processors; figures are: median (lowest to highest)", flush=True)
    with contextlib.ExitStack() as everything:
        home = everything.enter_context(tempfile.TemporaryDirectory(prefix="hero-store-bench-"))
        run = Run(options, home, everything)
        for name in options.parts or PARTS:
            print(f"\n{name} (load of this machine before it: {os.getloadavg()[0]:.1f})", flush=True)
            started = time.monotonic()
            with contextlib.ExitStack() as stack:
                PARTS[name](run, stack)
            print(f"  ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
