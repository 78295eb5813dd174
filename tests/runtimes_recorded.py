"""What ONNX Runtime and LiteRT said, recorded by tools/record_runtimes.py."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from runtimes_cases import Case

PATH = Path(__file__).parent / "runtimes" / "runtimes.npz"


def recorded() -> Iterator[tuple[Case, Any]]:
    """Each case, and the answer."""
    with np.load(PATH) as arrays:
        for entry in json.loads(str(arrays["about"]))["cases"]:
            yield Case(entry["operator"], entry["runtime"], entry["p"], entry["rows"]), arrays[entry["key"]]


def provenance() -> dict[str, Any]:
    """The versions, and the CPU."""
    with np.load(PATH) as arrays:
        return dict(json.loads(str(arrays["about"]))["provenance"])
