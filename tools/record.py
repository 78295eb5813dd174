"""Write PyTorch's own outputs to src/qlearn/recordings: python tools/record.py [names...]

Each tools/recorders/<name>.py says of which kinds of machine it records (``KINDS``), what its keys mean (``KEYS``, by
prefix), on what its arrays depend beside release and kind (``DEPENDS``, of "cpu" and "libc"), whether every release is
asked (``EVERY_RELEASE``) or the book's alone, and has ``record()``, which returns the arrays. That runs once for each
kind in a process of its own, since PyTorch reads ATEN_CPU_CAPABILITY when it starts. A kind that this CPU cannot be
is skipped, and what was recorded of it on another machine stays, like the arrays of other releases. The files do not
change when the arrays do not. ``qlearn.recordings`` says how they are stored.
"""

import importlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.machine import _cpu
from qlearn.machine.releases import BOOK, release_of
from qlearn.recordings import INDEX
from recorders import SWITCHES, switched

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS = ROOT / "src" / "qlearn" / "recordings"
MANIFEST = RECORDINGS / "manifest.json"
WITHOUT_VNNI = "without_vnni"  # AVX2, and no more for FBGEMM and oneDNN, by these switches where the CPU has more
CAPABILITY = {"default": "DEFAULT", "avx2": "AVX2", "avx512": "AVX512", WITHOUT_VNNI: "AVX2"}  # of a kind of machine
NEEDS = {"DEFAULT": "sse4_1", "AVX2": "avx2", "AVX512": "avx512f"}  # capability -> flag of the CPU
FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni")  # those that choose a kernel; of AMX, see environment()

Arrays = dict[str, npt.NDArray[Any]]
Source = dict[str, Any]


def main(names: list[str]) -> None:
    """Record the named recorders, or all that this release is asked for."""
    known = sorted(path.stem for path in (ROOT / "tools" / "recorders").glob("[a-z]*.py"))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"no recorder named {', '.join(unknown)}; there are {', '.join(known)}")
    release = torch_version()
    for name in names or [name for name in known if load(name).EVERY_RELEASE or release_of(release) == BOOK]:
        update(name, release)


def torch_version() -> str:
    """Of the installed torch, without its build: "2.14.1"."""
    return version("torch").partition("+")[0]


def update(name: str, release: str) -> None:
    """Run one recorder for each kind that this CPU can be; write its .npz and its entry in the manifest."""
    path, recorder = RECORDINGS / f"{name}.npz", load(name)
    fresh: Arrays = {}
    sources: dict[str, Source] = {}
    for kind in recorder.KINDS:
        reason = lacking(kind, recorder.DEPENDS)
        if reason:
            print(f"{name}, {release}: {kind} skipped, {reason}")
            continue
        arrays, sources[kind] = run(name, kind)
        fresh |= {f"{kind}/{key}": array for key, array in arrays.items()}
    recorded = read(path.read_bytes()) if path.exists() else {}
    kept = {key: array for key, array in recorded.get(release, {}).items() if key.split("/")[0] not in sources}
    data = packed(recorded | {release: kept | fresh})
    write(path, data)
    manifest = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    known = manifest.get(name, {}).get("releases", {})
    manifest[name] = {
        "command": f"make record NAMES={name}",
        "depends": list(recorder.DEPENDS),
        "keys": recorder.KEYS,
        "releases": known | {release: known.get(release, {}) | sources},
    }
    write(MANIFEST, (in_lines(manifest) + "\n").encode())
    print(f"{name}, {release}: {len(fresh)} arrays; {len(data):,} bytes with the other releases", flush=True)


def write(path: Path, data: bytes) -> None:
    """Write a file, unless it is so already."""
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def lacking(kind: str, depends: tuple[str, ...]) -> str:
    """Why this CPU, as the environment lets it be used, cannot be a kind of machine; or nothing."""
    needed = NEEDS[CAPABILITY[kind]]
    if needed not in cpu_flags():
        return f"this CPU has no {needed}"
    if "cpu" in depends and kind != WITHOUT_VNNI and not vnni():
        return "FBGEMM and oneDNN have no AVX-512 VNNI here"
    return ""


def run(name: str, kind: str) -> tuple[Arrays, Source]:
    """Call record() in a new process; return its arrays and where they come from."""
    env = os.environ | environment(kind)
    done = subprocess.run([sys.executable, __file__, "--child", name], env=env, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} of {kind} failed:\n{done.stderr.decode()}")
    arrays = read_npz(done.stdout)
    source: Source = json.loads(str(arrays.pop("source")))
    if source["capability"] != CAPABILITY[kind]:
        raise SystemExit(f"asked PyTorch for {CAPABILITY[kind]}, it runs {source['capability']}")
    return arrays, source


def environment(kind: str) -> dict[str, str]:
    """The variables that make PyTorch, FBGEMM and oneDNN a kind of machine."""
    lesser = SWITCHES if kind == WITHOUT_VNNI else _cpu.without_amx()
    return {"ATEN_CPU_CAPABILITY": CAPABILITY[kind].lower()} | lesser


def child(name: str) -> None:
    """In the new process: record, and write the arrays to standard output."""
    warnings.filterwarnings("ignore", message=".*deprecated", category=UserWarning)
    import torch

    recorder = load(name)
    torch.backends.quantized.engine = "fbgemm"
    torch.set_num_threads(1)
    source = {
        "torch": torch.__version__,
        "engine": torch.backends.quantized.engine,
        "threads": torch.get_num_threads(),
        "capability": capability_of(torch),
        "cpu": [flag for flag in FLAGS if flag in cpu_flags()],
        "switches": {name: os.environ[name] for name in SWITCHES if name in os.environ},
        "vnni": vnni(),
        "libc": " ".join(platform.libc_ver()),
    }
    sys.stdout.buffer.write(npz(recorder.record() | {"source": np.array(json.dumps(source))}))


def capability_of(torch: Any) -> str:
    """What PyTorch runs with; every release says it here, those up to 2.7 in their own words for DEFAULT."""
    found = re.search("CPU capability usage: (.*)", torch.__config__.show())
    return {"NO AVX": "DEFAULT"}.get(found[1], found[1]) if found else "unknown"


def load(name: str) -> Any:
    """The recorder's module, which needs no torch to be read."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module(f"recorders.{name}")
    finally:
        sys.path.pop(0)


def cpu_flags() -> set[str]:
    """What the CPU can do, from /proc/cpuinfo (Linux)."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("flags"):
            return set(line.split(":")[1].split())
    return set()


def vnni() -> bool:
    """Whether FBGEMM and oneDNN take their AVX-512 VNNI kernels: the CPU has it, and no switch forbids it."""
    return "avx512_vnni" in cpu_flags() and not switched()


# The files


def packed(releases: Mapping[str, Arrays]) -> bytes:
    """The .npz of all releases: equal arrays once, the book's under their key, others under key@version."""
    members: Arrays = {}
    stored: dict[tuple[str, tuple[int, ...], bytes], str] = {}  # an array's contents -> its member
    index: dict[str, dict[str, list[str]]] = {}  # key -> member -> releases
    for release in sorted(releases, key=by_age):
        for key, array in sorted(releases[release].items()):
            name = key if release_of(release) == BOOK else f"{key}@{release}"
            contents = (array.dtype.str, array.shape, array.tobytes())
            member = stored.setdefault(contents, name)
            members[member] = array
            index.setdefault(key, {}).setdefault(member, []).append(release)
    return npz(members, {INDEX: json.dumps(index, indent=0, sort_keys=True)})


def by_age(release: str) -> tuple[bool, list[int]]:
    """Sorts the book's release first, the others by age."""
    return release_of(release) != BOOK, [int(part) for part in release.split(".")]


def read(data: bytes) -> dict[str, Arrays]:
    """The arrays of each release of a .npz that ``packed`` made."""
    found: dict[str, Arrays] = {}
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    for key, members in json.loads(arrays[INDEX]).items():
        for member, releases in members.items():
            for release in releases:
                found.setdefault(release, {})[key] = arrays[member]
    return found


def npz(arrays: Arrays, texts: Mapping[str, str] | None = None) -> bytes:
    """A compressed .npz; the same arrays give the same bytes: sorted names, no dates."""
    members = {name: text.encode() for name, text in (texts or {}).items()}
    for name, array in arrays.items():
        file = io.BytesIO()
        np.lib.format.write_array(file, np.ascontiguousarray(array).reshape(array.shape))
        members[f"{name}.npy"] = file.getvalue()
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(info, members[name], zipfile.ZIP_DEFLATED, 9)
    return whole.getvalue()


def read_npz(data: bytes) -> Arrays:
    """The arrays of a .npz."""
    with np.load(io.BytesIO(data)) as arrays:
        return dict(arrays)


def in_lines(manifest: Mapping[str, Any]) -> str:
    """The manifest as JSON, the source of each kind on one line."""
    text = json.dumps(manifest, indent=2, sort_keys=True)
    return re.sub(r"\{[^{}]*(\{[^{}]*\}[^{}]*)?\"vnni\"[^{}]*\}", lambda found: " ".join(found[0].split()), text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main(sys.argv[1:])
