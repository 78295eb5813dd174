"""The operators that ``exact.py`` and the tests compare with PyTorch, one line each."""

from functools import partial

import drawn_layers
from drawing import (
    Answer,
    Operator,
    answer,
    cat_qlearn,
    cat_torch,
    dequantize_qlearn,
    dequantize_torch,
    draw_cat,
    draw_codes,
    draw_observed,
    draw_one,
    draw_pair,
    draw_reals,
    observed_qlearn,
    observed_torch,
    pair_qlearn,
    pair_torch,
    quantize_qlearn,
    quantize_torch,
    relu_qlearn,
    relu_torch,
)
from drawn_activations import ACTIVATIONS
from drawn_pooling import POOLING
from qlearn import Machine
from qlearn.machine import ENGINES

__all__ = ["OPERATORS"]


def _layer(name: str) -> Operator:
    engines = ("onednn",) if "add" in name else ENGINES
    draw = partial(drawn_layers.draw, name)
    return Operator(draw, _layer_torch, _layer_qlearn, part=1 / 8, elementwise=False, engines=engines)


def _layer_torch(case: drawn_layers.Layer) -> Answer:
    return answer(drawn_layers.torch_answer(case))


def _layer_qlearn(case: drawn_layers.Layer, machine: Machine) -> Answer:
    return answer(drawn_layers.answer(case, machine))


def _pair(name: str) -> Operator:
    draw = partial(draw_pair, product=name.startswith("mul"))
    return Operator(draw, partial(pair_torch, name), partial(pair_qlearn, name))


def _scalar(name: str) -> Operator:
    return Operator(draw_one, partial(pair_torch, name), partial(pair_qlearn, name))


OPERATORS: dict[str, Operator] = {
    "quantize_per_tensor": Operator(draw_reals, quantize_torch, quantize_qlearn),
    "quantize_per_channel": Operator(partial(draw_reals, channels=True), quantize_torch, quantize_qlearn),
    "dequantize_per_tensor": Operator(draw_codes, dequantize_torch, dequantize_qlearn),
    "dequantize_per_channel": Operator(
        partial(draw_codes, channels=True), dequantize_torch, dequantize_qlearn, elementwise=False
    ),
    "observers": Operator(draw_observed, observed_torch, observed_qlearn, part=1e-3, elementwise=False),
    **{name: _pair(name) for name in ("add", "add_relu", "mul", "mul_relu")},
    **{name: _scalar(name) for name in ("add_scalar", "add_scalar_relu", "mul_scalar", "mul_scalar_relu")},
    "relu": Operator(draw_one, relu_torch, relu_qlearn),
    "cat": Operator(draw_cat, cat_torch, cat_qlearn),
    **POOLING,
    **ACTIVATIONS,
    **{name: _layer(name) for name in drawn_layers.NAMES},
}
"""A name -> its line of the conformance table."""
