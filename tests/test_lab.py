"""A chapter in JupyterLab, as on Binder: it opens as a notebook, its cells run, its widget asks the running PyTorch."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import book
from browser import move

pytestmark = [pytest.mark.browser, pytest.mark.torch]


@pytest.fixture
def lab(tmp_path):
    """JupyterLab over a copy of the chapters, with the settings that Binder gets; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chapters = tmp_path / "book"
    chapters.mkdir()
    for name in ("affine.md", "page.py"):
        (chapters / name).write_bytes((book.ROOT / "book" / name).read_bytes())
    environment = os.environ | {
        "JUPYTER_CONFIG_PATH": str(book.ROOT / "binder" / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
    }
    command = [
        Path(sys.executable).with_name("jupyter-lab"),
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--port-retries=0",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={tmp_path}",
    ]
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "lab.log").read_text()[-3000:]
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def test_a_chapter_runs_in_jupyterlab_and_its_widget_asks_torch(lab, browser):
    import torch

    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.goto(f"{lab}/lab/tree/book/affine.md")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)  # before that, Lab would ask for a kernel
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    widget = page.locator(".ql-widget")
    widget.wait_for(timeout=120_000)
    widget.scroll_into_view_if_needed()

    running = widget.get_by_role("row", name=f"PyTorch {torch.__version__}, running")
    running.wait_for(timeout=30_000)
    before = running.inner_text()
    move(widget.locator("input[type=range]").first, 0.2)
    page.wait_for_function(
        """([row, before]) => row.isConnected === false || row.innerText !== before""",
        arg=[running.element_handle(), before],
    )
    running.wait_for(timeout=30_000)
    ours = widget.get_by_role("row", name="this page").locator("td").all_inner_texts()
    assert running.locator("td").all_inner_texts() == ours

    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=120_000, state="attached")
    kernel = json.load(urllib.request.urlopen(f"{lab}/api/kernels"))[0]
    assert kernel["execution_state"] == "idle"
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.locator(".jp-RenderedMarkdown", has_text="{glue:text}").count() == 0, "a number is missing in the prose"
    page.screenshot(path=os.environ.get("QLEARN_LAB_SCREENSHOT", os.devnull), type="png")
    page.close()
