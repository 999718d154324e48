"""What the rows of the benchmark share: pairs of measurements, speeds, and a process of one's own."""

import concurrent.futures
import multiprocessing
import pathlib
import re
import time


def paired(ours, against, repeats):
    """Measures two things in turn, so that whatever else the machine does meets both.

    Args:
      ours, against: functions without arguments that measure once and return a number. Each is called once before, unmeasured.
      repeats: pairs, ≥ 1; who goes first alternates.

    Returns:
      dict: ours, against and ratios (ours / against), lists of a number for each pair.
    """
    sides = {"ours": ours, "against": against}
    found = {name: [] for name in sides}
    for measure in sides.values():
        measure()
    for repeat in range(repeats):
        for name in sorted(sides, reverse=repeat % 2 == 0):
            found[name].append(sides[name]())
    return {**found, "ratios": [mine / other for mine, other in zip(found["ours"], found["against"])]}


def speed(step, amount, seconds):
    """Calls `step()` for that long, at least once; `amount` times the calls per second."""
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < seconds:
        step()
        calls += 1
    return amount * calls / (time.perf_counter() - start)


def apart(function, *arguments):
    """What a function of a module returns, or raises, in a fresh process: its memory and threads touch nobody else's."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def peak_memory():
    """Most memory that this process has held at once, in bytes."""
    # Not by getrusage, which counts also what the process that started this one held then.
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
