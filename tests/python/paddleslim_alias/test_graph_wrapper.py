# SPDX-License-Identifier: Apache-2.0
"""paddleslim.core.GraphWrapper and StaticPruningCollections on programs."""

from __future__ import annotations

from typing import Any

import pytest

paddle = pytest.importorskip("paddle")

_LEGACY = """
from qslim.paddleslim import install
install()
import paddle
from paddleslim.core import GraphWrapper
from paddleslim.prune import StaticPruningCollections

paddle.enable_static()
main = paddle.static.default_main_program()
image = paddle.static.data("image", [None, 3, 16, 16])
label = paddle.static.data("label", [None, 1], "int64")
first = paddle.static.nn.conv2d(image, 8, 3, padding=1, name="first")
normed = paddle.static.nn.batch_norm(first, act="relu")
second = paddle.static.nn.conv2d(normed, 8, 3, padding=1, name="second")
out = paddle.static.nn.fc(first + second, 10, name="fc")
loss = paddle.mean(paddle.nn.functional.cross_entropy(out, label))
test = main.clone(for_test=True)
paddle.optimizer.SGD(0.1).minimize(loss)

graph = GraphWrapper(main, in_nodes=[("image", "image")])
assert graph.in_nodes == {"image": "image"} and graph.out_nodes == {}
types = [op.type() for op in graph.ops()]
assert "conv2d_grad" in types and "sgd" in types
assert [op.type() for op in graph.ops() if op.is_opt_op()].count("sgd") == len(graph.all_parameters()) - 2
assert all(op.is_bwd_op() for op in graph.ops() if op.type().endswith("_grad"))
forward = GraphWrapper(test)
(one, two) = [op for op in forward.ops() if op.type() == "conv2d"]
assert one.inputs("Filter")[0].name() == "first.w_0" and one.inputs("Nothing") == []
assert one.attr("paddings") == [1, 1] and one.attr("nothing") is None
assert one.idx() < two.idx() and one < two and one != two
behind = forward.next_ops(one)
assert [op.type() for op in behind] == ["elementwise_add"]
assert one in forward.pre_ops(behind[0])
assert [var.name() for var in forward.get_param_by_op(one)] == ["first.w_0"]
weight = forward.var("first.w_0")
assert weight.shape() == (8, 3, 3, 3) and forward.is_parameter(weight) and forward.is_persistable(weight)
assert weight.outputs() == [one] and weight.inputs() == []
assert forward.var("nothing") is None
assert forward.numel_params() == 8 * 27 + 8 + 4 * 8 + 8 * 72 + 8 + 8 * 256 * 10 + 10
copy = forward.clone()
copy.var("image").set_shape([-1, 3, 8, 8])
copy.var("fc.w_0").set_shape([8 * 64, 10])
copy.infer_shape()
(changed, _) = [op for op in copy.ops() if op.type() == "conv2d"]
assert changed.outputs("Output")[0].shape() == (-1, 8, 8, 8)
assert one.outputs("Output")[0].shape() == (-1, 8, 16, 16)

(together,) = StaticPruningCollections(["first.w_0", "second.w_0"], forward)
assert together.master == {"name": "first.w_0", "axis": 0}
assert {"first.w_0", "second.w_0", "fc.w_0"} <= set(together.variables())
details = {(each.name, each.axis, each.op.type()) for each in together.all_pruning_details()}
assert ("second.w_0", 0, "conv2d") in details and ("second.w_0", 1, "conv2d") in details
try:
    StaticPruningCollections(["firs.w_0"], test)
except ValueError as error:
    assert "did you mean 'first.w_0'?" in str(error)
else:
    raise AssertionError
"""


def test_a_legacy_program(run_python: Any) -> None:
    run_python(_LEGACY, legacy_ir=True)


def test_other_programs_are_refused() -> None:
    from qslim.paddleslim.graph_wrapper import GraphWrapper

    with pytest.raises(ValueError, match="FLAGS_enable_pir_api=0"):
        GraphWrapper("model")
