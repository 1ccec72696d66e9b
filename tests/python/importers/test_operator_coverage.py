# SPDX-License-Identifier: Apache-2.0
"""One small network for each operator that people export: imported, it computes what Paddle does.

Both by the definitions in ``qslim.graph.operators`` and by the engine, whole batches and dynamic extents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Union

import numpy as np
import onnx
import paddle
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from paddle import nn
from paddle.nn import functional as F
from paddle.vision.ops import DeformConv2D
from small_networks import dygraph

from qslim.exporters import export_onnx
from qslim.graph import evaluate
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import import_layer
from qslim.runtime import Session

# Extents of one image, or those with a dtype and the number of its values; the batch comes on top.
_Spec = Union[tuple[int, ...], tuple[tuple[int, ...], str, int]]
_Network = Union[Callable[..., Any], type[nn.Layer]]
_IMAGE = (3, 9, 11)
_IDS = ((4,), "int64", 5)


class _Takes1(nn.Layer):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, a: Any) -> Any:
        return self.function(a)


class _Takes2(_Takes1):
    def forward(self, a: Any, b: Any) -> Any:
        return self.function(a, b)


class _Recurrent(nn.Layer):
    """Outputs and final states of two layers in both directions."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.cells = kind(6, 4, num_layers=2, direction="bidirect")

    def forward(self, x: Any) -> Any:
        y, states = self.cells(x)
        return (y, *states) if isinstance(states, (tuple, list)) else (y, states)


class _Deformable(nn.Layer):
    """Deformable convolution of the second kind, or of the first one without masks."""

    def __init__(self, groups: int = 1, stride: int = 1, has_mask: bool = True) -> None:
        super().__init__()
        window = {"padding": 1, "stride": stride}
        self.offsets = nn.Conv2D(4, 18 * groups, 3, **window)
        self.mask = nn.Conv2D(4, 9 * groups, 3, **window) if has_mask else None
        self.conv = DeformConv2D(4, 6, 3, **window, deformable_groups=groups, groups=groups)

    def forward(self, x: Any) -> Any:
        mask = None if self.mask is None else F.sigmoid(self.mask(x))
        return self.conv(x, self.offsets(x) * 4, mask)


class _ClassToken(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.token = self.create_parameter([1, 1, 4])

    def forward(self, x: Any) -> Any:
        return paddle.concat([self.token.expand([x.shape[0], -1, -1]), x], 1)


_FUNCTIONS: dict[str, tuple[Callable[..., Any], list[_Spec]]] = {
    # windows and layouts
    "pad reflect": (lambda x: F.pad(x, [1, 2, 3, 0], mode="reflect"), [_IMAGE]),
    "pad replicate": (lambda x: F.pad(x, [1, 2, 3, 0], mode="replicate"), [_IMAGE]),
    "pad circular": (lambda x: F.pad(x, [1, 2, 3, 0], mode="circular"), [_IMAGE]),
    "pad NHWC": (lambda x: F.pad(x, [1, 1, 2, 2], data_format="NHWC"), [_IMAGE]),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, [4, 7]), [_IMAGE]),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, [5, 3]), [_IMAGE]),
    "adaptive_avg_pool2d larger": (lambda x: F.adaptive_avg_pool2d(x, [13, 17]), [_IMAGE]),
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 3, 2, 1), [(3, 17)]),
    "avg_pool3d": (lambda x: F.avg_pool3d(x, 3, 2, 1), [(2, 5, 6, 7)]),
    "max_pool3d": (lambda x: F.max_pool3d(x, [2, 3, 1], 2, ceil_mode=True), [(2, 5, 6, 7)]),
    "adaptive_avg_pool3d": (lambda x: F.adaptive_avg_pool3d(x, [2, 3, 4]), [(2, 5, 6, 7)]),
    "interpolate bicubic": (lambda x: F.interpolate(x, size=[7, 20], mode="bicubic"), [_IMAGE]),
    "interpolate bicubic align_corners": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True),
        [_IMAGE],
    ),
    "interpolate linear": (lambda x: F.interpolate(x, size=[20], mode="linear", data_format="NCW"), [(3, 9)]),
    "interpolate trilinear": (
        lambda x: F.interpolate(x, size=[4, 8, 9], mode="trilinear", data_format="NCDHW"),
        [(2, 5, 6, 7)],
    ),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), [(8, 3, 5)]),
    "pixel_shuffle NHWC": (lambda x: F.pixel_shuffle(x, 2, "NHWC"), [(3, 5, 8)]),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), [(2, 4, 6)]),
    "unfold": (lambda x: F.unfold(x, 3, 2, 1), [_IMAGE]),
    "grid_sample": (lambda x, g: F.grid_sample(x, g), [(2, 5, 6), (4, 7, 2)]),
    "grid_sample reflection": (
        lambda x, g: F.grid_sample(x, g, "nearest", "reflection", align_corners=False),
        [(2, 5, 6), (4, 7, 2)],
    ),
    "temporal_shift": (lambda x: F.temporal_shift(paddle.concat([x, x * 2]), 2, 0.25), [(8, 3, 3)]),
    # activations
    "celu selu": (lambda x: F.celu(x, 0.7) + F.selu(x), [(5, 6)]),
    "hardshrink softshrink tanhshrink": (
        lambda x: F.hardshrink(x, 0.4) + F.softshrink(x, 0.3) * F.tanhshrink(x),
        [(5, 6)],
    ),
    "softsign log_sigmoid softplus": (
        lambda x: F.softsign(x) + F.log_sigmoid(x) + F.softplus(x, 2.0, 3.0),
        [(5, 6)],
    ),
    "thresholded_relu": (lambda x: F.thresholded_relu(x, 0.3), [(5, 6)]),
    "maxout": (lambda x: F.maxout(x, 2), [(4, 5, 6)]),
    "swiglu": (lambda x: F.swiglu(x), [(8,)]),
    # elements
    "greater_than greater_equal less_than less_equal equal not_equal": (
        lambda x, y: (x > y, x >= y, x < y, x <= y, x == y, x != y),
        [(4,), (4,)],
    ),
    "logical_and logical_or logical_xor logical_not": (
        lambda x, y: paddle.logical_and(x > 0, y > 0) | paddle.logical_xor(x > y, ~(x > 0)),
        [(4,), (4,)],
    ),
    "where": (lambda x, y: paddle.where(x > y, x, y * 2), [(4, 6), (4, 6)]),
    "cast masked_fill": (
        lambda x: x * (x > 0).astype("float32") + paddle.masked_fill(x, x > 0.5, 0.25),
        [(4,)],
    ),
    "any all": (lambda x: (paddle.any(x > 0, 1), paddle.all(x > 0, [1, 2], True)), [(4, 5)]),
    "sum int64": (lambda x: (x > 0).astype("int64").sum(1), [(4, 5)]),
    "remainder floor_divide sign trunc": (
        lambda x: (x % 0.7) + (x // 0.7) + paddle.sign(x) + paddle.trunc(x * 3),
        [(4,)],
    ),
    "remainder floor_divide int64": (lambda i: (i // 3, i % 3, i * i - i), [_IDS]),
    "cast uint8": (lambda x: x.astype("float32") / 255, [((3, 4, 4), "uint8", 255)]),
    "cast int32": (lambda x: (x * 10).astype("int32"), [(4,)]),
    "isnan isfinite": (lambda x: paddle.isnan(x) | paddle.isfinite(x), [(4,)]),
    "log1p log2 expm1": (
        lambda x: paddle.log1p(x.abs()) + paddle.log2(x.abs() + 1) - paddle.expm1(x),
        [(4,)],
    ),
    "subtract pow from a scalar": (lambda x: (2.0 - x) + 2.0**x, [(4,)]),
    "sin cos": (lambda x: paddle.sin(x * 3) + paddle.cos(x), [(4, 5)]),
    "clip by a computed bound": (lambda x: paddle.clip(x, max=x.abs().mean()), [(4,)]),
    # along axes
    "norm": (lambda x: paddle.linalg.norm(x, axis=1) + paddle.linalg.norm(x, 3, 1), [(4, 5)]),
    "normalize": (lambda x: F.normalize(x, axis=1), [(4, 5)]),
    "logsumexp": (lambda x: paddle.logsumexp(x * 50, [1, 2]), [(4, 5)]),
    "std var": (lambda x: paddle.std(x, 1) + paddle.var(x, [1, 2], keepdim=True).squeeze(1), [(4, 5)]),
    "amax amin": (lambda x: paddle.amax(x, 1) - paddle.amin(x, 1), [(4, 5)]),
    "cumsum": (lambda x: paddle.cumsum(x, 1), [(4, 5)]),
    "argmin argmax": (
        lambda x: (paddle.argmin(x, 1), paddle.argmax(x, -1, True, "int32")),
        [(4, 5)],
    ),
    "argsort sort": (lambda x: (paddle.argsort(x, 1, True), paddle.sort(x, 1)), [(7,)]),
    "topk": (lambda x: paddle.topk(x, 2, 1, largest=False), [(4, 5)]),
    # indices and movement
    "take_along_axis": (lambda x, i: paddle.take_along_axis(x, i, 1), [(5,), ((3,), "int64", 5)]),
    "index_sample": (lambda x, i: paddle.index_sample(x, i), [(5,), ((3,), "int64", 5)]),
    "gather by a list": (lambda x: x[:, [0, 2]], [(5, 4)]),
    "one_hot": (lambda i: F.one_hot(i, 5), [_IDS]),
    "tril triu": (lambda x: paddle.tril(x) + paddle.triu(x, 1) * 2, [(4, 4)]),
    "flip roll": (lambda x: paddle.flip(paddle.roll(x, [1, -2], [1, 2]), [1, 2]), [(4, 5)]),
    "unbind": (lambda x: paddle.unbind(x, 1), [(3, 4)]),
    "split with a rest": (lambda x: paddle.split(x, [1, -1], 1), [(4, 3)]),
    "repeat_interleave": (lambda x: paddle.repeat_interleave(x, 2, 1), [(3, 4)]),
    "expand_as": (lambda x, y: paddle.expand_as(x, y), [(1, 4), (3, 4)]),
    # products
    "matmul of a vector": (lambda x: paddle.matmul(x, x[0, 0]), [(3, 4)]),
    "einsum": (lambda q, k: paddle.einsum("bhqd,bkhd->bhqk", q, k), [(3, 4, 5), (6, 3, 5)]),
    "einsum of one axis more": (lambda x, y: paddle.einsum("bij,bkl->bikl", x, y), [(2, 3), (4, 5)]),
    "scaled_dot_product_attention": (
        lambda q, k: F.scaled_dot_product_attention(q, k, k, is_causal=True),
        [(5, 2, 4), (5, 2, 4)],
    ),
}

_LAYERS: dict[str, tuple[Callable[[], Any], list[_Spec]]] = {
    "conv2d NHWC": (lambda: nn.Conv2D(3, 6, 3, padding=1, data_format="NHWC"), [(9, 11, 3)]),
    "conv2d reflect": (lambda: nn.Conv2D(3, 6, 3, padding=1, padding_mode="reflect"), [_IMAGE]),
    "conv1d": (lambda: nn.Conv1D(3, 6, 3, data_format="NLC"), [(17, 3)]),
    "conv3d": (lambda: nn.Conv3D(4, 6, 3, 2, 1, groups=2), [(4, 5, 7, 6)]),
    "conv3d dilated": (lambda: nn.Conv3D(2, 3, (2, 3, 1), dilation=(2, 1, 1)), [(2, 5, 7, 6)]),
    "conv2d_transpose SAME": (lambda: nn.Conv2DTranspose(3, 6, 3, stride=2, padding="SAME"), [(3, 5, 7)]),
    "conv2d_transpose dilated": (
        lambda: nn.Conv2DTranspose(4, 6, 3, stride=2, dilation=2, padding=1),
        [(4, 5, 7)],
    ),
    "conv2d_transpose stride beyond the kernel": (lambda: nn.Conv2DTranspose(3, 6, 2, stride=3), [(3, 5, 7)]),
    "deformable_conv": (_Deformable, [(4, 7, 9)]),
    "deformable_conv groups": (lambda: _Deformable(2, 2), [(4, 7, 9)]),
    "deformable_conv no mask": (lambda: _Deformable(has_mask=False), [(4, 7, 9)]),
    "batch_norm NLC": (lambda: nn.BatchNorm1D(7, data_format="NLC"), [(5, 7)]),
    "batch_norm without weights": (lambda: nn.BatchNorm2D(3, weight_attr=False, bias_attr=False), [_IMAGE]),
    "instance_norm": (lambda: nn.InstanceNorm2D(3), [_IMAGE]),
    "group_norm": (lambda: nn.GroupNorm(3, 6), [(6, 5, 7)]),
    "local_response_norm": (lambda: nn.LocalResponseNorm(5), [(7, 5, 6)]),
    "embedding": (lambda: nn.Embedding(5, 4, padding_idx=2), [_IDS]),
    "embedding int32": (lambda: nn.Embedding(5, 4), [((4,), "int32", 5)]),
    "lstm": (lambda: _Recurrent(nn.LSTM), [(5, 6)]),
    "gru": (lambda: _Recurrent(nn.GRU), [(5, 6)]),
    "rnn": (lambda: _Recurrent(nn.SimpleRNN), [(5, 6)]),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, activation="gelu"), [(5, 8)]),
    "concat expand class token": (_ClassToken, [(3, 4)]),
    "bilinear": (lambda: _Takes2(nn.Bilinear(5, 4, 6)), [(5,), (4,)]),
}


def _network(name: str) -> tuple[Any, list[_Spec]]:
    if name in _LAYERS:
        build, specs = _LAYERS[name]
        return build(), specs
    function, specs = _FUNCTIONS[name]
    return (_Takes1, _Takes2)[len(specs) - 1](function), specs


def _arrays(specs: Sequence[_Spec], batch: int) -> list[NDArray[Any]]:
    rng = np.random.default_rng(7)
    arrays = []
    for spec in specs:
        if spec and isinstance(spec[0], tuple):
            shape, dtype, count = spec  # type: ignore[misc]
            arrays.append(rng.integers(0, count, (batch, *shape)).astype(dtype))
        else:
            arrays.append(rng.standard_normal((batch, *spec)).astype(np.float32))  # type: ignore[arg-type]
    return arrays


def _flat(value: Any) -> list[NDArray[Any]]:
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in _flat(item)]
    return [value.numpy()]


def _check(got: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        # Sums of up to a hundred terms of magnitude 10, in another order.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*_FUNCTIONS, *_LAYERS])
def test_computes_what_paddle_does(name: str, tmp_path: Any) -> None:
    paddle.seed(3)
    with dygraph():
        net, specs = _network(name)
        net.eval()
        arrays = {batch: _arrays(specs, batch) for batch in (2, 3)}
        expected = {
            batch: _flat(net(*(paddle.to_tensor(array) for array in inputs)))
            for batch, inputs in arrays.items()
        }
        spec = [
            paddle.static.InputSpec([None, *array.shape[1:]], str(array.dtype), f"x{i}")
            for i, array in enumerate(arrays[2])
        ]
        graph = import_layer(net, spec, legacy=False).graph
    assert {node.domain for node in graph.nodes} == {""}, [node.op_type for node in graph.nodes]
    session = Session(graph, num_threads=2)
    prepared = prepare_for_runtime(graph)
    for batch, inputs in arrays.items():
        feeds = {f"x{i}": array for i, array in enumerate(inputs)}
        _check(session.run(feeds), expected[batch])
        values = evaluate(prepared, feeds)
        _check([values[name] for name in prepared.outputs], expected[batch])
    path = tmp_path / "model.onnx"
    export_onnx(prepared, path)
    onnx.checker.check_model(str(path), full_check=True)
    feeds = {f"x{i}": array for i, array in enumerate(arrays[2])}
    _check(ReferenceEvaluator(str(path)).run(None, feeds), expected[2])


def test_an_index_out_of_range_is_named() -> None:
    with dygraph():
        spec = [paddle.static.InputSpec([None, 4], "int64", "ids")]
        session = Session(import_layer(nn.Embedding(5, 4), spec, legacy=False).graph)
    with pytest.raises(ValueError, match=r"indices must lie in \[-5, 5\), got 9"):
        session.run({"ids": np.array([[0, 1, 9, 2]])})


def test_a_second_result_that_is_read_is_not_dropped() -> None:
    with dygraph():
        spec = [paddle.static.InputSpec([None, 3, 8, 8], "float32", "x")]
        net = _Takes1(lambda x: F.max_pool2d(x, 2, return_mask=True))
        graph = import_layer(net, spec, legacy=False).graph
    assert [(node.domain, node.op_type) for node in graph.nodes] == [("paddle", "max_pool2d_with_index")]
    with pytest.raises(ValueError, match=r"no kernel for: paddle\.max_pool2d_with_index"):
        Session(graph)
