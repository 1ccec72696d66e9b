# SPDX-License-Identifier: Apache-2.0
"""Extents that follow from open extents are settled when the engine makes its plan.

Each function is traced with every extent open but the channels, then run at two sizes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from numpy.typing import NDArray
from paddle import nn
from paddle.nn import functional as F
from small_networks import dygraph

from qslim.exporters.engine_file import write_engine_file
from qslim.graph import evaluate
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import import_layer
from qslim.runtime import Session


# Functions, not lambdas: Paddle makes operators of x.shape where it finds the source of a function.
def adaptive_mean(x: Any) -> Any:
    return F.adaptive_avg_pool2d(x, (3, 5))


def adaptive_mean_of_one_axis(x: Any) -> Any:
    return F.adaptive_avg_pool2d(x, (None, 2))


def adaptive_mean_larger_than_the_image(x: Any) -> Any:
    return F.adaptive_avg_pool2d(x, (20, 16))


def adaptive_maximum(x: Any) -> Any:
    return F.adaptive_max_pool2d(x, (3, 5))


def pyramid_pooling(x: Any) -> Any:
    return F.interpolate(F.adaptive_avg_pool2d(x, (3, 3)), size=paddle.shape(x)[2:], mode="bilinear")


def arange(x: Any) -> Any:
    return x + paddle.arange(x.shape[2]).astype("float32").reshape([1, 1, -1, 1])


def arange_of_floats(x: Any) -> Any:
    return x + paddle.arange(0, x.shape[3], dtype="float32")


def arange_by_steps(x: Any) -> Any:
    return x[:, 0, 0, 0], paddle.arange(0, x.shape[3], 2), paddle.arange(x.shape[3] - 1, -1, -1)


def meshgrid(x: Any) -> Any:
    height, width = x.shape[2], x.shape[3]
    rows, columns = paddle.meshgrid(
        paddle.arange(height, dtype="float32") + 0.5, paddle.arange(width, dtype="float32")
    )
    return x + paddle.stack([rows, columns, rows], 0).unsqueeze(0)


def sinusoids(x: Any) -> Any:
    places = paddle.arange(0, x.shape[2], dtype="float32").unsqueeze(1)
    angles = places * paddle.exp(paddle.arange(0, 4, 2, dtype="float32"))
    return x.mean([1, 3]).unsqueeze(-1) + paddle.sin(angles) + paddle.cos(angles)


def triu(x: Any) -> Any:
    return paddle.triu(x, 1)


def tril_of_ones(x: Any) -> Any:
    mask = paddle.tril(paddle.ones([x.shape[2], x.shape[3]]), -1)
    return paddle.where(mask > 0, x, paddle.full_like(x, -1e4))


def full_of_a_shape(x: Any) -> Any:
    return x + paddle.full([x.shape[0], 1, x.shape[2], 1], 2.5) + paddle.zeros_like(x)


def eye(x: Any) -> Any:
    return paddle.matmul(paddle.eye(x.shape[2]), x)


def pad_to_a_multiple(x: Any) -> Any:
    return F.pad(x, [0, (4 - x.shape[3] % 4) % 4, 0, (4 - x.shape[2] % 4) % 4])


def tile(x: Any) -> Any:
    return paddle.tile(x[:, :, :1], [1, 1, x.shape[2], 1])


def interpolate_to_a_computed_size(x: Any) -> Any:
    return F.interpolate(x, size=[x.shape[2] * 2, x.shape[3] + 1], mode="bilinear")


def window_partition(x: Any) -> Any:
    windows = x.reshape([x.shape[0], 3, x.shape[2] // 3, 3, x.shape[3] // 3, 3])
    return windows.transpose([0, 2, 4, 3, 5, 1])


def set_value_of_a_channel(x: Any) -> Any:
    y = x * 1.0
    y[:, 0] = 0.5
    return y


def set_value_of_a_block(x: Any) -> Any:
    y = x * 1.0
    y[:, :, 1:3, ::2] = x[:, :, 0:2, ::2]
    return y


def set_value_at_the_end(x: Any) -> Any:
    y = x * 1.0
    y[..., -1] = y[..., 0] + 1
    y[:, :, -3:-1] = x[:, :, :2].mean()
    return y


def set_value_backwards(x: Any) -> Any:
    y = x * 1.0
    y[:, :, ::-1] = x
    y[:, :, 6:1:-2, 1] = x[:, :, 0:3, 0]
    return y


def set_value_of_a_half(x: Any) -> Any:
    y = x * 1.0
    height = x.shape[2]
    y[:, :, height // 2 :] = 0.0
    y[:, :, 1 : height - 1] = x[:, :, : height - 2]
    return y


def set_value_of_integers(x: Any) -> Any:
    y = (x * 10).astype("int64")
    y[0] = 7
    y[:, 1, 2:4] = paddle.to_tensor([1, 2]).reshape([2, 1])
    return y


def index_put_by_a_mask(x: Any) -> Any:
    y = x * 1.0
    y[y > 0.5] = 0.0
    return y


def index_put_by_a_list(x: Any) -> Any:
    y = x * 1.0
    y[:, [0, -1]] = 0.25
    return y


class UpTo(nn.Layer):
    """A transposed convolution to the size of an earlier image."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2D(3, 4, 3, stride=2, padding=1)
        self.up = nn.Conv2DTranspose(4, 5, 3, stride=2, padding=1)

    def forward(self, x: Any) -> Any:
        return self.up(self.down(x), output_size=x.shape[2:])


class _Takes1(nn.Layer):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


_FUNCTIONS = [
    adaptive_mean, adaptive_mean_of_one_axis, adaptive_mean_larger_than_the_image, adaptive_maximum,
    pyramid_pooling, arange, arange_of_floats, arange_by_steps, meshgrid, sinusoids, triu, tril_of_ones,
    full_of_a_shape, eye, pad_to_a_multiple, tile, interpolate_to_a_computed_size, window_partition,
    set_value_of_a_channel, set_value_of_a_block, set_value_at_the_end, set_value_backwards,
    set_value_of_a_half, set_value_of_integers, index_put_by_a_mask, index_put_by_a_list, UpTo,
]  # fmt: skip


def _flat(value: Any) -> list[NDArray[Any]]:
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in _flat(item)]
    return [value.numpy()]


@pytest.mark.parametrize("function", _FUNCTIONS, ids=lambda function: function.__name__)
def test_open_extents(function: Callable[..., Any]) -> None:
    paddle.seed(0)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 3, *size)).astype(np.float32) for size in ((9, 12), (15, 9))]
    with dygraph():
        net = UpTo() if function is UpTo else _Takes1(function)
        net.eval()
        spec = [paddle.static.InputSpec([None, 3, None, None], "float32", "x")]
        graph = import_layer(net, spec, legacy=False).graph
        expected = [_flat(net(paddle.to_tensor(array))) for array in arrays]
    assert [node.op_type for node in graph.nodes if node.domain] == []
    session, prepared = Session(graph, num_threads=2), prepare_for_runtime(graph)
    for array, outputs in zip(arrays, expected):
        values = evaluate(prepared, {"x": array})
        for got in (session.run({"x": array}), [values[name] for name in prepared.outputs]):
            for a, b in zip(got, outputs):
                assert (a.dtype, a.shape) == (b.dtype, b.shape)
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # sums in another order


def test_a_note_says_which_extents_to_fix(tmp_path: Path) -> None:
    class Volumes(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(3, 4, 1)

        def forward(self, x: Any) -> Any:
            return F.max_pool3d(self.conv(x).unsqueeze(1), 2)

    with dygraph():
        spec = [paddle.static.InputSpec([None, 3, None, None], "float32", "x")]
        graph = import_layer(Volumes(), spec, legacy=False).graph
    written = write_engine_file(graph, tmp_path / "model.qslim")
    (note,) = written.notes
    assert "paddle.pool3d (its input has shape [?, 1, 4, ?, ?]: fix all extents but the batch" in note


def test_a_mask_of_other_axes_is_refused() -> None:
    class Masked(nn.Layer):
        def forward(self, x: Any) -> Any:
            y = x * 1.0
            y[:, 0, x[0, 0] > 0] = 0.0  # Paddle traces this with the mask on the wrong axes
            return y + 0.0

    with dygraph():
        spec = [paddle.static.InputSpec([None, 3, 6, 8], "float32", "x")]
        graph = import_layer(Masked(), spec, legacy=False).graph
    with pytest.raises(ValueError, match=r"no kernel for: paddle\.index_put"):
        Session(graph)
