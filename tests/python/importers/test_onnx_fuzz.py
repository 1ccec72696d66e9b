# SPDX-License-Identifier: Apache-2.0
"""A few hundred mutated ONNX models run as in ONNX Runtime or are refused; tests/onnx_fuzz.py takes more."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
sys.path.insert(0, str(Path(__file__).parents[2]))

from onnx import TensorProto, helper  # noqa: E402
from onnx_fuzz import fuzz  # noqa: E402

from qslim.files.qslim_format import FormatError  # noqa: E402
from qslim.graph.passes import prepare_for_runtime  # noqa: E402
from qslim.importers.onnx import load_onnx  # noqa: E402


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_models(seed: int) -> None:
    found: list[str] = []
    counts = fuzz(600, seed, lambda data, wrong: found.append(wrong), most=250)
    assert found == []
    assert counts["refused"] > 50
    assert counts["alone"] + counts["compared"] > 50


def _model(nodes: list[object], weights: dict[str, np.ndarray], shape: list[int]) -> bytes:
    body = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(body, opset_imports=opset, ir_version=8).SerializeToString())


def test_a_window_larger_than_its_input_in_front_of_a_slice() -> None:
    """The onnx package ends the process when it infers shapes here."""
    pool = helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[7, 7])
    cut = helper.make_node("Slice", ["p", "from", "to", "axes"], ["y"])
    bounds = {"from": np.int64([0]), "to": np.int64([3]), "axes": np.int64([2])}
    with pytest.raises(FormatError, match="extent"):
        load_onnx(_model([pool, cut], bounds, [1, 2, 3, 3]))


def test_a_constant_that_asks_for_all_memory_stays_a_node() -> None:
    pad = helper.make_node("Pad", ["w", "pads"], ["large"])
    add = helper.make_node("Add", ["x", "large"], ["y"])
    data = _model([pad, add], {"w": np.ones(2, np.float32), "pads": np.int64([0, 2**40])}, [1])
    assert [node.op_type for node in prepare_for_runtime(load_onnx(data)).nodes] == ["Pad", "Add"]


def test_a_node_without_its_operands_is_named() -> None:
    for inputs, message in ((["x"], "expected 2 inputs, got 1"), (["x", ""], "input 1 .* is not given")):
        data = _model([helper.make_node("Add", inputs, ["y"], name="sum")], {}, [1])
        with pytest.raises(FormatError, match=f"'sum'.*{message}"):
            load_onnx(data)
