"""Write PyTorch's own outputs to src/qlearn/recordings: python tools/record.py [names...]

Each tools/recorders/<name>.py says which capabilities it records (``CAPABILITIES``), what its keys mean (``KEYS``, by
prefix), and has ``record()``, which returns the arrays. It runs once for each capability in a process of its own, since
PyTorch reads ATEN_CPU_CAPABILITY when it starts. A capability that this CPU lacks is skipped, and what was recorded
of it on another machine stays. The files do not change when the arrays do not.
"""

import importlib
import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS = ROOT / "src" / "qlearn" / "recordings"
WITHOUT_VNNI = "without_vnni"  # AVX2, where FBGEMM and oneDNN can do no more
NEEDS = {"default": "sse4_1", "avx2": "avx2", "avx512": "avx512f", WITHOUT_VNNI: "avx2"}  # capability -> CPU flag
FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "amx_int8")  # those that choose a kernel

Arrays = dict[str, npt.NDArray[Any]]


def main(names: list[str]) -> None:
    """Record the named recorders, or all."""
    known = sorted(path.stem for path in (ROOT / "tools" / "recorders").glob("[a-z]*.py"))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"no recorder named {', '.join(unknown)}; there are {', '.join(known)}")
    for name in names or known:
        update(name)


def update(name: str) -> None:
    """Run one recorder for each capability this CPU has; write its .npz and its entry in the manifest."""
    path, manifest_path = RECORDINGS / f"{name}.npz", RECORDINGS / "manifest.json"
    manifest = json.loads(manifest_path.read_text()) if manifest_path.exists() else {}
    before = read_npz(path.read_bytes()) if path.exists() else {}
    sources = dict(manifest.get(name, {}).get("capabilities", {}))
    arrays: Arrays = {}
    keys: dict[str, str] = {}
    for capability in capabilities(name):
        reason = lacking(capability)
        if reason:
            print(f"{name}: {capability} skipped, {reason}")
            arrays |= {key: array for key, array in before.items() if key.startswith(f"{capability}/")}
            continue
        new, sources[capability], keys = run(name, capability)
        arrays |= {f"{capability}/{key}": array for key, array in new.items()}
    data = npz(arrays)
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)
    manifest[name] = {
        "command": f"python tools/record.py {name}",
        "capabilities": {capability: sources[capability] for capability in sorted(sources)},
        "keys": keys or manifest.get(name, {}).get("keys", {}),
    }
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    if not manifest_path.exists() or manifest_path.read_text() != text:
        manifest_path.write_text(text)
    print(f"{name}: {len(arrays)} arrays, {len(data):,} bytes")


def lacking(capability: str) -> str:
    """Why this CPU cannot record a capability, or nothing."""
    if capability == WITHOUT_VNNI and cpu_flags() & {"avx512f", "avx_vnni"}:
        return "this CPU has more than AVX2"
    return "" if NEEDS[capability] in cpu_flags() else f"this CPU has no {NEEDS[capability]}"


def run(name: str, capability: str) -> tuple[Arrays, dict[str, Any], dict[str, str]]:
    """Call record() in a new process; return its arrays, where they come from, and what they are."""
    asked = NEEDS[capability] if capability == WITHOUT_VNNI else capability
    env = os.environ | {"ATEN_CPU_CAPABILITY": asked}
    done = subprocess.run([sys.executable, __file__, "--child", name], env=env, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} on {capability} failed:\n{done.stderr.decode()}")
    arrays = read_npz(done.stdout)
    about = json.loads(str(arrays.pop("about")))
    if about["source"]["capability"].lower() != asked:
        raise SystemExit(f"asked PyTorch for {asked}, it runs {about['source']['capability']}")
    return arrays, about["source"], about["keys"]


def child(name: str) -> None:
    """In the new process: record, and write the arrays to standard output."""
    warnings.filterwarnings("ignore", message=".*deprecated", category=UserWarning)
    import torch

    recorder = load(name)
    torch.backends.quantized.engine = "fbgemm"
    torch.set_num_threads(1)
    arrays = recorder.record()
    source = {
        "torch": torch.__version__,
        "engine": torch.backends.quantized.engine,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cpu": [flag for flag in FLAGS if flag in cpu_flags()],
    }
    about = json.dumps({"source": source, "keys": recorder.KEYS})
    sys.stdout.buffer.write(npz(arrays | {"about": np.array(about)}))


def load(name: str) -> Any:
    """The recorder's module."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module(f"recorders.{name}")
    finally:
        sys.path.pop(0)


def capabilities(name: str) -> tuple[str, ...]:
    """The capabilities that a recorder names, read without torch."""
    found: tuple[str, ...] = load(name).CAPABILITIES
    return found


def cpu_flags() -> set[str]:
    """What the CPU can do, from /proc/cpuinfo (Linux)."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("flags"):
            return set(line.split(":")[1].split())
    return set()


def npz(arrays: Arrays) -> bytes:
    """A compressed .npz; the same arrays give the same bytes: sorted names, no dates."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape))
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return file.getvalue()


def read_npz(data: bytes) -> Arrays:
    """The arrays of a .npz."""
    with np.load(io.BytesIO(data)) as arrays:
        return dict(arrays)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main(sys.argv[1:])
