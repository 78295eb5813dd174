"""import qlearn needs NumPy alone."""

import subprocess
import sys
from pathlib import Path

BLOCK = """
import sys, time
for name in ("torch", "anywidget", "ipywidgets", "traitlets", "matplotlib"):
    sys.modules[name] = None  # importing it raises ImportError
import numpy
before = set(sys.modules)
start = time.perf_counter()
import qlearn
import qlearn.recordings
seconds = time.perf_counter() - start
q = qlearn.quantize_per_tensor([0.1, 0.2], 0.1, 3, "quint8")
assert qlearn.add(q, q, 0.2, 3).dequantize().shape == (2,)
assert len(qlearn.recordings.load("elementwise")) > 0
print(seconds, *sorted(set(sys.modules) - before))
"""


def test_import_needs_numpy_alone(record_property: object) -> None:
    """In an interpreter where torch and the widget libraries cannot be imported."""
    command = [sys.executable, "-c", BLOCK]
    runs = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(3)]
    assert all(run.returncode == 0 for run in runs), runs[0].stderr
    seconds = min(float(run.stdout.split()[0]) for run in runs)
    loaded = {name.split(".")[0] for name in runs[0].stdout.split()[1:]}
    ours = {name for name in loaded if name not in sys.stdlib_module_names}
    assert ours == {"numpy", "qlearn"}
    record_property("import qlearn, seconds", seconds)  # type: ignore[operator]
    print(f"import qlearn after NumPy: {seconds:.3f} s; 0.2 s is the aim")


def test_import_loads_no_torch_and_no_widgets() -> None:
    """In an interpreter where they can be imported."""
    code = "import sys, qlearn; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "anywidget", "ipywidgets", "traitlets", "matplotlib", "qlearn.widgets"} & set(loaded)


def test_is_typed() -> None:
    import qlearn

    assert (Path(qlearn.__file__).parent / "py.typed").exists()
