"""Linear layers and convolutions compared with PyTorch: whose arithmetic is asked, every integer and where it lies."""

from functools import cache
from typing import Any

import pytest

import oracle
from drawn_layers import Layer, answer, torch_answer
from oracle import ask, compare, cpu_flags, unavailable
from qlearn import Machine
from qlearn.machine import _cpu
from qlearn.machine.machine import ENGINES

__all__ = ["ENGINES"]

ONEDNN = _cpu.onednn({flag.replace("_", "") for flag in cpu_flags()})
VNNI = ONEDNN == "VNNI"
LESSER = ("AVX2", "AVX512")
"""The CPUs without VNNI that this one can be made to be, if it can."""

each_engine = pytest.mark.parametrize("engine", ENGINES)
each_width = pytest.mark.parametrize("bits", [7, 8])
each_lesser_cpu = pytest.mark.parametrize("cpu", LESSER)
each_cpu = pytest.mark.parametrize("cpu", ["", *LESSER])


def cpus(engine: str) -> list[str]:
    """The values of ``cpu`` with which an engine whose kernels they change can be asked here, "" alone for another."""
    lesser = LESSER if engine in ("fbgemm", "onednn") else ()
    return ["", *(cpu for cpu in lesser if not unavailable(cpu))]


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


@cache
def machine_of(engine: str, capability: str = "DEFAULT", threads: int = 1, cpu: str = "") -> Machine:
    """What ``Machine.from_torch`` says where ``oracle.ask`` asks."""
    found = ask(capability, oracle.machine, engine=engine, threads=threads, cpu=cpu)
    assert isinstance(found, Machine)
    return found


def need(engine: str, cpu: str = "") -> None:
    """Skip where this CPU cannot be asked, or where qlearn does not know its kernels."""
    if cpu and unavailable(cpu):
        pytest.skip(f"{unavailable(cpu)}")
    if not cpu and engine == "onednn" and ONEDNN not in _cpu.LEVELS:
        pytest.skip(f"oneDNN's kernels with {ONEDNN} are not modelled")


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


def both_refuse(refused: dict[str, list[Layer]], match: str) -> None:
    """PyTorch refuses each layer on the engine that it stands under, and qlearn with a ValueError that matches."""
    for engine, layers in refused.items():
        theirs = ask("DEFAULT", torch_answers, layers, engine=engine)
        for layer, message in zip(layers, theirs, strict=True):
            assert isinstance(message, str), layer
            with pytest.raises(ValueError, match=match):
                answer(layer, machine_of(engine))


def differing(layers: list[Layer], theirs: list[Any], machine: Machine) -> int:
    """How many integers differ from PyTorch's answers."""
    pairs = zip(layers, theirs, strict=True)
    return sum(int((answer(layer, machine).int_repr() != codes).sum()) for layer, (codes, _) in pairs)
