"""PyTorch's own outputs, kept for the day its quantized operators are gone. ``make record`` writes them.

Each ``<name>.npz`` holds the arrays of one subject, from several releases of PyTorch. A key starts with the kind of
machine, a capability in lower case as in "avx2/question/out", or "without_vnni". Equal arrays are stored once, and most
releases agree: under its key alone stands what the release of the book gave, under "key@2.13.0" what another one gave
that is new, and ``index.json``, in the same file, says for each key which array belongs to which releases.
``manifest()`` says of each recording, release and kind all that its arrays may depend on, and what each array is.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from qlearn.machine.releases import BOOK

__all__ = ["conformance", "load", "manifest", "releases", "sources"]

INDEX = "index.json"


def load(name: str, release: str = BOOK) -> Mapping[str, npt.NDArray[Any]]:
    """Read one recording of one release: key -> array.

    Args:
        name: of the recording, a key of ``manifest()``.
        release: of PyTorch, "2.14" or with any patch level; the recorded patch level is taken.

    Raises:
        TypeError: release is not a string.
        ValueError: there is no recording of that name, or none of that release.
    """
    version = _recorded(name, release)
    with (files(__name__) / f"{name}.npz").open("rb") as file, np.load(file) as arrays:
        index = json.loads(arrays[INDEX])
        return {key: arrays[member] for key, found in index.items() for member in found if version in found[member]}


def sources(name: str, release: str = BOOK) -> dict[str, Any]:
    """Where one release's arrays come from: the kind of machine -> what they may depend on.

    That is PyTorch's full version (torch), its capability, engine and threads, the C library (libc), the flags of the
    CPU that choose a kernel (cpu), the variables that told FBGEMM and oneDNN to use less of it (switches), and whether
    these two had AVX-512 VNNI (vnni). On which of them the arrays really depend is the recording's "depends" in the
    manifest.

    Raises:
        TypeError, ValueError: as ``load``.
    """
    version = _recorded(name, release)
    found: dict[str, Any] = manifest()[name]["releases"][version]
    return found


def releases(name: str) -> tuple[str, ...]:
    """The versions of PyTorch that gave a recording, oldest first, as in "2.14.1".

    Raises:
        ValueError: there is no recording of that name.
    """
    known = manifest()
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(sorted(known))}, got {name!r}")
    return tuple(sorted(known[name]["releases"], key=_minor))


def manifest() -> dict[str, Any]:
    """For each recording: command, keys, what its arrays depend on, and the sources of each release and kind."""
    found: dict[str, Any] = json.loads((files(__name__) / "manifest.json").read_text())
    return found


def conformance() -> dict[str, Any]:
    """The last run of ``make exact`` on each release, the book's first: its version, as in "2.14.1" -> the table.

    A table has the day it was written, the command, the seed, the versions, and a row for each operator, engine and
    capability; what differs for a reason that has a name is counted apart, under "known".
    """
    found: dict[str, Any] = json.loads((files(__name__) / "conformance.json").read_text())
    return found


def _recorded(name: str, release: str) -> str:
    """The recorded version of a release, or a ValueError that names what there is."""
    if not isinstance(release, str):
        raise TypeError(f'release must be a string, as in "2.14", got {release!r}')
    known = releases(name)
    for version in known:
        if _minor(version) == _minor(release):
            return version
    raise ValueError(f"release must be one that {name} was recorded with, {', '.join(known)}, got {release!r}")


def _minor(version: str) -> tuple[int, ...]:
    """Of "2.14.1+cu130": 2, 14; of what is no version: nothing."""
    parts = version.split(".")[:2]
    return tuple(map(int, parts)) if len(parts) == 2 and all(part.isdecimal() for part in parts) else ()
