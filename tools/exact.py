"""Compare qlearn with PyTorch on new inputs, and write the conformance table: python tools/exact.py [N] [SEED]

N outputs of each operator (``operators.OPERATORS``) are compared, spread evenly over engines and capabilities; SEED
repeats the inputs of a run. PyTorch chooses its kernels when it starts, so each capability has a process of its own. On
a CPU without AVX-512 its dispatch is still asked for most operators: their kernels have no AVX-512 version, and an
instruction that the CPU lacks would end the process. Then whole networks are compared (``networks.py``): for 10 million
outputs or more on images of 224 x 224 with up to three sets of weights, else on small ones. The table goes to
src/qlearn/recordings/conformance.json, beside those of other releases of torch. Exit code 1 if an output differs for a
reason that has no name (``known.py``), or if PyTorch's process ended where none is known.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import warnings
import zlib
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import networks
from apart import apart
from drawing import compare
from known import known
from operators import OPERATORS
from qlearn import Machine
from qlearn.machine import _cpu
from qlearn.machine.machine import CAPABILITIES, ENGINES
from record import FLAGS, NEEDS, RECORDINGS, by_age, capability_of, cpu_flags, torch_version

OUTPUTS = 50_000_000
THREADS = (1, 2, 3, 5)
TABLE = RECORDINGS / "conformance.json"
DISPATCH_ALONE = "its dispatch on a CPU without AVX-512: operators without an AVX-512 kernel"

Row = dict[str, Any]


def main(outputs: int, seed: int) -> int:
    """Run every capability, print the table as it grows, write it; 1 if anything differs, else 0."""
    print(f"{outputs:,} outputs an operator, seed {seed}; to repeat: make exact N={outputs} SEED={seed}", flush=True)
    print(HEADER, flush=True)
    rows, asked = [], {}
    for capability in CAPABILITIES:
        names, asked[capability] = scope(capability)
        found = run(capability, names, outputs, seed)
        if found is None:
            asked[capability] = "not run: PyTorch's process ended"
            print(f"{capability}: {asked[capability]}")
        rows += found or []
    whole = networks.run(*networks_of(outputs), seed % 1000)
    table = {
        "date": date.today().isoformat(),
        "command": f"make exact TORCH={torch_version()} N={outputs} SEED={seed}",
        "seed": seed,
        "outputs": outputs,
        "threads": list(THREADS),
        "capabilities": asked,
        **provenance(),
        "rows": rows,
        "networks": whole,
    }
    tables = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    TABLE.write_text(in_lines(tables | {torch_version(): table}) + "\n")
    compared, differing = (sum(row[key] for row in rows + whole) for key in ("compared", "differing"))
    print(f"{compared:,} outputs compared, {differing:,} differ; written to {TABLE.name}")
    for reason, count in named(rows + whole).items():
        print(f"{count:,} more differ for a known reason: {reason}")
    ended = [row for row in rows if "ended" in row and not row["known"]]
    return 1 if differing or ended or networks.differing(whole) else 0


def named(rows: list[Row]) -> Counter[str]:
    """Each known reason and how many outputs differ by it."""
    return sum((Counter(row.get("known", {})) for row in rows), Counter())


def in_lines(tables: dict[str, Any]) -> str:
    """The tables as JSON, each row on a line of its own, the book's release first."""
    lines = []
    for release in sorted(tables, key=by_age):
        table = dict(tables[release])
        rows = {
            name: ",\n".join(json.dumps(row) for row in table.pop(name)).join(("[\n", "\n]"))
            for name in ("rows", "networks")
        }
        parts = [json.dumps(table)[1:-1], *(f'"{name}": {text}' for name, text in rows.items())]
        lines.append(f'"{release}": {{{", ".join(parts)}}}')
    return ",\n".join(lines).join(("{\n", "\n}"))


def networks_of(outputs: int) -> tuple[int, int]:
    """The size of the images and the number of sets of weights for a run of so many outputs an operator."""
    return (networks.SIZE, min(networks.SEEDS, outputs // 10_000_000)) if outputs >= 10_000_000 else (64, 1)


def scope(capability: str) -> tuple[list[str], str]:
    """The operators that can be asked with a capability here, and in words which."""
    if NEEDS[capability] in cpu_flags():
        return list(OPERATORS), "all operators"
    if capability == "AVX512" and NEEDS["AVX2"] in cpu_flags():
        return [name for name, operator in OPERATORS.items() if operator.elementwise], DISPATCH_ALONE
    return [], f"this CPU has no {NEEDS[capability]}"


def run(capability: str, names: list[str], outputs: int, seed: int) -> list[Row] | None:
    """The rows of one capability, from a process of its own; None if that process was ended by the CPU."""
    if not names:
        return []
    env = os.environ | {"ATEN_CPU_CAPABILITY": capability.lower()} | _cpu.without_amx()
    rows: list[Row] = []
    command = [sys.executable, __file__, "--child", capability, str(outputs), str(seed), *names]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout or ():
            rows.append(json.loads(line))
            print(in_words(rows[-1]), flush=True)
    if process.returncode > 0:
        raise SystemExit(f"{capability} failed; to see why: {' '.join(command)}")
    return rows if process.returncode == 0 else None


def child(capability: str, outputs: int, seed: int, names: list[str]) -> None:
    """In the new process: one line of JSON for each operator and engine, each asked in a process of its own.

    Ended by an instruction that the CPU lacks, that ends this process too.
    """
    warnings.filterwarnings("ignore", message=".*deprecated", category=UserWarning)
    import torch

    if capability_of(torch) != capability:
        raise SystemExit(f"asked PyTorch for {capability}, it runs {capability_of(torch)}")
    for name in names:
        for engine in OPERATORS[name].engines:
            found, by = apart(row, name, engine, capability, outputs, seed)
            if by == "SIGILL":
                os.kill(os.getpid(), signal.SIGILL)
            print(json.dumps(found or ended(name, engine, capability, by)), flush=True)


def ended(name: str, engine: str, capability: str, by: str) -> Row:
    """The row of an operator with which PyTorch's process ended."""
    reason = known(Machine(engine, capability, 1, release=torch_version()), name)
    found: Row = {"operator": name, "engine": engine, "capability": capability, "compared": 0, "differing": 0}
    return found | {"refused_by_both": 0, "seconds": 0, "known": {reason: 0} if reason else {}, "ended": by}


def row(name: str, engine: str, capability: str, outputs: int, seed: int) -> Row:
    """Draw inputs and compare, until this cell's share of the outputs is reached; needs torch with this capability."""
    import torch

    torch.backends.quantized.engine = engine
    operator, start = OPERATORS[name], time.perf_counter()
    rng = np.random.default_rng([seed, zlib.crc32(f"{name} {engine} {capability}".encode())])
    share = max(1, round(outputs * operator.part / len(ENGINES) / len(CAPABILITIES)))
    compared = differing = refused = 0
    named: Counter[str] = Counter()
    first = ""
    while compared < share:
        threads = int(rng.choice(THREADS))
        torch.set_num_threads(threads)
        machine, case = Machine.from_torch(), operator.draw(rng)
        n, wrong, words = compare(operator, case, machine)
        reason = known(machine, name, case) if wrong else ""
        if reason:
            named[reason] += wrong
            wrong, words = 0, ""
        compared, differing, refused = compared + n, differing + wrong, refused + (n == 0)
        first = first or words
    seconds = round(time.perf_counter() - start, 2)
    found: Row = {"operator": name, "engine": engine, "capability": capability}
    found |= {"compared": compared, "differing": differing, "refused_by_both": refused, "seconds": seconds}
    return found | ({"known": dict(named)} if named else {}) | ({"first": first} if first else {})


HEADER = f"{'operator':24}{'engine':9}{'capability':11}{'compared':>13}{'differing':>11}{'seconds':>9}"


def in_words(found: Row) -> str:
    """One line of the table, and the first difference below it."""
    line = "{operator:24}{engine:9}{capability:11}{compared:13,}{differing:11,}{seconds:9.1f}".format(**found)
    line += "".join(f"\n    {count:,} more differ: {reason}" for reason, count in found.get("known", {}).items())
    line += f"\n    PyTorch's process ended by {found['ended']}" if "ended" in found else ""
    return line + (f"\n    {found['first']}" if "first" in found else "")


def provenance() -> dict[str, Any]:
    """Which PyTorch, NumPy and CPU."""
    from importlib.metadata import version

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = [flag for flag in FLAGS if flag in cpu_flags()]
    return {"torch": version("torch"), "numpy": np.__version__, "cpu_model": model, "cpu": flags}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
    else:
        numbers = [int(value.replace("_", "")) for value in sys.argv[1:3]]
        raise SystemExit(main(*(numbers + [OUTPUTS, secrets.randbits(32)][len(numbers) :])))
