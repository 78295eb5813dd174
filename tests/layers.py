"""Linear layers and convolutions compared with PyTorch: whose arithmetic is asked, every integer and where it lies."""

from typing import Any

import pytest

from drawn_layers import Layer, answer, torch_answer
from oracle import ask, compare, cpu_flags, running, unavailable
from qlearn import Machine
from qlearn.machine import ENGINES

__all__ = ["ENGINES"]

VNNI = "avx512_vnni" in cpu_flags()


def torch_answers(layers: list[Layer]) -> list[Any]:
    """Codes and strides of each layer, or the message of PyTorch's refusal."""
    found: list[Any] = []
    for layer in layers:
        try:
            out = torch_answer(layer)
            found.append((out.int_repr().numpy(), out.stride()))
        except RuntimeError as error:
            found.append(str(error))
    return found


def machine_of(engine: str, capability: str = "DEFAULT", threads: int = 1, cpu: str = "") -> Machine:
    """The machine that runs the tests, or the lesser one that ``oracle.ask`` makes of it."""
    if cpu:
        return running(engine, cpu, threads, vnni=False)
    named = "AVX512" if "avx512f" in cpu_flags() and not VNNI else capability
    return running(engine, named, threads, VNNI)


def need(engine: str, cpu: str = "") -> None:
    """Skip where this CPU cannot be asked, or where qlearn does not know its kernels."""
    if cpu and unavailable(cpu):
        pytest.skip(f"{unavailable(cpu)}")
    if not cpu and engine == "onednn" and "avx_vnni" in cpu_flags() and "avx512f" not in cpu_flags():
        pytest.skip("oneDNN's kernels for AVX-VNNI are not modelled")


def machines_to_draw_for(engine: str, cpu: str = "") -> tuple[Machine, ...]:
    """On which a drawn convolution must be sound.

    FBGEMM's kernel for small groups goes by the real CPU, whatever it is told: such shapes are not drawn where it is
    told something, but on a CPU with AVX2 alone.
    """
    machines = (machine_of(engine, cpu=cpu),)
    if engine == "fbgemm" and cpu and "avx512f" in cpu_flags():
        machines = (*machines, machine_of(engine), machine_of(engine, cpu="AVX512"))
    return machines


def same_layers(layers: list[Layer], engine: str, capability: str = "DEFAULT", threads: int = 1, cpu: str = "") -> None:
    """Compare every integer of every layer, and where they lie."""
    theirs = ask(capability, torch_answers, layers, engine=engine, threads=threads, cpu=cpu)
    for layer, expected in zip(layers, theirs, strict=True):
        assert not isinstance(expected, str), (expected, layer)
        machine, (codes, strides) = machine_of(engine, capability, threads, cpu), expected
        ours = answer(layer, machine)
        compare(layer.operator, ours.int_repr(), codes, (machine, layer))
        lengths = zip(ours.strides, strides, codes.shape, strict=True)
        assert not codes.size or all(mine == other or n == 1 for mine, other, n in lengths), (ours.strides, strides)
        assert (ours.q_scale(), ours.q_zero_point(), ours.dtype) == (layer.scale, layer.zero_point, "quint8")


def differing(layers: list[Layer], theirs: list[Any], machine: Machine) -> int:
    """How many integers differ from PyTorch's answers."""
    pairs = zip(layers, theirs, strict=True)
    return sum(int((answer(layer, machine).int_repr() != codes).sum()) for layer, (codes, _) in pairs)
