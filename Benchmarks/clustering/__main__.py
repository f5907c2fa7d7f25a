"""Runs the parts one after another, each with clusters of its own, and leaves no process behind.

Nothing here passes or fails: it prints. Only what makes a figure meaningless ends it: a node that is not ready, a wrong
answer, a live node called failed.
"""
import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time

from . import detection, forwarding, idle, many_runners
from .hosts import Hosts

PARTS = {
    "forwarding": forwarding.measure,
    "idle": idle.measure,
    "runners": many_runners.measure,
    "detection": detection.measure,
    "silence": detection.measure_silence,
}


def main():
    parser = argparse.ArgumentParser(prog="Benchmarks/cluster")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="short rounds and few of them: shows that it works")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of whom to kill, and when")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--ceilings", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--own-network", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    # So that what must be cleaned up is.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    print(f"seed {options.seed}; figures are: median (lowest to highest)", flush=True)
    with contextlib.ExitStack() as everything:
        home = everything.enter_context(tempfile.TemporaryDirectory(prefix="hero-cluster-bench-"))
        hosts = Hosts(options.own_network, everything)
        for name in options.parts or PARTS:
            print(f"\n{name}", flush=True)
            started = time.monotonic()
            with contextlib.ExitStack() as stack:
                PARTS[name](options, hosts, stack, os.path.join(home, name))
            print(f"  ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
