"""Activations of every code in the vector body, in a scalar tail and on qnnpack; float32 exponentials and tanh."""

from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = ("default", "avx2", "avx512")
DEPENDS = ("libc",)
EVERY_RELEASE = False
DTYPES = ("quint8", "qint8", "qint32")
Case = tuple[str, float, int, tuple[float, ...]]  # dtype, scale and zero point of x, the operator's arguments
QINT32 = ("qint32", 2.0**-20, 0)
CASES: dict[str, tuple[Case, ...]] = {
    "clamp": (
        ("quint8", 0.1, 57, (-4.85, -4.45)),
        ("qint8", 0.037, -3, (-0.5, 6.0)),
        ("quint8", 0.0235, 3, (0.0, 6.0)),
    ),
    "hardswish": (("quint8", 0.06, 90, (0.12, 1)), ("qint8", 0.05, 3, (0.03, -101)), (*QINT32, (2.0**-27, 0))),
    "hardsigmoid": (("quint8", 0.05, 128, ()), ("qint8", 0.1054687425494194, -38, ()), (*QINT32, ())),
    "leaky_relu": (
        ("quint8", 0.08, 133, (0.2, 0.16, 57)),
        ("qint8", 0.05, 3, (0.01, 0.025, -101)),
        (*QINT32, (0.1, 2.0**-28, 0)),
    ),
    "sigmoid": (
        ("quint8", 0.03228888660669327, 128, (2.0**-8, 0)),
        ("quint8", 0.25, 128, (0.018348621010280734, 57)),
        ("quint8", 0.25, 100, (0.010152283786106832, 1)),
        ("quint8", 0.05, 100, (0.0020765201435380414, 0)),
        ("quint8", 0.0625, 90, (0.01084916746474729, 57)),
        ("quint8", 0.008, 3, (0.033906582031926605, 101)),
        (*QINT32, (2.0**-30, 0)),
    ),
    "tanh": (
        ("quint8", 0.05, 128, ()),
        ("quint8", 0.026450512930750847, 76, ()),
        ("quint8", 0.004093127325177193, 100, ()),
        (*QINT32, ()),
    ),
    "elu": (
        ("quint8", 0.05, 128, (0.05, 57, 1.0)),
        ("quint8", 0.25, 128, (0.009216588868856995, 128, 1.0)),
        ("quint8", 0.0185, 239, (0.006862952310818027, 101, 1.0)),
        (*QINT32, (2.0**-28, 0, 1.0)),
    ),
    "prelu": (
        ("quint8", 0.08, 133, (57, 0.015, 40, 0.16, 57)),
        ("qint8", 0.05, 3, (-20, 0.0078125, -3, 0.025, -101)),
        (*QINT32, (-77, 0.01, 0, 7e-7, 5)),
    ),
}
"""Arguments of prelu: code, scale and zero point of its one weight, then scale and zero point of the result."""
REVEALING = [12.180890083312988, 3.8299028873443604, 11.537993431091309, 0.3400746285915375, 0.3256628215312958]
REVEALING += [0.3049018979072571, 1.1334753036499023, 1.0423772335052490, 0.3341442048549652]
REVEALING_CODES = [-1091018, 362308, -2561034, -165846, 555867, 548547]
"""Numbers at which a step of an exponential shows that does not at most others."""
WHAT = {
    "clamp": "torch.ops.quantized.clamp",
    "hardswish": "torch.ops.quantized.hardswish",
    "hardsigmoid": "torch.nn.functional.hardsigmoid",
    "leaky_relu": "torch.ops.quantized.leaky_relu",
    "sigmoid": "torch.ops.quantized.sigmoid",
    "tanh": "torch.tanh",
    "elu": "torch.ops.quantized.elu",
    "prelu": "torch.ops.quantized.prelu",
}
KEYS = {
    "qint32": "int32 (512,): codes of the qint32 tensors; of 8 bits there are all 256, in the order of their bytes",
    **{
        f"cases/{name}": "float64 (n, 3 + k): 0 quint8, 1 qint8, 2 qint32; scale, zero point; arguments"
        for name in CASES
    },
    **{
        f"{name}/<i>/body": f"(256,) or (512,): {what} of every code, in the vector body" for name, what in WHAT.items()
    },
    **{f"{name}/<i>/tail": "the same in a scalar tail" for name in CASES},
    **{f"qnnpack/{name}/<i>": "uint8 (256,): the same on the engine qnnpack" for name in CASES},
    "reals": "float32 (1024,)",
    "exp": "float32 (1024,): exp of reals in vectors, from the backward pass of log_softmax",
    "exp_of_library": "float32 (1024,): exp of min(reals, 88) by the C library, from torch.exp of complex numbers",
    "expm1": "float32 (1024,): torch.expm1 of reals, in vectors",
    "expm1_of_library": "float32 (1024,): exp - 1 of -abs(reals) by the C library, from torch.nn.functional.elu",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    rng = np.random.default_rng(20)
    codes: dict[str, npt.NDArray[Any]] = {
        "quint8": np.arange(256, dtype=np.uint8),
        "qint8": np.arange(256, dtype=np.uint8).view(np.int8),
        "qint32": np.array([*REVEALING_CODES, *rng.integers(-(2**23), 2**23, 512 - len(REVEALING_CODES))], np.int32),
    }
    found: dict[str, npt.NDArray[Any]] = {"qint32": codes["qint32"]}
    for name, cases in CASES.items():
        found[f"cases/{name}"] = np.array([(DTYPES.index(d), s, z, *args) for d, s, z, args in cases])
        for i, case in enumerate(cases):
            found |= {f"{name}/{i}/{path}": array for path, array in _paths(torch, name, case, codes[case[0]]).items()}
            if case[0] == "quint8" and (name != "sigmoid" or i == 0):
                torch.backends.quantized.engine = "qnnpack"
                found[f"qnnpack/{name}/{i}"] = answer(torch, name, case, codes[case[0]])
                torch.backends.quantized.engine = "fbgemm"
    return found | exponentials(torch, reals(rng))


def _paths(torch: Any, name: str, case: Case, codes: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Whole blocks lie in the body; tensors with an element less than a block, in the tail."""
    short = 15 if case[0] == "qint32" else 63
    tails = [answer(torch, name, case, codes[i : i + short]) for i in range(0, codes.size, short)]
    return {"body": answer(torch, name, case, codes), "tail": np.concatenate(tails)}


def answer(torch: Any, name: str, case: Case, codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """PyTorch's codes."""
    _, scale, zero_point, args = case
    x = torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), scale, zero_point)
    if name == "tanh":
        out = torch.tanh(x)
    elif name == "hardsigmoid":
        out = torch.nn.functional.hardsigmoid(x)
    elif name == "clamp":
        out = torch.ops.quantized.clamp(x, *args)
    elif name == "prelu":
        weight = torch.from_numpy(np.array([args[0]], codes.dtype))
        weight = torch._make_per_tensor_quantized_tensor(weight, args[1], int(args[2]))
        out = torch.ops.quantized.prelu(x, weight, args[3], int(args[4]))
    elif name == "leaky_relu":
        out = torch.ops.quantized.leaky_relu(x, args[0], False, args[1], int(args[2]))
    else:
        out = getattr(torch.ops.quantized, name)(x, args[0], int(args[1]), *args[2:])
    integers: npt.NDArray[Any] = out.int_repr().numpy()
    return integers


def reals(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Numbers of all magnitudes: the edges of the functions, their neighbours, and random ones; shape (1024,)."""
    edges = [0, 1e-45, 1e-38, 1e-8, 2**-25, 0.34657359, 1.0397208, 16.635532, 18.714973, 32.564632, 63.09946, 87.33655]
    edges += [88.3763, 88.72283, 100, 103.278929, 103.972084, 104, 3e38, np.inf, np.nan]
    edges += REVEALING
    near = np.array([*edges, *(-edge for edge in edges)], np.float32).view(np.int32)
    near = (near[:, None] + np.arange(-2, 3, dtype=np.int32)).ravel().view(np.float32)
    spread = rng.choice(np.array([0.3, 1.5, 10.0, 90.0]), 1024 - near.size)
    return np.concatenate([near, (spread * rng.uniform(-1, 1, spread.size)).astype(np.float32)])


def exponentials(torch: Any, x: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """exp and exp - 1, in vectors and by the C library; x in whole vectors."""
    t, most = torch.from_numpy(x), torch.from_numpy(np.minimum(x, np.float32(88)))  # cexpf goes another way above
    gapped = torch.from_numpy(np.repeat(-np.abs(x), 2))[::2]
    return {
        "reals": x,
        "exp": exp(torch, x),
        "exp_of_library": torch.complex(most, torch.zeros_like(t)).exp().real.numpy().copy(),
        "expm1": torch.expm1(t).numpy(),
        "expm1_of_library": torch.nn.functional.elu(gapped).numpy().copy(),
    }


def exp(torch: Any, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """exp(x) as vectors compute it: the gradient g - exp(y) * sum(g) of log_softmax, where g is 0 and its sum -1."""
    y, g = np.zeros((2, 2, x.size), np.float32)
    y[0], g[1] = x, -1
    back = torch.ops.aten._log_softmax_backward_data(torch.from_numpy(g), torch.from_numpy(y), 0, torch.float32)
    found: npt.NDArray[np.float32] = back.numpy()[0].copy()
    return found
