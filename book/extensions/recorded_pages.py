"""Where the CPU is no x86-64, the pages show what they said on one that is, and say so.

The chapters ask the running PyTorch, whose quantized arithmetic is another one on a Mac or a phone. recorded.zip holds
the executed cells of each page; ``tools/pages.py`` makes it. They are put where the build looks for pages that it need
not run again. A page whose code has changed since is run.

Where the CPU has AMX, oneDNN is kept from it: which of its kernels take it, the pages do not say.
"""

import json
import os
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from sphinx.application import Sphinx
from sphinx.config import Config

from qlearn.machine import _cpu

PAGES = Path(__file__).parents[1] / "recorded.zip"
ABOUT = "about.json"
NOTE = (
    '<div class="admonition note"><p class="admonition-title">Recorded</p><p>This page was built on a computer that is '
    "no x86-64, where PyTorch’s quantized arithmetic is another one. All of its outputs were recorded with PyTorch "
    "{torch} on {cpu}. A notebook on this computer shows its own numbers, or an error, where it asks PyTorch; Binder "
    "runs on x86-64.</p></div>"
)


def fill(cache_path: str) -> None:
    """Put the recorded pages into an execution cache."""
    cache = get_cache(cache_path)
    with ZipFile(PAGES) as pages:
        for name in sorted(set(pages.namelist()) - {ABOUT}):
            page = nbformat.reads(pages.read(name), as_version=4)
            try:
                cache.match_cache_notebook(page)  # there since an earlier build
            except KeyError:
                cache.cache_notebook_bundle(CacheBundleIn(page, name), check_validity=False, overwrite=True)


def stand_in(app: Sphinx, config: Config) -> None:
    os.environ |= _cpu.without_amx()  # for the kernels that this build starts
    if not _cpu.is_x86():
        fill(config.nb_execution_cache_path)


def say_so(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The note, below the page's title."""
    if _cpu.is_x86() or "body" not in context:
        return
    with ZipFile(PAGES) as pages:
        if f"{page.removeprefix('book/')}.ipynb" in pages.namelist():
            note = NOTE.format(**json.loads(pages.read(ABOUT)))
            context["body"] = context["body"].replace("</h1>", f"</h1>\n{note}", 1)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", stand_in, priority=900)  # after execution_key has said where the cache is
    app.connect("html-page-context", say_so)
    return {"parallel_read_safe": True}
