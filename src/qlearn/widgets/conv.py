"""The sliding window (Chapter 7): an image, a kernel, the products under the window, the integer they become."""

from __future__ import annotations

from typing import Any

import traitlets

from qlearn import recordings
from qlearn.widgets.base import Widget, module, within

FROM = "avx2"  # the recording; the capability changes nothing in a convolution


class SlidingWindow(Widget):
    """Step a 3 x 3 window over a quantized image; see its products, their sum and each engine's integer for it.

    ``engine``, ``kernel``, ``stride``, ``dilation`` and ``padding`` count along what was recorded, ``relu`` is 0 or 1,
    ``place`` is the output that is looked at, row by row, and ``mistake`` puts the code 0 into the padding. Recorded
    are PyTorch's integers of every combination.
    """

    _esm = module("conv.js")
    engine = traitlets.Int(0).tag(sync=True)
    kernel = traitlets.Int(0).tag(sync=True)
    stride = traitlets.Int(0).tag(sync=True)
    dilation = traitlets.Int(0).tag(sync=True)
    padding = traitlets.Int(1).tag(sync=True)
    relu = traitlets.Int(0).tag(sync=True)
    place = traitlets.Int(8).tag(sync=True)
    mistake = traitlets.Bool(False).tag(sync=True)
    engines = traitlets.List(traitlets.Unicode()).tag(sync=True)
    kernels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    strides = traitlets.List(traitlets.Int()).tag(sync=True)
    dilations = traitlets.List(traitlets.Int()).tag(sync=True)
    paddings = traitlets.List(traitlets.Int()).tag(sync=True)
    w_scales = traitlets.List(traitlets.Float()).tag(sync=True)  # of each kernel
    bias = traitlets.List(traitlets.Float()).tag(sync=True)  # of each kernel, float32
    parameters = traitlets.List().tag(sync=True)  # of x, scale and zero point; of the result, scale and zero point
    vnni = traitlets.Bool().tag(sync=True)  # of the CPU of the recording: whose kernels the engine x86 took
    x = traitlets.Bytes().tag(sync=True)  # uint8, 8 x 8
    weight = traitlets.Bytes().tag(sync=True)  # int8, kernels x 3 x 3
    codes = traitlets.Bytes().tag(
        sync=True
    )  # uint8, engines x relu x strides x dilations x paddings x kernels x 10 x 10

    def __init__(self, **traits: Any) -> None:
        found = {key.removeprefix(f"{FROM}/"): array for key, array in recordings.load("sliding_window").items()}
        names = ("engines", "kernels", "strides", "dilations", "paddings", "w_scales", "bias")
        x_scale, x_zero_point, scale, zero_point = found["parameters"].tolist()
        source = recordings.sources("sliding_window")[FROM]
        super().__init__(
            parameters=[x_scale, int(x_zero_point), scale, int(zero_point)],
            vnni=source["vnni"],
            **{name: found[name].tolist() for name in names},
            **{name: found[name].tobytes() for name in ("x", "weight", "codes")},
            **traits,
        )

    _recorded = within(
        engine=lambda window: window.engines,
        kernel=lambda window: window.kernels,
        stride=lambda window: window.strides,
        dilation=lambda window: window.dilations,
        padding=lambda window: window.paddings,
        relu=range(2),
        place=range(100),
    )

    def ask_torch(self, torch: Any, question: dict[str, Any]) -> dict[str, Any]:
        """The outputs of the question's kernel on each engine; None where the engine is missing."""
        x_scale, x_zero_point, scale, zero_point = self.parameters
        codes = torch.tensor(list(self.x), dtype=torch.uint8).reshape(1, 1, 8, 8)
        x = torch._make_per_tensor_quantized_tensor(codes, x_scale, x_zero_point)
        codes = torch.frombuffer(bytearray(self.weight), dtype=torch.int8).reshape(-1, 1, 3, 3)
        scales = torch.tensor(self.w_scales, dtype=torch.float64)
        zero_points = torch.zeros(len(scales), dtype=torch.int64)
        weight = torch._make_per_channel_quantized_tensor(codes, scales, zero_points, 0)
        stride, padding, dilation = ([question[name]] * 2 for name in ("stride", "padding", "dilation"))
        ops, backend = torch.ops.quantized, torch.backends.quantized
        operator = ops.conv2d_relu if question["relu"] else ops.conv2d
        before = backend.engine
        found: list[list[int] | None] = []
        try:
            for engine in self.engines:
                if engine not in backend.supported_engines:
                    found.append(None)
                    continue
                backend.engine = engine
                packed = ops.conv2d_prepack(weight, torch.tensor(self.bias), stride, padding, dilation, 1)
                out = operator(x, packed, scale, zero_point).int_repr()
                found.append(out[0, question["kernel"]].flatten().tolist())
        finally:
            backend.engine = before
        return {"codes": found}
