"""tools/frozen.py: cases and answers come back from arrays as they were."""

import numpy as np
import pytest

import drawing
import drawn_layers
import frozen
import operators
from recorders import layers
from recorders import operators as recorder


@pytest.mark.parametrize("name", operators.OPERATORS)
def test_cases_come_back(name: str) -> None:
    """The same bytes and text again, of the same kinds of things."""
    drawn = (layers if name in drawn_layers.NAMES else recorder).drawn(name)
    cases = list(drawn)
    data, text = frozen.freeze(cases)
    back = frozen.thaw((data, text))
    assert list(map(type, back)) == list(map(type, cases))
    again, words = frozen.freeze(back)
    assert words == text and np.array_equal(again, data)


def test_every_kind_of_argument() -> None:
    """Tuples stay tuples, lists lists; slices, ellipses, infinities and NumPy's scalars too."""
    things = [((1, [2.5, None]), slice(None, 3, 2), ...), {"a": (np.inf, True)}, "text", np.float32(0.1), np.int64(7)]
    back = frozen.thaw(frozen.freeze(things))
    assert back == [*things[:3], float(np.float32(0.1)), 7]
    assert type(back[3]) is float and type(back[4]) is int
    answer = drawing.Answer(np.arange(6, dtype=np.int32).reshape(2, 3), ((3, 1), 0.5, 3, "qint32"))
    (found,) = frozen.thaw(frozen.freeze([answer]))
    assert (
        found.about == answer.about and found.values.dtype == np.int32 and np.array_equal(found.values, answer.values)
    )
