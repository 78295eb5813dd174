"""The operators of tools/operators.py, asked in PyTorch's processes (oracle.ask)."""

import os
from typing import Any

import numpy as np

import drawing
import operators
import oracle

SIZES = (*range(1, 201), *(64 * k + d for k in (4, 5, 16, 33) for d in (-1, 0, 1)))
SPLITS = tuple(32768 * k + d for k in (1, 2, 3) for d in (-1, 0, 1, 37, 64))


def sweep(name: str, engine: str, capability: str, seed: int, draws: list[dict[str, Any]]) -> tuple[int, int, str]:
    """Outputs compared, how many differ, the first difference; ``threads`` of a draw is the number of threads."""
    import torch

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # PyTorch reports each refusal and each resized result there
    rng, operator = np.random.default_rng(seed), operators.OPERATORS[name]
    compared, differing, first = 0, 0, ""
    for draw in draws:
        options = dict(draw)
        threads = options.pop("threads", 1)
        torch.set_num_threads(threads)
        machine = oracle.running(engine, capability, threads)
        n, wrong, words = drawing.compare(operator, operator.draw(rng, **options), machine)
        compared, differing, first = compared + n, differing + wrong, first or words
    return compared, differing, first


def assert_equal(name: str, engine: str, capability: str, rng: Any, draws: list[dict[str, Any]]) -> None:
    """Sweep in the process of a capability; count, and fail at the first difference."""
    seed = int(rng.integers(2**32))
    found = oracle.ask(capability, sweep, name, engine, capability, seed, draws, engine=engine, elementwise=True)
    compared, differing, first = found
    oracle.COMPARED[name] += compared
    oracle.DIFFERING[name] += differing
    assert differing == 0, f"{name} {engine} {capability}, seed {seed}: {first}"
    assert compared > 0


def several(engine: str, capability: str, asked: list[tuple[str, drawing.Case]]) -> tuple[int, int, str]:
    """As ``sweep``, of given cases, each with the name of its operator."""
    machine = oracle.running(engine, capability)
    found = [drawing.compare(operators.OPERATORS[name], case, machine) for name, case in asked]
    return sum(n for n, *_ in found), sum(n for _, n, _ in found), "; ".join(words for *_, words in found if words)


def assert_cases(engine: str, capability: str, asked: list[tuple[str, drawing.Case]]) -> None:
    """Ask for all of them at once; count, and fail at the first difference."""
    for name in sorted({name for name, _ in asked}):
        own = [case for case in asked if case[0] == name]
        n, differing, words = oracle.ask(capability, several, engine, capability, own, engine=engine, elementwise=True)
        oracle.compare(name, np.full(n, differing), np.zeros(n, int), words)
