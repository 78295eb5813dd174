"""Integers only: what the float32 steps come to, proved (Chapter 9, Integers only).

``step_of(f, low, high)`` turns a step function of one integer into the cheapest exact form: a ``Line``, a ``LineLate``
or ``Thresholds``, each with ``codes(acc)``. ``steps_of`` does it for all channels of a layer at once, as arrays
(``Steps``: low, high, M, B, S, late; ``steps[c]`` is a form). ``prove(steps, f)`` recomputes the proof and raises
``Unproven``.

``linear`` and ``convolution`` give a layer's ``Requantization``: what its channels sum (``accumulators``), the float32
``formula``, the integer ``steps``; ``codes(acc)`` runs the integers, ``check()`` proves them again. ``Codes`` are what
comes in: a scale, a zero point, the least and the largest code. ``convolution_add`` is conv2d_add's, with
``codes(acc, added)``.

``addition`` gives a ``Sum``: ``body`` and ``tail``, each an ``Affine``, ``OfSum``, ``TwoTables`` or ``Table`` with
``codes(a, b)``, proved on all pairs; ``check()``. ``multiplication`` and ``prelu`` give a ``Product``, ``lookup`` the
tables of any function of one code (activations, numbers added, cat, other scales), ``avg_pool2d``,
``adaptive_avg_pool2d`` and ``mean`` an ``Average``, whose ``form`` takes the sum of a window. Where a kernel has a
vector body and a scalar tail, so have these: ``on(path)``, the paths being those of ``Machine.path_map``.

``Program.of(net, shape)`` is a whole network: ``run(codes)`` in NumPy's integers, ``check()``, ``report()``, ``save``
and ``load``; ``to_c(folder)`` writes it in C, ``compile()`` makes that a function.
"""

from qlearn.integers.accumulators import Accumulators, Codes
from qlearn.integers.addition import Sum, addition
from qlearn.integers.certificate import Unproven, prove
from qlearn.integers.convolution_add import ConvolutionAdd, convolution_add
from qlearn.integers.forms import Form, Line, LineLate, Steps, Thresholds
from qlearn.integers.line import spread
from qlearn.integers.pairs import Affine, OfSum, Pair, Table, TwoTables
from qlearn.integers.pools import Average, adaptive_avg_pool2d, avg_pool2d, mean
from qlearn.integers.products import Product, multiplication, prelu
from qlearn.integers.program import Program
from qlearn.integers.requantization import Formula, Requantization, convolution, linear
from qlearn.integers.steps import step_of, steps_of
from qlearn.integers.tables import Lookup, lookup

__all__ = [
    "Accumulators",
    "Affine",
    "Average",
    "Codes",
    "ConvolutionAdd",
    "Form",
    "Formula",
    "Line",
    "LineLate",
    "Lookup",
    "OfSum",
    "Pair",
    "Product",
    "Program",
    "Requantization",
    "Steps",
    "Sum",
    "Table",
    "Thresholds",
    "TwoTables",
    "Unproven",
    "adaptive_avg_pool2d",
    "addition",
    "avg_pool2d",
    "convolution",
    "convolution_add",
    "linear",
    "lookup",
    "mean",
    "multiplication",
    "prelu",
    "prove",
    "spread",
    "step_of",
    "steps_of",
]
