"""The picture of the rooms is what the imports draw, and the walk through them in CONTRIBUTING.md is true."""

import re

import numpy as np
import pytest

import book

pytest.importorskip("grimp")


def test_the_picture_is_drawn_from_the_imports() -> None:
    import house

    assert house.PICTURE.read_text(encoding="utf-8") == house.picture() + "\n", "python tools/house.py draws it anew"


def test_one_integer_on_its_way() -> None:
    """The network of CONTRIBUTING.md gives the integer that it says, which two roundings would not."""
    text = (book.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    *statements, last = code.strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(statements), names)
    call, _, said = last.partition("  # ")
    assert eval(call, names) == int(said) == 22
    t = np.float32(0.05) * np.float32(0.02)
    rounded_twice = np.float32(150) + np.float32(0.9) * (1 / t)
    assert np.rint(rounded_twice * (t / np.float32(0.1))) + 12 == 23


def test_every_file_named_in_the_house_is_there() -> None:
    text = (book.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + (book.ROOT / "README.md").read_text()
    named = set(re.findall(r"`((?:machine|codes|elementwise|layers|network)/\w+\.py)`", text))
    dotted = re.findall(r"`((?:machine|codes|elementwise|layers|network)\.\w+)`", text)
    named |= {f"{name.replace('.', '/')}.py" for name in dotted}
    assert len(named) > 15
    assert [name for name in named if not (book.ROOT / "src" / "qlearn" / name).exists()] == []
