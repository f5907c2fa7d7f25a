"""Runs the parts one after another, each with clusters of its own, and leaves no process behind.

Nothing here passes or fails, unless --strict: it prints. With --against the parts forwarding and idle measure the earlier
build as well. Only what makes a figure meaningless ends it: a node that is not ready, a wrong
answer, a live node called failed.
"""
import argparse
import contextlib
import os
import random
import sys
import tempfile
import time

from measuring import processes
from measuring.figures import Figures, add_options, finish_options

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
    add_options(parser)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of whom to kill, and when")
    parser.add_argument("--own-network", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    finish_options(parser, options)
    processes.end_tidily()
    figures = Figures(options)
    print(f"seed {options.seed}; figures are: median (lowest to highest)", flush=True)
    with contextlib.ExitStack() as everything:
        home = everything.enter_context(tempfile.TemporaryDirectory(prefix="hero-cluster-bench-"))
        hosts = Hosts(options.own_network, everything)
        for name in options.parts or PARTS:
            print(f"\n{name}", flush=True)
            started = time.monotonic()
            with contextlib.ExitStack() as stack:
                PARTS[name](options, hosts, stack, os.path.join(home, name), figures)
            print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    sys.exit(figures.compare())


if __name__ == "__main__":
    main()
