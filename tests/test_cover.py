"""The committed pictures are what the recordings draw."""

import importlib.util

import pytest

import book


def test_cover_and_favicon_are_drawn_from_the_recordings():
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("cover", book.ROOT / "tools" / "cover.py")
    cover = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cover)
    for name, drawing in cover.drawings().items():
        assert (book.ROOT / "book" / "assets" / name).read_text(encoding="utf-8") == drawing + "\n"
