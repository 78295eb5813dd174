"""Timing side by side: each contestant in turn, in one run."""

import gc
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping

Work = Callable[[], object]
Clock = Callable[[], float]
PAUSE = 0.05  # seconds, until the threads of the one before have stopped to spin


def race(
    contestants: Mapping[str, Work], rounds: int = 5, calls: int = 5, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call of each contestant. They take turns; their first call in each turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    gc.collect()
    for _ in range(rounds):
        for name, work in contestants.items():
            time.sleep(PAUSE)
            work()
            found[name] += [seconds(work, clock) for _ in range(calls)]
    return found


def seconds(work: Work, clock: Clock) -> float:
    """How long one call takes."""
    start = clock()
    work()
    return clock() - start


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each contestant."""
    return {name: statistics.median(each) for name, each in times.items()}


def fastest(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The quickest call of each contestant: what a busy machine disturbs least."""
    return {name: min(each) for name, each in times.items()}


def peak_bytes(work: Work) -> int:
    """The most memory that one call holds at once beyond what was there before, NumPy's arrays included."""
    work()  # what is kept from call to call
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def import_seconds(statement: str) -> float:
    """The median time of an import in a new interpreter, as the interpreter itself measures it."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return statistics.median(float(run.stdout) for run in runs)
