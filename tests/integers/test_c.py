"""c.py, c_text.py, c_functions.py, c_files.py: the C of a program compiled, run, taken apart, on other machines too."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from program_models import MACHINES, SHAPE, network
from qlearn import Machine, Network, QTensor
from qlearn.integers import Program
from qlearn.integers.c_files import FLAGS
from qlearn.integers.c_text import bytes_, loops, numbers
from qlearn.network import Step

BARE = "-mgeneral-regs-only"


def need(*programs: str) -> None:
    lacking = [program for program in programs if shutil.which(program) is None]
    if lacking:
        pytest.skip(f"{', '.join(lacking)} is not here; .ci/run installs what Debian has")


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program written out, one whose sums saturate."""
    found = tmp_path_factory.mktemp("c")
    Program.of(network(machine=MACHINES[0]), SHAPE).to_c(found)
    return found


def same(program: Program, options: tuple[str, ...] = ("-O1",)) -> None:
    """The C gives the program's codes, for drawn codes and the extreme ones."""
    need("cc")
    in_c, rng = program.compile(options), np.random.default_rng(1)
    for codes in (*rng.integers(0, 256, (3, *program.shape)), np.zeros(program.shape), np.full(program.shape, 255)):
        x = codes.astype(np.uint8)
        assert np.array_equal(in_c(x), program.run(x))


@pytest.mark.parametrize("machine", MACHINES, ids=str)
def test_as_the_program(machine: Machine) -> None:
    same(Program.of(network(machine=machine), SHAPE))


def test_images_together() -> None:
    same(Program.of(network(), (3, *SHAPE[1:])))


LAYERS = {
    "mul": Step("last", "mul", ("conv", "quant"), {"scale": 0.2, "zero_point": 99}),
    "mul, repeated": Step("last", "mul", ("conv", "pool"), {"scale": 0.2, "zero_point": 99}),
    "cat": Step("last", "cat", ("conv", "quant"), {"scale": 0.2, "zero_point": 99, "dim": 1}),
    "permute": Step("last", "permute", ("conv",), {"dims": (0, 2, 3, 1)}),
    "getitem": Step("last", "getitem", ("conv",), {"index": (slice(None), slice(0, 3, 2), Ellipsis, 3)}),
    "max_pool2d": Step("last", "max_pool2d", ("conv",), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "avg_pool2d": Step("last", "avg_pool2d", ("conv",), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "channel_shuffle": Step("last", "channel_shuffle", ("conv",), {"groups": 3}),
    "interpolate": Step("last", "interpolate", ("conv",), {"size": (5, 17), "mode": "nearest"}),
    "sigmoid": Step("last", "sigmoid", ("conv",), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_other_steps(name: str) -> None:
    """Groups and strides before each, and a weight with zero points."""
    rng = np.random.default_rng(3)
    weight = QTensor(rng.integers(-128, 128, (3, 1, 3, 3)), [0.01, 0.02, 0.004], [0, 5, -7], "qint8", axis=0)
    where = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 3}
    bias = rng.normal(size=3).astype(np.float32)
    conv = {"weight": weight, "bias": bias, "scale": 0.1, "zero_point": 131, **where}
    net = Network(
        [
            Step("quant", "quantize", ("x",), {"scale": 0.03, "zero_point": 128, "dtype": "quint8"}),
            Step("conv", "conv2d", ("quant",), conv),
            Step("pool", "adaptive_avg_pool2d", ("conv",), {"output_size": (1, 1)}),
            LAYERS[name],
        ],
        machine=Machine("fbgemm", "AVX2", 1),
    )
    same(Program.of(net, SHAPE))


def test_thresholds() -> None:
    """Biases so large that float32 has few numbers there: no line will do."""
    rng = np.random.default_rng(2)
    weight = QTensor(rng.integers(-128, 128, (12, 300)), 0.004, 0, "qint8")
    bias = rng.uniform(2500, 3900, 12).astype(np.float32)
    parameters = {"weight": weight, "bias": bias, "scale": 17.3, "zero_point": 3}
    net = Network(
        [
            Step("quant", "quantize", ("x",), {"scale": 0.03, "zero_point": 128, "dtype": "quint8"}),
            Step("fc", "linear", ("quant",), parameters),
        ],
        machine=Machine("onednn", "AVX2", 1),
    )
    program = Program.of(net, (64, 300))
    assert program.report().forms["thresholds"]
    same(program)


def test_vectors_are_checked(folder: Path) -> None:
    need("cc", "make")
    assert run(folder, "make", "-s", "check") == "2 inputs, 10 codes, 0 differ\n"
    text = (folder / "network.c").read_text()
    changed = re.sub(r"(Slope one_M\[\] = \{\n  )(\d)", r"\g<1>9\g<2>", text, count=1)
    assert changed != text
    wrong = folder.parent / "wrong"
    shutil.copytree(folder, wrong, ignore=shutil.ignore_patterns("*.o", "network_test"))
    (wrong / "network.c").write_text(changed)
    done = subprocess.run(["make", "-s", "check"], cwd=wrong, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and " 0 differ" not in done.stdout


@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3", "-Os"])
def test_nothing_undefined_and_no_floating_point(folder: Path, level: str) -> None:
    need("gcc", "nm", "objdump")
    run(folder, "gcc", *FLAGS, BARE, level, "-c", "network.c", "-o", "bare.o")
    assert run(folder, "nm", "-u", "bare.o") == ""
    code = run(folder, "objdump", "-d", "bare.o")
    registers = r"%[xyz]mm|%st\b|%mm\d"
    assert "network_run" in code and not re.search(registers, code)
    run(folder, "gcc", "-O3", "-c", "network.c", "-o", "vectors.o")  # it would take them
    assert re.search(registers, run(folder, "objdump", "-d", "vectors.o"))


def test_nothing_undefined_is_done(folder: Path, tmp_path: Path) -> None:
    """By the compiler's own watch over overflows, shifts and the ends of arrays."""
    need("gcc")
    watched = ("-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    (tmp_path / "a.c").write_text("int main(void) { return 0; }")
    if subprocess.run(["gcc", *watched, "a.c"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("gcc's sanitizers are not here")
    run(folder, "gcc", "-std=c99", *watched, "network.c", "network_test.c", "-o", str(tmp_path / "watched"))
    assert run(folder, str(tmp_path / "watched")) == "2 inputs, 10 codes, 0 differ\n"


def test_sources_have_no_float(folder: Path) -> None:
    code = re.sub(r"/\*.*?\*/|\"[^\"]*\"", "", (folder / "network.c").read_text(), flags=re.S)
    assert not re.search(r"\b(float|double|malloc|memcpy|memset)\b|\d\.\d", code)
    assert re.findall(r"#include.*", (folder / "network.h").read_text()) == ["#include <stdint.h>"]


@pytest.mark.parametrize(
    "compiler, emulator, general",
    [("arm-linux-gnueabi-gcc", "qemu-arm", BARE), ("riscv64-linux-gnu-gcc", "qemu-riscv64", "")],
    ids=["ARM", "RISC-V"],
)
def test_other_processors(folder: Path, tmp_path: Path, compiler: str, emulator: str, general: str) -> None:
    need(compiler, emulator, "make")
    shutil.copytree(folder, tmp_path / "c", ignore=shutil.ignore_patterns("*.o", "network_test"))
    root = f"/usr/{compiler.removesuffix('-gcc')}"
    settings = (f"CC={compiler}", f"GENERAL={general}", f"RUN={emulator} -L {root}")
    assert run(tmp_path / "c", "make", "-s", "check", *settings) == "2 inputs, 10 codes, 0 differ\n"


def test_cortex_m4(folder: Path) -> None:
    need("arm-none-eabi-gcc", "arm-none-eabi-nm")
    processor = ("-mcpu=cortex-m4", "-mthumb", "-Os")
    run(folder, "arm-none-eabi-gcc", *FLAGS, BARE, *processor, "-c", "network.c", "-o", "m4.o")
    assert run(folder, "arm-none-eabi-nm", "-u", "m4.o") == ""


def test_sizes_in_the_header(folder: Path) -> None:
    header = (folder / "network.h").read_text()
    for line in ("INPUT_SIZE 216", "OUTPUT_SIZE 5", "INPUT_LENGTH_2 9", "OUTPUT_LENGTH_1 5"):
        assert f"#define NETWORK_{line}\n" in header
    memory = int(re.findall(r"BYTES_OF_CODES (\d+)", header)[0])
    assert memory == 3 * 8 * 72  # one, two and their sum; later ones take their places


def test_names(tmp_path: Path) -> None:
    program = Program.of(network(), SHAPE)
    files = program.to_c(tmp_path, name="tiny", vectors=1)
    assert sorted(file.name for file in files) == ["Makefile", "tiny.c", "tiny.h", "tiny_test.c", "tiny_vectors.h"]
    with pytest.raises(ValueError, match="name must be a name in C, got 'my net'"):
        program.to_c(tmp_path, name="my net")
    need("cc")
    with pytest.raises(ValueError, match="codes must be uint8 of shape"):
        program.compile(("-O0",))(np.zeros(SHAPE, np.int64))


def test_strings_and_numbers(tmp_path: Path) -> None:
    """Every byte, also those that would make a trigraph, a digit after an escape, the ends of int32."""
    need("cc")
    values = np.concatenate([np.arange(256), np.frombuffer(b'??=??/\\"%d\x001234', np.uint8)]).astype(np.uint8)
    ends = [-(2**31), 2**31 - 1, 0]
    check = "int main(void) { long i, s = 0; for (i = 0; i < N; i++) s += b[i] != (uint8_t)n[i]; return s != 0; }"
    text = f"#include <stdint.h>\n#define N {len(values)}\n{bytes_('uint8_t', 'b', values)}"
    text += numbers("int32_t", "n", [*values, *ends]) + check
    (tmp_path / "a.c").write_text(text)
    run(tmp_path, "cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "a.c", "-o", "a")
    run(tmp_path, "./a")


def test_loops_are_merged() -> None:
    merged = loops((2, 3, 4), {"y": (12, 4, 1), "x": (12, 4, 1)}, "y[y] = x[x];")
    assert merged.count("for") == 1 and "i0 < 24" in merged
    apart: Any = loops((2, 3, 4), {"y": (12, 4, 1), "x": (1, 2, 6)}, "y[y] = x[x];")
    assert apart.count("for") == 3 and "x[i0 + i1 * 2 + i2 * 6]" in apart
