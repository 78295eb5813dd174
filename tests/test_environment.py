"""tools/environment.py: what a release needs, and libraries of empty functions for those that are not there."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import environment


def stubbed(packages: Path) -> list[str]:
    """``environment.stub`` in a process of its own: libraries that this one has opened could hold what is wanted."""
    code = f"import pathlib, environment; print(*environment.stub(pathlib.Path({str(packages)!r})))"
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_numpy() -> None:
    assert [environment.numpy_of(release) for release in ("1.13.1", "2.2.2")] == ["numpy<2"] * 2
    assert [environment.numpy_of(release) for release in ("2.3.0", "2.14.1")] == ["numpy"] * 2


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("readelf")), reason="gcc and binutils are not installed")
def test_stub(tmp_path: Path) -> None:
    """A library linked with two that are gone, one of them with versions, loads; their functions return 0."""
    folder = tmp_path / "torch" / "lib"
    folder.mkdir(parents=True)
    sources = {
        "libgone.so.1": "long plain() { return 7; } long cudaGetDeviceCount() { return 0; }",
        "libversioned.so.2": "long old() { return 8; }",
        "libtorch_test.so": "long plain(); long old(); long cudaGetDeviceCount(); long strlen(char*);"
        'long answer() { return 10 * plain() + old() + strlen("abc"); } long gpus() { return cudaGetDeviceCount(); }',
    }
    (tmp_path / "versions").write_text("VERSION_2 { global: old; };")
    gone = [folder / name for name in list(sources)[:2]]
    extra = {
        "libversioned.so.2": [f"-Wl,--version-script={tmp_path / 'versions'}"],
        "libtorch_test.so": [*gone, "-Wl,-rpath,$ORIGIN", "-Wl,-z,now"],
    }
    for name, source in sources.items():
        path = tmp_path / "source.c"
        path.write_text(source)
        command = ["gcc", "-w", "-shared", "-fPIC", "-fno-builtin", f"-Wl,-soname,{name}", "-o", folder / name, path]
        subprocess.run([*command, *extra.get(name, [])], check=True)
    for path in gone:
        path.unlink()
    with pytest.raises(OSError, match=r"libgone\.so\.1"):
        ctypes.CDLL(str(folder / "libtorch_test.so"))
    assert stubbed(tmp_path) == ["libgone.so.1", "libversioned.so.2"]
    code = (
        f"import ctypes; found = ctypes.CDLL({str(folder / 'libtorch_test.so')!r}); print(found.answer(), found.gpus())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )  # no torch beside it
    assert done.stdout.split() == ["3", "100"], done.stderr
    assert stubbed(tmp_path) == []
