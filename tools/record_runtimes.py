"""Ask ONNX Runtime and LiteRT, and keep what they say: python tools/record_runtimes.py.

It wants an environment of its own, with onnxruntime, onnx, ai-edge-litert, flatbuffers and NumPy, and this repository's
``src`` on PYTHONPATH; the tests need neither runtime. ``runtimes_cases`` says what they are asked.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from runtimes_cases import Case, cases, inputs, report, windows_of

TARGET = Path(__file__).parents[1] / "tests" / "runtimes" / "runtimes.npz"
DTYPES = {"quint8": np.uint8, "qint8": np.int8}


def onnx_runtime(op: str, arrays: list[Any], out: Any, domain: str = "", **attributes: Any) -> Any:
    """The result of one operator of ONNX Runtime; scalars and what ``constant`` wraps are constants of its graph."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    kinds = {np.float32: TensorProto.FLOAT, np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}
    names = [f"i{k}" for k in range(len(arrays))]
    fed = {n: a for n, a in zip(names, arrays, strict=True) if isinstance(a, np.ndarray)}
    kept = {
        n: np.asarray(a.array if isinstance(a, Constant) else a)
        for n, a in zip(names, arrays, strict=True)
        if n not in fed
    }
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], domain=domain, **attributes)],
        "g",
        [helper.make_tensor_value_info(n, kinds[a.dtype.type], a.shape) for n, a in fed.items()],
        [helper.make_tensor_value_info("y", kinds[out], None)],
        [numpy_helper.from_array(a, n) for n, a in kept.items()],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, fed)[0]


class Constant(NamedTuple):
    """An array that is part of the graph."""

    array: Any


MICROSOFT = "com.microsoft"


def of_onnx(case: Case) -> Any:
    """ONNX Runtime's answer."""
    p, given, op = case.p, inputs(case), case.operator
    if op.startswith("requantize"):
        return _layer_of_onnx(op, given[0].astype(np.int32), p)
    kind, f = DTYPES[p["dtype"]], np.float32
    z = {name: kind(p[name]) for name in ("z", "z1", "z2", "zo") if name in p}
    if op == "quantize":
        return onnx_runtime("QuantizeLinear", [given[0], f(p["s"]), z["z"]], kind)
    q = [a.astype(kind) for a in given]
    if op == "dequantize":
        return onnx_runtime("DequantizeLinear", [q[0], f(p["s"]), z["z"]], f)
    if op in ("add", "mul"):
        arrays = [q[0], f(p["s1"]), z["z1"], q[1], f(p["s2"]), z["z2"], f(p["s"]), z["z"]]
        return onnx_runtime(f"QLinear{op.title()}", arrays, kind, MICROSOFT)
    if op.endswith("avg_pool"):
        arrays = [windows_of(case, q[0]), f(p["s"]), z["z"], f(p["s"]), z["z"]]
        size = [p["kh"], p["kw"]]
        return onnx_runtime("QLinearAveragePool", arrays, kind, MICROSOFT, kernel_shape=size, strides=size).reshape(-1)
    name, more = ("Sigmoid", {}) if op == "sigmoid" else ("LeakyRelu", {"alpha": p["slope"]})
    return onnx_runtime(f"QLinear{name}", [q[0], f(p["s"]), z["z"], f(p["so"]), z["zo"]], kind, MICROSOFT, **more)


def _layer_of_onnx(op: str, acc: Any, p: dict[str, Any]) -> Any:
    """A layer of an input that is its zero point: the bias is the accumulator."""
    f, m = np.float32, len(acc)
    each = m if p["per_channel"] else ()
    sw, zeros = Constant(np.full(each, p["sw"], f)), Constant(np.zeros(each, np.int8))
    bias, out = Constant(acc), [f(p["s"]), np.uint8(p["z"])]
    shape = (4, m) if op == "requantize_linear" else (m, 4, 1, 1)
    x = np.full((1, 4) if op == "requantize_linear" else (1, 4, 1, 1), 7, np.uint8)
    first = [x, f(p["sx"]), np.uint8(7), Constant(np.ones(shape, np.int8)), sw, zeros]
    if op == "requantize_linear":
        return onnx_runtime("QGemm", [*first, bias, *out], np.uint8, MICROSOFT).reshape(-1)
    return onnx_runtime("QLinearConv", [*first, *out, bias], np.uint8, kernel_shape=[1, 1]).reshape(-1)


def of_litert(case: Case, kernel: str) -> Any:
    """LiteRT's answer; codes and zero points of quint8 are less 128."""
    import litert_models as models

    p, given, op = case.p, inputs(case), case.operator
    off = 128 if p.get("dtype", "quint8") == "quint8" else 0
    own = {n: (np.float32(p[f"s{n}"]), p[f"z{n}"] - off) for n in ("", "1", "2", "o") if f"s{n}" in p}
    if op.startswith("requantize"):
        return models.layer(op, given[0].astype(np.int32), p, kernel)
    if op == "quantize":
        return models.quantize(given[0], own[""], kernel)
    q = [(a - off).astype(np.int8) for a in given]
    if op == "dequantize":
        return models.dequantize(q[0], own[""], kernel)
    if op in ("add", "mul", "add_relu", "mul_relu"):
        return models.pairwise(op, q[0], q[1], own["1"], own["2"], own[""], kernel)
    if op == "avg_pool":
        return models.average_pool(q[0].reshape(-1, p["kh"], p["kw"], 1), own[""], kernel).reshape(-1)
    out = {"sigmoid": (2.0**-8, -128), "tanh": (2.0**-7, 0)}.get(op) or own["o"]
    return models.unary(op, q[0], own[""], out, kernel, alpha=p.get("slope", 0.0))


def main() -> None:
    """Write the recording, or compare with more rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=600, help="of each case; with another number nothing is written")
    parser.add_argument("--only", default="", help="operators that start so; nothing is written")
    parser.add_argument("--seed", type=int, default=0, help="with another seed nothing is written")
    args = parser.parse_args()
    arrays: dict[str, Any] = {}
    about: list[dict[str, Any]] = []
    for case in cases(args.rows, args.seed):
        if not case.operator.startswith(args.only):
            continue
        key = f"{case.runtime}/{len(about)}"
        arrays[key] = of_onnx(case) if case.runtime == "onnxruntime" else of_litert(case, case.runtime.split(" ")[1])
        about.append({"operator": case.operator, "runtime": case.runtime, "p": case.p, "rows": case.rows, "key": key})
    report(about, arrays)
    if (args.rows, args.seed, args.only) == (600, 0, ""):
        text = json.dumps({"provenance": provenance(), "cases": about})
        np.savez_compressed(TARGET, about=np.array(text), **arrays)
        print(TARGET.stat().st_size, "bytes")


def provenance() -> dict[str, Any]:
    """Whose answers these are."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    asked = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni")
    return {
        "command": "python tools/record_runtimes.py",
        "onnxruntime": version("onnxruntime"),
        "ai-edge-litert": version("ai-edge-litert"),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cpu": [flag for flag in asked if flag in flags],
    }


if __name__ == "__main__":
    main()
