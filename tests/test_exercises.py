import numpy as np
import pytest

from qlearn.exercises import check


@pytest.mark.parametrize(
    ("yours", "expected", "said"),
    [
        ([1, 2], [1, 2], "Yes: 2 of 2 equal.\n"),
        (np.float32(0.5), 0.5, "Yes: 1 of 1 equal.\n"),
        ([np.nan], [np.nan], "Yes: 1 of 1 equal.\n"),
        ([], [], "Yes: 0 of 0 equal.\n"),
        ([1, 3], [1, 2], "Not yet: 1 of 2 differ; the first at 1 is 3, expected 2.\n"),
        ([[1, 0], [4, 0]], [[1, 2], [3, 0]], "Not yet: 2 of 4 differ; the first at (0, 1) is 0, expected 2.\n"),
        (7, 8, "Not yet: 1 of 1 differ; the first is 7, expected 8.\n"),
        ([1], [1, 2], "Not yet: the shape is (1,), expected (2,).\n"),
    ],
)
def test_check_says_where_the_first_difference_is(yours, expected, said, capsys):
    check(yours, expected)
    assert capsys.readouterr().out == said


def test_a_function_that_forgot_to_return():
    with pytest.raises(TypeError, match="yours must be numbers"):
        check(None, [1])
