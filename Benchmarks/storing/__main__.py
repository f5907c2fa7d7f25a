"""Runs the parts one after another, each with nodes and databases of its own, and leaves no process behind.

Nothing here passes or fails, unless --strict: it prints. With --against the parts transactions, queues and beanstalkd
measure the earlier build as well. Only what makes a figure meaningless ends it: a server that does not start, a call
that is answered with an error.
"""
import argparse
import contextlib
import functools
import os
import sys
import tempfile
import time

from measuring import processes
from measuring.figures import Figures, add_options, finish_options

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
        self.binary, self.builds, self.libraries = options.binary, options.builds, options.libraries
        self.figures = Figures(options)
        self.home, self._stack = home, stack
        self.is_quick = options.quick
        self.seconds, self.rounds = 1 if options.quick else 3, options.rounds
        self.size = options.jobs

    @functools.cached_property
    def postgres(self):
        return servers.Postgres(self.home, self._stack)


def main():
    parser = argparse.ArgumentParser(prog="Benchmarks/store")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    add_options(parser)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="in the big store (1000000)")
    parser.add_argument("--libraries", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    finish_options(parser, options)
    processes.end_tidily()
    print(f"{os.cpu_count()} processors; figures are: median (lowest to highest); us: of processor time a "
          "job; apart: of the server that stores it", flush=True)
    with contextlib.ExitStack() as everything:
        home = everything.enter_context(tempfile.TemporaryDirectory(prefix="hero-store-bench-"))
        run = Run(options, home, everything)
        for name in options.parts or PARTS:
            print(f"\n{name} (load of this machine before it: {os.getloadavg()[0]:.1f})", flush=True)
            started = time.monotonic()
            with contextlib.ExitStack() as stack:
                PARTS[name](run, stack)
            print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    sys.exit(run.figures.compare())


if __name__ == "__main__":
    main()
