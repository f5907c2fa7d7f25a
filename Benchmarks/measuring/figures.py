"""What is printed: figures with their spread over rounds, and how a build compares with an earlier one."""
import argparse
import collections
import os
import statistics
import typing

# "No figure is worse" means: the median of the rounds is at most this much above the earlier build's processor time.
TOLERANCE = 1.05


class Build(typing.NamedTuple):
    name: str
    binary: str


def add_options(parser):
    parser.add_argument("--quick", action="store_true", help="short rounds and few of them: shows that it works")
    parser.add_argument("--against", metavar="BINARY", help="an earlier build, measured in turn with this one")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a figure is worse than the earlier build's")
    parser.add_argument("--rounds", type=int, help="of each figure (5; 3 if --quick)")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)


def finish_options(parser, options):
    """Fills in what depends on other options: `rounds`, and `builds`, of which the earlier one comes last."""
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.builds = [Build("node", options.binary)]
    if options.against:
        if not os.access(options.against, os.X_OK):
            parser.error(f"--against: {options.against} is no program")
        options.builds.append(Build("earlier", os.path.realpath(options.against)))
    elif options.strict:
        parser.error("--strict needs --against")


class Figures:
    """Collects, by figure and by who was measured, one `Load` a round; at the end compares the builds."""

    def __init__(self, options):
        self._builds = [build.name for build in options.builds]
        self._is_strict, self._is_quick = options.strict, options.quick
        self._rounds = collections.defaultdict(lambda: collections.defaultdict(list))
        self._times = {}

    def add(self, figure, who, load):
        """A round of one figure: also its processor time is to be compared."""
        self._rounds[figure][who].append(load)
        if load.cpu is not None:
            self.add_time(figure, who, load.cpu)

    def add_time(self, figure, who, value):
        """A round of which only the processor time is known, in any unit."""
        self._times.setdefault(figure, {}).setdefault(who, []).append(value)

    def of(self, figure, who, value):
        """One value of all rounds: the name of a field of `Load`."""
        return [getattr(load, value) for load in self._rounds[figure][who]]

    def show(self, figure):
        """A line for each who was measured."""
        for who, loads in self._rounds[figure].items():
            cells = [f"{figure + ': ' + who:<62}"]
            for field, words, unit in (
                    ("cpu", "", "us"), ("apart", "apart ", "us"), ("rate", "", "/s"), ("p50", "p50 ", "ms"),
                    ("p99", "p99 ", "ms"), ("generator", "load generator ", "%")):
                values = [getattr(load, field) for load in loads]
                if None not in values:
                    cells.append(f"{words + spread(values, unit):<32}")
            print(" ".join(cells).rstrip(), flush=True)

    def compare(self):
        """Prints how the processor time of this build compares with the earlier one's, the verdict last. Exit status."""
        if len(self._builds) < 2:
            return 0
        new, earlier = self._builds
        print("\nprocessor time, this build / the earlier one: median of the rounds' ratios (lowest to highest)")
        worse = []
        for figure, times in self._times.items():
            if new not in times or earlier not in times:
                continue
            ratios = [a / b for a, b in zip(times[new], times[earlier], strict=True)]
            middle = statistics.median(ratios)
            print(f"  {figure:<60} {middle:.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
            if middle > TOLERANCE:
                worse.append(f"{figure} ({middle:.3f})")
        print(f"more than {TOLERANCE - 1:.0%} worse: {', '.join(worse) or 'none'}"
              + " (--quick is too short to tell)" * self._is_quick, flush=True)
        return 1 if worse and self._is_strict else 0


def spread(values, unit):
    return f"{number(statistics.median(values))} {unit} ({number(min(values))} to {number(max(values))})"


def number(value):
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def row(name, values, aim, unit=""):
    print(f"{name:<58} {number(statistics.median(values)):>10}{unit}   "
          f"({number(min(values))} to {number(max(values))})   aim {aim}", flush=True)
