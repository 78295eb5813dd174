"""Ask ONNX Runtime and LiteRT, and keep what they say: python tools/record_runtimes.py (needs onnxruntime, onnx, ai-edge-litert).

It wants an environment of its own, with NumPy and this repository's ``src`` on PYTHONPATH; the tests need neither runtime.
``runtimes_cases`` says what they are asked.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from runtimes_cases import Case, cases, inputs, windows_of

TARGET = Path(__file__).parents[1] / "tests" / "runtimes" / "runtimes.npz"
DTYPES = {"quint8": np.uint8, "qint8": np.int8}


def onnx_runtime(nodes: list[tuple[str, list[Any], dict[str, Any]]], domain: str, out: Any) -> Any:
    """The result of one operator of ONNX Runtime; its first array is fed, the others are constants."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    kinds = {np.float32: "FLOAT", np.uint8: "UINT8", np.int8: "INT8", np.int32: "INT32"}
    ((op, arrays, attributes),) = nodes
    fed = [i for i, array in enumerate(arrays) if np.ndim(array)]
    names = [f"i{k}" for k in range(len(arrays))]
    kind_of = lambda array: getattr(TensorProto, kinds[np.asarray(array).dtype.type])  # noqa: E731
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], domain=domain, **attributes)],
        "g",
        [helper.make_tensor_value_info(names[i], kind_of(arrays[i]), np.shape(arrays[i])) for i in fed],
        [helper.make_tensor_value_info("y", getattr(TensorProto, kinds[out]), None)],
        [numpy_helper.from_array(np.asarray(a), n) for i, (n, a) in enumerate(zip(names, arrays, strict=True)) if i not in fed],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {names[i]: arrays[i] for i in fed})[0]


def of_onnx(case: Case) -> Any:
    """ONNX Runtime's answer."""
    p, given = case.p, inputs(case)
    kind = DTYPES[p.get("dtype", "quint8")]
    f, z = np.float32, lambda name: kind(p[name])
    if case.operator == "quantize":
        return onnx_runtime([("QuantizeLinear", [given[0], f(p["s"]), z("z")], {})], "", kind)
    if case.operator == "dequantize":
        return onnx_runtime([("DequantizeLinear", [given[0].astype(kind), f(p["s"]), z("z")], {})], "", np.float32)
    if case.operator in ("add", "mul"):
        a, b = (q.astype(kind) for q in given)
        arrays = [a, f(p["s1"]), z("z1"), b, f(p["s2"]), z("z2"), f(p["s"]), z("z")]
        return onnx_runtime([(f"QLinear{case.operator.title()}", arrays, {})], "com.microsoft", kind)
    if case.operator in ("sigmoid", "leaky_relu"):
        name, more = {"sigmoid": ("Sigmoid", {}), "leaky_relu": ("LeakyRelu", {"alpha": p.get("slope", 0.0)})}[case.operator]
        arrays = [given[0].astype(kind), f(p["s"]), z("z"), f(p["so"]), z("zo")]
        return onnx_runtime([(f"QLinear{name}", arrays, more)], "com.microsoft", kind)
    if case.operator.endswith("avg_pool"):
        x = windows_of(case, given[0].astype(kind))
        arrays = [x, f(p["s"]), z("z"), f(p["s"]), z("z")]
        size = {"kernel_shape": [p["kh"], p["kw"]], "strides": [p["kh"], p["kw"]]}
        return onnx_runtime([("QLinearAveragePool", arrays, size)], "com.microsoft", kind).reshape(-1)
    acc = given[0].astype(np.int32)  # as the bias of a layer whose input is zero
    m = len(acc)
    sw, zeros = (np.full(m, p["sw"], f), np.zeros(m, np.int8)) if p["per_channel"] else (f(p["sw"]), np.int8(0))
    if case.operator == "requantize_linear":
        x, w = np.full((1, 4), 7, np.uint8), np.full((4, m), 1, np.int8)
        arrays = [x, f(p["sx"]), np.uint8(7), w, sw, zeros, acc, f(p["s"]), np.uint8(p["z"])]
        consts = "com.microsoft"
        return _constant_but_first("QGemm", arrays, {}, consts).reshape(-1)
    x, w = np.full((1, 4, 1, 1), 7, np.uint8), np.full((m, 4, 1, 1), 1, np.int8)
    arrays = [x, f(p["sx"]), np.uint8(7), w, sw, zeros, f(p["s"]), np.uint8(p["z"]), acc]
    return _constant_but_first("QLinearConv", arrays, {"kernel_shape": [1, 1]}, "").reshape(-1)


def _constant_but_first(op: str, arrays: list[Any], attributes: dict[str, Any], domain: str) -> Any:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    names = [f"i{k}" for k in range(len(arrays))]
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], domain=domain, **attributes)],
        "g",
        [helper.make_tensor_value_info("i0", TensorProto.UINT8, np.shape(arrays[0]))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in zip(names[1:], arrays[1:], strict=True)],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"i0": arrays[0]})[0]


def of_litert(case: Case, kernel: str) -> Any:
    """LiteRT's answer; codes and zero points of quint8 are less 128."""
    import litert_models as models

    p, given = case.p, inputs(case)
    off = 128 if p.get("dtype", "quint8") == "quint8" else 0
    q = [(np.asarray(a) - off).astype(np.int8) for a in given]
    pair = lambda s, z: (np.float32(p[s]), p[z] - off)  # noqa: E731
    op = case.operator
    if op == "quantize":
        return models.quantize(given[0], pair("s", "z"), kernel)
    if op == "dequantize":
        return models.dequantize(q[0], pair("s", "z"), kernel)
    if op in ("add", "mul", "add_relu", "mul_relu"):
        return models.pairwise(op, *q, pair("s1", "z1"), pair("s2", "z2"), pair("s", "z"), kernel)
    if op == "avg_pool":
        return models.average_pool(q[0].reshape(-1, p["kh"], p["kw"], 1), pair("s", "z"), kernel).reshape(-1)
    if op in ("sigmoid", "tanh"):
        out = (2.0**-8, -128) if op == "sigmoid" else (2.0**-7, 0)
        return models.unary(op, q[0], pair("s", "z"), out, kernel)
    if op in ("hardswish", "leaky_relu"):
        return models.unary(op, q[0], pair("s", "z"), pair("so", "zo"), kernel, alpha=p.get("slope", 0.0))
    acc = given[0].astype(np.int32)
    return models.layer(op, acc, p, kernel)


def main() -> None:
    """Write the recording, or compare with more rows."""
    import onnxruntime
    from importlib.metadata import version

    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=600, help="of each case")
    parser.add_argument("--only", default="", help="operators that start so; nothing is written")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    arrays, about = {}, []
    for case in cases(args.rows, args.seed):
        if not case.operator.startswith(args.only):
            continue
        key = f"{case.runtime}/{len(about)}"
        arrays[key] = of_onnx(case) if case.runtime == "onnxruntime" else of_litert(case, case.runtime.split(" ")[1])
        about.append({"operator": case.operator, "runtime": case.runtime, "p": case.p, "rows": case.rows, "key": key})
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    provenance = {
        "command": "python tools/record_runtimes.py", "onnxruntime": onnxruntime.__version__,
        "ai-edge-litert": version("ai-edge-litert"), "numpy": np.__version__, "machine": platform.machine(),
        "cpu": [flag for flag in ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni") if f" {flag} " in flags.replace("\n", " ")],
    }  # fmt: skip
    print(json.dumps(provenance))
    import runtimes_cases

    runtimes_cases.report(about, arrays)
    if not args.only and args.rows == parser.get_default("rows") and args.seed == 0:
        text = json.dumps({"provenance": provenance, "cases": about})
        np.savez_compressed(TARGET, about=np.array(text), **arrays)
        print(TARGET.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
