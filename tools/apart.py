"""Call a function in a process of its own, forked from this one, since some inputs end PyTorch's."""

import signal
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any


def apart(function: Callable[..., Any], *args: Any) -> tuple[Any, str]:
    """What it returns, and nothing; or nothing, and the name of the signal that ended its process.

    Raises:
        RuntimeError: it raised an error, which it has printed.
    """
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(function(*args)))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        found = None
    process.join()
    if process.exitcode is None or process.exitcode > 0:
        raise RuntimeError(f"{function.__name__} failed in its process")
    return found, signal.Signals(-process.exitcode).name if process.exitcode else ""
