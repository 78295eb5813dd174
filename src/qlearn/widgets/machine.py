"""The two paths (Chapter 8): which elements lie in a vector body and which in a tail, and what sum each gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets

from qlearn import recordings
from qlearn.machine import CAPABILITIES
from qlearn.widgets.base import RELEASES, Widget, module, release_trait, within


class TwoPaths(Widget):
    """A tensor (1, C, side, side) in memory and as an image, one pair of codes in all of its places.

    ``channels`` and ``side`` count along the recorded shapes, ``memory_format`` is 0 for contiguous and 1 for
    channels_last, ``capability`` counts along DEFAULT, AVX2, AVX512, ``release`` is "2.14", like all but one, or
    "2.13", ``pair`` counts along the recorded pairs of codes, ``place`` is the marked element, a position in memory.
    ``parameters`` are scale and zero point of both inputs and their sum. Recorded are the tails of PyTorch's sum in
    every shape, format and number of threads, and both sums of each pair.
    """

    _esm = module("machine.js")
    channels = traitlets.Int(1).tag(sync=True)
    side = traitlets.Int(4).tag(sync=True)
    memory_format = traitlets.Int(0).tag(sync=True)
    threads = traitlets.Int(1).tag(sync=True)
    capability = traitlets.Int(1).tag(sync=True)
    release = release_trait()
    pair = traitlets.Int(0).tag(sync=True)
    place = traitlets.Int(70).tag(sync=True)
    all_channels = traitlets.List(traitlets.Int()).tag(sync=True)
    sides = traitlets.List(traitlets.Int()).tag(sync=True)
    parameters = traitlets.List(traitlets.List()).tag(sync=True)  # 3 x (scale, zero point)
    pairs = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    values = traitlets.Bytes().tag(sync=True)  # uint8, releases x capabilities x pairs x (body, tail)
    counts = traitlets.Bytes().tag(sync=True)  # uint8, capabilities x channels x sides x formats x threads
    tails = traitlets.Bytes().tag(sync=True)  # int32 (start, stop), in the order of counts

    def __init__(self, **traits: Any) -> None:
        of_releases = [recordings.load("two_paths", release) for release in RELEASES]
        book, first = of_releases[0], CAPABILITIES[0].lower()

        def joined(key: str, *found: Any) -> Any:
            return np.concatenate([f[f"{name.lower()}/{key}"].ravel() for f in found for name in CAPABILITIES])

        super().__init__(
            all_channels=book[f"{first}/channels"].tolist(),
            sides=book[f"{first}/sides"].tolist(),
            parameters=[[s, int(z)] for s, z in book[f"{first}/parameters"].tolist()],
            pairs=book[f"{first}/pairs"].tolist(),
            values=joined("values", *of_releases).tobytes(),
            counts=joined("counts", book).astype(np.uint8).tobytes(),  # of every release, as a test has it
            tails=joined("tails", book).astype("<i4").tobytes(),
            **traits,
        )

    _recorded = within(
        channels=lambda paths: paths.all_channels,
        side=lambda paths: paths.sides,
        memory_format=range(2),
        threads=range(1, 5),
        capability=range(len(CAPABILITIES)),
        pair=lambda paths: paths.pairs,
        place=range(2**31),
    )

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        channels, side, codes = question["channels"], question["side"], question["pair"]
        layout = torch.channels_last if question["memory_format"] else torch.contiguous_format

        def filled(*shape: int) -> Any:
            inputs = [
                torch._make_per_tensor_quantized_tensor(torch.full(shape, code, dtype=torch.uint8), *own)
                for code, own in zip(codes, self.parameters, strict=False)
            ]
            a, b = (t.contiguous(memory_format=layout) if len(shape) == 4 else t for t in inputs)
            return torch.ops.quantized.add(a, b, *self.parameters[2]).int_repr()

        before = torch.get_num_threads()
        torch.set_num_threads(question["threads"])
        try:
            alone, image = filled(65), filled(1, channels, side, side)
        finally:
            torch.set_num_threads(before)
        body, tail = int(alone[0]), int(alone[64])
        in_memory = image.as_strided((image.numel(),), (1,)).numpy()
        edges = np.flatnonzero(np.diff(np.pad(in_memory == tail, 1).astype(np.int8))).reshape(-1, 2)
        return {
            "capability": torch.backends.cpu.get_cpu_capability(),
            "values": [body, tail],
            "tails": edges.tolist() if body != tail else None,
        }
