"""Fixtures: a fresh seed for each test, a capability of PyTorch; and the count of compared values in the summary.

``pytest -n 2 --dist loadgroup`` shares the tests among two processes: those of a file stay together, or of a page.
"""

import importlib.util
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import book
import oracle
from qlearn.machine import _cpu

if TYPE_CHECKING:
    from playwright.sync_api import Browser


os.environ |= _cpu.without_amx()  # for PyTorch in this process, and in all that it starts
SHOWN = [name for name in ("anywidget", "playwright") if importlib.util.find_spec(name) is None]  # what is lacking
collect_ignore_glob = ["test_lab.py", "test_pages.py", "recordings/*", "widgets/*"] if SHOWN else []


def pytest_report_header() -> str | None:
    """Say which tests are left out."""
    return f"without {' and '.join(SHOWN)}: {', '.join(collect_ignore_glob)} are left out" if SHOWN else None


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of a new seed each run; QLEARN_SEED=<seed> repeats it."""
    seed = int(os.environ.get("QLEARN_SEED") or secrets.randbits(32))
    request.node.user_properties.append(("seed", seed))
    print(f"to repeat: QLEARN_SEED={seed} pytest '{request.node.nodeid.partition('@')[0]}'")
    return np.random.default_rng(seed)


@pytest.fixture(params=oracle.CAPABILITIES)
def capability(request: pytest.FixtureRequest) -> str:
    """A capability that PyTorch is asked with, in a process of its own; skipped where the CPU lacks it."""
    return _available(request, oracle.unavailable)


@pytest.fixture(params=oracle.CAPABILITIES)
def dispatch(request: pytest.FixtureRequest) -> str:
    """A capability for element-wise operators: AVX512 also on a CPU without AVX-512 (oracle.dispatch_unavailable)."""
    return _available(request, oracle.dispatch_unavailable)


@pytest.fixture(params=oracle.ASKED, ids=str)
def asked(request: pytest.FixtureRequest) -> oracle.Asked:
    """An engine on this CPU, and as a CPU without AVX-512 where this one has it; skipped where it cannot be asked."""
    import live_layers

    found: oracle.Asked = request.param
    if found.cpu and oracle.HIGHEST != "AVX512":
        pytest.skip("this CPU has no AVX-512, and is asked as it is")
    live_layers.need(*found)
    return found


def _available(request: pytest.FixtureRequest, unavailable: Callable[[str], str | None]) -> str:
    """The fixture's capability; the test is skipped, with the reason, where there is one."""
    if reason := unavailable(request.param):
        pytest.skip(reason)
    return str(request.param)


def shared(config: pytest.Config) -> bool:
    """Whether this is one of the processes that share the tests, or the one that hands them out."""
    return bool(config.getoption("numprocesses", None)) or hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests that ask PyTorch where its arithmetic is another one; where tests are shared, say in which group.

    The book is built first; its pages are opened last, by whichever process has time.
    """
    if reason := oracle.elsewhere():
        for item in items:
            if item.get_closest_marker("torch"):
                item.add_marker(pytest.mark.skip(reason=reason))
    if not shared(config):
        return
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: {"test_book": 0, "test_pages": 2}.get(item.path.stem, 1))


def group(item: pytest.Item) -> str:
    """Whose tests run in one process: a file's, but of the pages each page's."""
    name = item.callspec.params["name"] if item.path.stem == "test_pages" and hasattr(item, "callspec") else ""
    return f"{item.path.stem} {name}".strip()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start PyTorch's processes while the first tests run; where tests are shared, those that are asked start alone."""
    if shared(session.config):
        if not all("@" in item.nodeid for item in session.items):
            raise pytest.UsageError("pytest-xdist has not kept the groups of tests, which this pytest may not know")
        return
    if session.config.option.collectonly:
        return
    if any(item.get_closest_marker("torch") for item in session.items):
        oracle.start()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes: hand over what it has counted."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counted"] = [dict(oracle.COMPARED), dict(oracle.DIFFERING)]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add up what the processes have counted."""
    counted = getattr(node, "workeroutput", {}).get("counted", [{}, {}])  # none of a process that crashed
    for counter, counts in zip((oracle.COMPARED, oracle.DIFFERING), counted, strict=True):
        counter.update(counts)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many values were compared with PyTorch. A difference fails its test."""
    if oracle.COMPARED:
        terminalreporter.section("values compared with PyTorch")
        for operator, count in sorted(oracle.COMPARED.items()):
            terminalreporter.line(f"{operator}: compared {count:,} values, {oracle.DIFFERING[operator]:,} differ")


@pytest.fixture(scope="session")
def built_book() -> str:
    """Build the book as the README says (quick if nothing changed); the build's log, which must not hold a warning."""
    from filelock import FileLock

    command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "--keep-going"]
    folder = book.ROOT / "_build"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        done = subprocess.run(command, cwd=book.ROOT, capture_output=True, text=True, check=False)
    log = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
    complaints = re.findall(r"^.*(?:WARNING:|ERROR:|Error\b).*$", log, flags=re.MULTILINE)
    assert done.returncode == 0, "\n".join(complaints or log.splitlines()[-20:])
    return log


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """A headless Chromium."""
    from browser import chromium

    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def site(built_book: str) -> Iterator[str]:
    """The built book over http; its address, without a slash at the end."""
    handler = partial(SilentHandler, directory=book.HTML)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class SilentHandler(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
