"""What tools/record.py records: one module for each file in src/qlearn/recordings."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.machine import _cpu

SWITCHES = {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""What makes FBGEMM and oneDNN use the kernels of a CPU that has AVX2 and no more; they read it when they start."""
ENGINES = ("fbgemm", "x86", "onednn", "qnnpack")


def engines() -> tuple[str, ...]:
    """Those whose layers can be asked here: under the switches not x86, which asks the CPU itself, of both libraries.

    On a CPU with VNNI it would then take oneDNN, as on no CPU that has AVX2 alone.
    """
    return tuple(engine for engine in ENGINES if engine != "x86" or not switched())


def each_engine() -> Iterator[str]:
    """Those, each the running PyTorch's until the next."""
    import torch

    for engine in engines():
        torch.backends.quantized.engine = engine
        yield engine


def kinds_of_layer(
    operator: str, codes: npt.NDArray[np.int8], scale: float, factors: npt.NDArray[np.float64]
) -> Iterator[tuple[str, Any, Any]]:
    """The names of three kinds of a layer, each with its weight and with what of torch.ops.quantized computes it.

    ``tensor`` has its weight quantized per tensor with this scale; ``channel`` and ``relu`` per channel, with its
    multiples by these factors; ``relu`` has a ReLU too.
    """
    import torch

    weight, each = torch.from_numpy(codes), torch.from_numpy(factors * scale)
    zeros = torch.zeros(len(factors), dtype=torch.int64)
    channel = torch._make_per_channel_quantized_tensor(weight, each, zeros, 0)
    plain, relu = (getattr(torch.ops.quantized, name) for name in (operator, f"{operator}_relu"))
    yield "tensor", torch._make_per_tensor_quantized_tensor(weight, scale, 0), plain
    yield "channel", channel, plain
    yield "relu", channel, relu


def switched() -> bool:
    """Whether FBGEMM or oneDNN is told to use less of a CPU than AVX-512 with VNNI."""
    server = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"}
    return {_cpu.fbgemm(server), _cpu.onednn(server)} != {"VNNI"}
