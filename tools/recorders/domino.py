"""The domino of Chapters 10 and 11: one mistake in one layer, and how many of PyTorch's integers differ after it."""

from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

KINDS = ("avx2", "without_vnni")
DEPENDS = ("cpu",)
EVERY_RELEASE = False
KEYS = {
    "<network>/layers": "text (L,): names of the layers of resnet18 and mobilenet_v2, as qlearn.widgets.drawn has them",
    "<network>/ops": "text (L,): their operators",
    "<network>/elements": "int64 (L,): how many integers each has",
    "<network>/<scales>/checksums": "uint32 (L,): crc32 of PyTorch's codes of each layer, in the order (N, C, H, W)",
    "<network>/<scales>/top": "int64: index of the largest logit; <scales> is observed or twos",
    "<network>/<scales>/counts": "int32 (9, L, L): by mistake, the layer it is made in and each layer, how many "
    "of its integers differ, all other layers being PyTorch's own operators; -1 in the layer: not to be made there",
    "<network>/<scales>/logits": "int32 (9, L, 2): by mistake and layer, by how many codes a logit differs at most, "
    "and the index of the largest",
}


def record() -> dict[str, npt.NDArray[Any]]:
    """All arrays of this recording, from the running PyTorch."""
    import torch

    from qlearn.widgets import network

    arrays: dict[str, npt.NDArray[Any]] = {}
    for name in network.NETWORKS.values():
        for scales in network.SCALES:
            net = network.network(name, scales)
            right = network.all_layers(torch, net)
            codes = [right[step.name].int_repr().numpy() for step in net.steps]
            n = len(net)
            counts = np.zeros((len(network.NAMES), n, n), np.int32)
            logits = np.zeros((len(network.NAMES), n, 2), np.int32)
            logits[..., 1] = codes[-1].argmax()
            for m, layer in np.ndindex(len(network.NAMES), n):
                found = network.domino(torch, net, right, layer, network.NAMES[m])
                if found is None:
                    counts[m, layer, layer] = -1
                else:
                    counts[m, layer], logits[m, layer] = found["counts"], (found["most"], found["top"])
            arrays |= {
                f"{name}/layers": np.array([step.name for step in net.steps]),
                f"{name}/ops": np.array([step.op for step in net.steps]),
                f"{name}/elements": np.array([c.size for c in codes]),
                f"{name}/{scales}/checksums": np.array([crc32(c.tobytes()) for c in codes], np.uint32),
                f"{name}/{scales}/top": np.array(codes[-1].argmax()),
                f"{name}/{scales}/counts": counts,
                f"{name}/{scales}/logits": logits,
            }
    return arrays
