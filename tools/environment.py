"""An environment for one release of torch: python tools/environment.py 2.4.1  makes .venv-2.4.1

A maintainer's tool, for recordings and conformance runs of releases that the book does not run on (Linux, x86-64).
torch comes from PyTorch's index of CPU builds where that can be had. Elsewhere PyPI has it, for most releases as a CUDA
build, which needs gigabytes of libraries that nothing here calls: it is installed without them, and ``stub`` puts a
library of empty functions in the place of each, for which gcc and binutils are needed. torch up to 2.0 needs a Python
of 3.11 or older.
"""

import ctypes
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
IMPORTED = ("typing_extensions", "sympy", "networkx", "jinja2", "fsspec", "filelock", "setuptools")  # by torch


def make(release: str) -> Path:
    """The environment's folder, made unless it is there and whole."""
    folder = ROOT / f".venv-{release}"
    done = folder / "installed"
    if done.exists():
        return folder
    print(f"Installing torch {release} into {folder.name}. Some minutes, once.", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet"]
    subprocess.run([*pip, *IMPORTED, numpy_of(release)], check=True)
    torch = ["--no-deps", f"torch=={release}"]
    first = subprocess.run(
        [*pip, "--retries", "0", "--timeout", "20", "--index-url", CPU_BUILDS, *torch], capture_output=True, check=False
    )
    if first.returncode:
        print("PyTorch's index of CPU builds is out of reach, or has none; taking torch from PyPI.", flush=True)
        subprocess.run([*pip, "--no-cache-dir", *torch], check=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    for library in stub(packages):
        print(f"a stub in the place of {library}")
    found = subprocess.run(
        [folder / "bin" / "python", "-c", "import torch; print(torch.__version__)"], stdout=subprocess.PIPE, check=True
    )
    done.write_bytes(found.stdout)
    return folder


def numpy_of(release: str) -> str:
    """The NumPy for which a torch was built: the first to know NumPy 2 is 2.3."""
    major, minor = (int(part) for part in release.split(".")[:2])
    return "numpy<2" if (major, minor) < (2, 3) else "numpy"


# Stubs


def stub(packages: Path) -> list[str]:
    """Make a library for every one that torch is linked with and that is not there; return their names.

    They lie beside torch's own, where these look first. The first holds all functions that torch does not version, and
    the others, which hold those of their own version, are linked with it.
    """
    torch = [*packages.glob("torch/lib/*.so*"), *packages.glob("torch/_C*.so"), *packages.glob("*.libs/*.so*")]
    missing = [name for name in needed(torch) if not is_there(name, torch)]
    if not missing:
        return []
    absent, versions = undefined(torch), versions_of(torch)
    first, folder = missing[0], packages / "torch" / "lib"
    for library in missing:
        own = {version: absent.pop(version, set()) for version in sorted(versions[library])}
        if library == first:
            own[""] = absent.pop("", set())
        build(folder / library, own, None if library == first else folder / first)
    return missing


def needed(libraries: Iterable[Path]) -> list[str]:
    """The names of the libraries with which these are linked."""
    found = (re.findall(r"\(NEEDED\).*\[(.*)\]", said("readelf", "-d", path)) for path in libraries)
    return list(dict.fromkeys(name for names in found for name in names))


def is_there(name: str, libraries: Iterable[Path]) -> bool:
    """Whether a library is one of torch's or the system's; the latter is opened, for ``undefined`` to see into it."""
    if name in {path.name for path in libraries}:
        return True
    try:
        ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def undefined(libraries: Iterable[Path]) -> dict[str, set[str]]:
    """Version -> the symbols that these libraries want and neither they nor the system nor Python define."""
    process = ctypes.CDLL(None)
    wanted, defined = defaultdict(set), set()
    for path in libraries:
        for line in said("nm", "-D", "--with-symbol-versions", path).splitlines():
            kind, symbol = line.split()[-2:]
            name, _, version = symbol.partition("@")
            if kind == "U":
                wanted[version.lstrip("@")].add(name)
            elif kind not in "wv":
                defined.add(name)
    return {
        version: {name for name in names - defined if not hasattr(process, name)} for version, names in wanted.items()
    }


def versions_of(libraries: Iterable[Path]) -> dict[str, set[str]]:
    """Library -> the versions of its symbols that these want."""
    found = defaultdict(set)
    for path in libraries:
        library = ""
        for line in said("readelf", "-V", path).splitlines():
            if file := re.search(r"File: (\S+)", line):
                library = file[1]
            elif library and (name := re.search(r"Name: (\S+) +Flags", line)):
                found[library].add(name[1])
            elif not line.strip():
                library = ""
    return found


def build(path: Path, versions: dict[str, set[str]], linked: Path | None) -> None:
    """A library with these functions, by version; each returns 0, but for the number of GPUs, which is an error."""
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder) / "stub.c", Path(folder) / "stub.map"
        names = sorted(set().union(*versions.values()))
        source.write_text(
            "".join(f"long {name}() {{ return {100 if 'DeviceCount' in name else 0}; }}\n" for name in names)
        )
        script.write_text(
            "".join(
                f"{version} {{ global: {' '.join(f'{name};' for name in sorted(own))} }};\n"
                for version, own in versions.items()
                if version
            )
        )
        command = ["gcc", "-w", "-shared", "-fPIC", "-fno-builtin", f"-Wl,-soname,{path.name}", "-o", str(path)]
        command += [str(source)]
        command += [f"-Wl,--version-script={script}"] if any(versions) else []
        command += ["-Wl,--no-as-needed", str(linked), "-Wl,-rpath,$ORIGIN"] if linked else []
        subprocess.run(command, check=True)


def said(*command: str | Path) -> str:
    """What a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    print(make(sys.argv[1]) / "bin" / "python")
