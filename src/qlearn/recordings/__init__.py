"""PyTorch's own outputs, kept for the day its quantized operators are gone. ``make record`` writes them.

Each ``<name>.npz`` holds the arrays of one chapter. A key starts with the capability in lower case, as in
"avx2/question/out"; ``manifest()`` says for each file which PyTorch, CPU, engine and threads it comes from, and what
each array is.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["conformance", "load", "manifest"]


def load(name: str) -> Mapping[str, npt.NDArray[Any]]:
    """Read one recording: key -> array.

    Raises:
        ValueError: there is no recording of that name.
    """
    path = files(__name__) / f"{name}.npz"
    if not path.is_file():
        raise ValueError(f"name must be one of {', '.join(sorted(manifest()))}, got {name!r}")
    with path.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def manifest() -> dict[str, Any]:
    """For each recording: torch version, threads, command, capabilities with engine and CPU flags, and its keys."""
    found: dict[str, Any] = json.loads((files(__name__) / "manifest.json").read_text())
    return found


def conformance() -> dict[str, Any]:
    """The last run of ``make exact``: command, seed, versions, and a row for each operator, engine and capability."""
    found: dict[str, Any] = json.loads((files(__name__) / "conformance.json").read_text())
    return found
