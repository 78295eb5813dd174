"""Where the CPU is no x86-64: nothing is asked of PyTorch, the pages show what was recorded, and all say so."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

from book import ROOT, chapters
from qlearn import Machine

PATCH = 'import platform\nplatform.machine = lambda: "arm64"\n'
SEARCHED = [str(ROOT / "book" / "extensions"), str(ROOT / "tools"), str(ROOT / "src")]


@pytest.fixture
def arm64(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process on another CPU."""
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    for path in SEARCHED:
        monkeypatch.syspath_prepend(path)


def test_no_machine_of_that_torch(arm64: None) -> None:
    pytest.importorskip("torch")
    with pytest.raises(NotImplementedError, match="this CPU is arm64; name a machine instead"):
        Machine.from_torch()


def test_tests_that_ask_pytorch_are_skipped(tmp_path: Path) -> None:
    """In a process on another CPU, which has no torch either: a test that imported it would fail."""
    (tmp_path / "sitecustomize.py").write_text(PATCH + 'import sys\nsys.modules["torch"] = None\n')
    path = os.pathsep.join([str(tmp_path), *SEARCHED])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/layers/test_linear.py",
        "-m",
        "torch",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PyTorch's arithmetic here is not x86-64's, but that of arm64" in done.stdout
    assert "passed" not in done.stdout and "failed" not in done.stdout


def test_every_chapter_is_recorded_as_it_is(arm64: None, tmp_path: Path) -> None:
    """So that none of them runs: where this fails, build the book and run tools/pages.py."""
    pytest.importorskip("myst_nb")
    from jupyter_cache import get_cache
    from pages import chapters as notebooks
    from recorded_pages import fill

    fill(str(tmp_path))
    cache, found = get_cache(str(tmp_path)), {}
    for name, notebook in notebooks().items():
        try:
            found[name] = cache.merge_match_into_notebook(notebook)[1]
        except KeyError:
            found[name] = None
    assert set(found) == set(chapters())
    assert [name for name, page in found.items() if page is None] == []
    for page in found.values():
        cells = [cell for cell in page.cells if cell.cell_type == "code"]
        assert any(cell.outputs for cell in cells)
        assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)


def test_the_page_says_so(arm64: None) -> None:
    pytest.importorskip("myst_nb")
    from recorded_pages import PAGES, say_so

    context = {"body": "<h1>Convolution</h1><p>..."}
    say_so(SimpleNamespace(), "book/conv", "", context, None)  # type: ignore[arg-type]
    assert context["body"].startswith('<h1>Convolution</h1>\n<div class="admonition note">')
    assert "were recorded" in context["body"]
    plain = {"body": "<h1>Glossary</h1>"}
    say_so(SimpleNamespace(), "book/glossary", "", plain, None)  # type: ignore[arg-type]
    assert plain["body"] == "<h1>Glossary</h1>"
    with ZipFile(PAGES) as pages:
        assert pages.testzip() is None


def test_on_x86_nothing_is_put_in_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("myst_nb")
    monkeypatch.syspath_prepend(SEARCHED[0])
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    from recorded_pages import say_so, stand_in

    stand_in(SimpleNamespace(), SimpleNamespace(nb_execution_cache_path=str(tmp_path / "cache")))  # type: ignore[arg-type]
    assert not (tmp_path / "cache").exists()
    context = {"body": "<h1>Convolution</h1>"}
    say_so(SimpleNamespace(), "book/conv", "", context, None)  # type: ignore[arg-type]
    assert context["body"] == "<h1>Convolution</h1>"
