"""What tools/record.py records: one module for each file in src/qlearn/recordings."""

from qlearn.machine import _cpu

SWITCHES = {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""What makes FBGEMM and oneDNN use the kernels of a CPU that has AVX2 and no more; they read it when they start."""
ENGINES = ("fbgemm", "x86", "onednn", "qnnpack")


def engines() -> tuple[str, ...]:
    """Those whose layers can be asked here: under the switches not x86, which asks the CPU itself, of both libraries.

    On a CPU with VNNI it would then take oneDNN, as on no CPU that has AVX2 alone.
    """
    return tuple(engine for engine in ENGINES if engine != "x86" or not switched())


def switched() -> bool:
    """Whether FBGEMM or oneDNN is told to use less of a CPU than AVX-512 with VNNI."""
    server = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"}
    return {_cpu.fbgemm(server), _cpu.onednn(server)} != {"VNNI"}
