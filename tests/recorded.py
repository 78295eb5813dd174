"""PyTorch's recorded outputs, and the machine that gave them: of which release, on which CPU."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from qlearn import Machine, recordings
from qlearn.machine.releases import BOOK, ZERO_POINT_FIRST, release_of


class Source(NamedTuple):
    """One recording of one release, on one kind of machine."""

    name: str
    release: str
    kind: str

    def __str__(self) -> str:
        return f"{self.release}-{self.kind}"

    @property
    def arrays(self) -> Mapping[str, Any]:
        """The arrays, by their keys without the kind."""
        return _arrays(*self)

    def machine(self, engine: str = "fbgemm", threads: int = 1) -> Machine:
        """Whose answers they are."""
        about = recordings.sources(self.name, self.release)[self.kind]
        return Machine(engine, about["capability"], threads, about["vnni"], about["torch"])


@functools.cache
def sources(name: str) -> list[Source]:
    """All that there are of one name."""
    releases = recordings.releases(name)
    return [Source(name, release, kind) for release in releases for kind in recordings.sources(name, release)]


def each(name: str) -> pytest.MarkDecorator:
    """The test runs for each of them, as its argument ``source``."""
    return pytest.mark.parametrize("source", sources(name), ids=str)


def two(name: str, *kinds: str) -> list[Source]:
    """Those of the book's release and of the one that adds the zero point first, which mutations are told by."""
    releases = (BOOK, ZERO_POINT_FIRST.first)
    return [s for s in sources(name) if release_of(s.release) in releases and s.kind in kinds]


@functools.cache
def _arrays(name: str, release: str, kind: str) -> Mapping[str, Any]:
    arrays = recordings.load(name, release)
    return {key.split("/", 1)[1]: array for key, array in arrays.items() if key.startswith(f"{kind}/")}
