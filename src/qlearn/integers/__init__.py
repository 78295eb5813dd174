"""Integers only: what the float32 steps come to, proved (Chapter 9, Integers only).

``step_of(f, low, high)`` turns a step function of one integer into the cheapest exact form: a ``Line``, a ``LineLate``
or ``Thresholds``, each with ``codes(acc)``. ``steps_of`` does it for all channels of a layer at once, as arrays
(``Steps``: low, high, M, B, S, late; ``steps[c]`` is a form). ``prove(steps, f)`` recomputes the proof and raises
``Unproven``.
"""

from qlearn.integers.certificate import Unproven, prove
from qlearn.integers.forms import Form, Line, LineLate, Steps, Thresholds
from qlearn.integers.line import spread
from qlearn.integers.steps import step_of, steps_of

__all__ = [
    "Form",
    "Line",
    "LineLate",
    "Steps",
    "Thresholds",
    "Unproven",
    "prove",
    "spread",
    "step_of",
    "steps_of",
]
