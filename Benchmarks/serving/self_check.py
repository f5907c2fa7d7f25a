"""Shows that the measurement notices what it must: a known amount of processor time that is added to each call, and the
children of a process, however they ended; and that calls which fail give no figure."""
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time

from measuring import processes
from measuring.load import PROGRAMS, Target, load_in_turn
from measuring.node import call, free_port, wait_for
from measuring.processor_time import Stopwatch

# Asking the clock how much is burned takes time as well; the difference of two does not have it.
BURN_US = (10, 15)
# What the family below uses, each of its five processes.
SHARE_S = 0.25


def run():
    with contextlib.ExitStack() as stack:
        checks = [added_time(stack), children(stack), failed_calls(stack)]
    sys.exit(0 if all(checks) else 1)


def check(words, is_right):
    print(f"{'right' if is_right else 'WRONG'}: {words}", flush=True)
    return is_right


def added_time(stack):
    """The ceiling with a loop that uses some microseconds for each call, and with one that uses a few more."""
    targets, times = {}, {burn: [] for burn in BURN_US}
    for burn in BURN_US:
        targets[burn] = start_ceiling(stack, str(burn * 1000))
    for n in range(5):
        for burn, found in load_in_turn(targets, "runner-44", 30_000, 32, "").items():
            times[burn].append(found.cpu)
    less, more = times[BURN_US[0]], times[BURN_US[1]]
    expected, added = BURN_US[1] - BURN_US[0], statistics.median(b - a for a, b in zip(less, more))
    return check(
        f"the ceiling with {expected} us more a call takes {added:.2f} us more ({statistics.median(less):.2f}, "
        f"{statistics.median(more):.2f})", abs(added - expected) < 0.2 * expected)


def children(stack):
    """A process with a child that lives, one that is a zombie, one that was killed, and one that was reaped after its own
    child: none is lost."""
    process = processes.start([sys.executable, "-m", "serving.self_check"], stdout=subprocess.PIPE)
    stack.callback(processes.end, process)
    process.stdout.readline()
    stopwatch = Stopwatch(process.pid)
    stopwatch.start()
    process.send_signal(signal.SIGUSR1)
    process.stdout.readline()
    stopwatch.stop()
    used = stopwatch.per_call(1, True) / 1e6
    return check(
        f"five processes, living, dead and reaped, that use {5 * SHARE_S} s together: measured {used:.3f} s",
        # To start and to end takes some milliseconds each; a process that is lost would be a whole share.
        abs(used - 5 * SHARE_S) < SHARE_S / 2)


def failed_calls(stack):
    try:
        load_in_turn({"ceiling": start_ceiling(stack)}, "another answer", 10, 1, "")
    except SystemExit as error:
        return check(f"a wrong answer gives no figure: {str(error).splitlines()[0]}", True)
    return check("a wrong answer gives a figure", False)


def start_ceiling(stack, *words):
    port = free_port()
    server = processes.start([os.path.join(PROGRAMS, "http_limit"), str(port), *words])
    stack.callback(processes.end, server)
    wait_for(port, server)
    return Target(port, call("list_runners", []), [server.pid])


def use_time():
    end = time.process_time() + SHARE_S
    while time.process_time() < end:
        pass


def child(then):
    pid = os.fork()
    if pid == 0:
        use_time()
        then()
        os._exit(0)
    return pid


def live_as_long_as(parent):
    while os.getppid() == parent:
        time.sleep(0.1)


def wait_for_state(pid, states):
    while True:
        with open(f"/proc/{pid}/stat") as f:
            if f.read().rpartition(")")[2].split()[0] in states:
                return
        time.sleep(0.01)


def family():
    """The process that `children` measures. It says when it is ready, and when all have used their time."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    print("ready", flush=True)
    signal.sigwait([signal.SIGUSR1])
    own = os.getpid()
    living = child(lambda: live_as_long_as(own))
    zombie = child(lambda: None)
    killed = child(signal.pause)
    parent = child(lambda: os.waitpid(child(lambda: None), 0))
    wait_for_state(killed, "S")
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    os.waitpid(parent, 0)
    wait_for_state(living, "S")
    wait_for_state(zombie, "Z")
    print("done", flush=True)
    signal.pause()


if __name__ == "__main__":
    family()
