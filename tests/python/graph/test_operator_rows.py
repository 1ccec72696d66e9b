# SPDX-License-Identifier: Apache-2.0
"""The records of operators against ONNX, against C++, and against what the operators compute."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx.defs
import pytest

from qslim import _core
from qslim.graph import Graph, Node, Tensor
from qslim.graph.moved_data import keeps_elements, moved_inputs
from qslim.graph.operators import FAMILIES, OPERATORS, Movement, family_of
from qslim.graph.operators.__main__ import operator_table
from qslim.graph.passes import non_negative_tensors

ROOT = Path(__file__).parents[3]
CPP_NAMES = {
    Movement.NONE: "computes",
    Movement.VIEW: "moves",
    Movement.PERMUTE: "moves",
    Movement.PICK: "moves",
    Movement.PICK_IF_NEAREST: "moves_if_nearest",
    Movement.JOIN: "moves_all",
    Movement.PAD: "pads",
}
IMAGE = np.float32(np.random.default_rng(0).uniform(0, 1, (1, 4, 4, 6)))
INT = np.int64
# Operands behind the first, and attributes.
CALLS = {
    "DepthToSpace": ([], {"blocksize": 2}),
    "Expand": ([INT([2, 4, 4, 6])], {}),
    "Flatten": ([], {}),
    "Gather": ([INT([0, 0, 2])], {"axis": 1}),
    "GlobalMaxPool": ([], {}),
    "Identity": ([], {}),
    "MaxPool": ([], {"kernel_shape": [2, 2]}),
    "Pad": ([INT([0, 0, 1, 1, 0, 0, 1, 1])], {}),
    "Reshape": ([INT([8, 12])], {}),
    "Resize": ([None, np.float32([1, 1, 2, 2])], {"mode": "nearest"}),
    "Slice": ([INT([1]), INT([3]), INT([2])], {}),
    "SpaceToDepth": ([], {"blocksize": 2}),
    "Split": ([], {"axis": 1, "num_outputs": 2}),
    "Squeeze": ([INT([0])], {}),
    "Tile": ([INT([1, 2, 1, 1])], {}),
    "Transpose": ([], {"perm": [0, 2, 3, 1]}),
    "Unsqueeze": ([INT([0])], {}),
}
MOVERS = [name for name, row in OPERATORS.items() if row.movement not in (Movement.NONE, Movement.JOIN)]


@pytest.mark.parametrize("op_type", OPERATORS)
def test_since_is_a_version_of_onnx(op_type: str) -> None:
    row = OPERATORS[op_type]
    assert onnx.defs.get_schema(op_type, row.since).since_version == row.since
    assert row.name == op_type


def test_cpp_says_the_same_of_movement() -> None:
    traits = dict(_core.operator_traits())
    assert sorted(traits) == sorted(_core.operator_names())
    assert traits == {name: CPP_NAMES[OPERATORS[name].movement] for name in traits}
    # What passes fold away before the engine sees a Graph.
    assert set(OPERATORS) - set(traits) == {"BatchNormalization", "Dropout"}


def test_an_operator_is_in_one_family_everywhere() -> None:
    assert sum(map(len, FAMILIES.values())) == len(OPERATORS)
    ops = ROOT / "cpp/qslim/runtime/ops"
    found = {}
    for path in ops.rglob("*.cc"):
        for name in re.findall(r"^void compile_([A-Z]\w*)\(", path.read_text(), re.M):
            found[name] = path.relative_to(ops).parts[0].replace(".cc", "")
    assert len(found) > 40
    assert found == {name: family_of(name) for name in found}


@pytest.mark.parametrize("op_type", MOVERS)
def test_movement_invents_no_values(op_type: str) -> None:
    operands, attributes = CALLS[op_type]
    results = OPERATORS[op_type].compute(attributes, [IMAGE, *operands])
    allowed = {*IMAGE.reshape(-1)} | ({np.float32(0)} if op_type == "Pad" else set())
    assert all({*result.reshape(-1)} <= allowed for result in results)
    if keeps_elements(Node(op_type, ["x"], ["y"], attributes)):
        assert sorted(results[0].reshape(-1)) == sorted(IMAGE.reshape(-1))
    if OPERATORS[op_type].movement is Movement.VIEW:
        assert (results[0].reshape(-1) == IMAGE.reshape(-1)).all()


def sign(op_type: str, operands: list[object], **attributes: object) -> bool:
    """Return True if the result is known to be non-negative; "+" and "-" are inputs, known to be and not."""
    graph = Graph(inputs=["raw"], outputs=["y"])
    graph.add_tensor(Tensor("raw", "float32", (1, 4, 4, 6)))
    graph.add_tensor(Tensor("relu", "float32", (1, 4, 4, 6)))
    graph.add_node(Node("Relu", ["raw"], ["relu"]))
    names = []
    for index, operand in enumerate(operands):
        if isinstance(operand, str):
            names.append({"+": "relu", "-": "raw", "": ""}[operand])
            continue
        value = np.asarray(operand)
        names.append(graph.add_tensor(Tensor(f"c{index}", str(value.dtype), value.shape, value)).name)
    graph.add_tensor(Tensor("y", "float32"))
    graph.add_node(Node(op_type, names, ["y"], attributes))
    return "y" in non_negative_tensors(graph)


@pytest.mark.parametrize("op_type", MOVERS)
def test_moved_data_keeps_its_sign(op_type: str) -> None:
    operands, attributes = CALLS[op_type]
    rest = ["" if operand is None else operand for operand in operands]
    assert sign(op_type, ["+", *rest], **attributes)
    assert not sign(op_type, ["-", *rest], **attributes)


def test_sign_of_Resize_follows_its_weights() -> None:
    scales = np.float32([1, 1, 2, 2])
    for mode, expected in (("nearest", True), ("linear", True), ("cubic", False)):
        assert sign("Resize", ["+", "", scales], mode=mode) == expected
    attributes = {"mode": "cubic"}
    assert OPERATORS["Resize"].compute(attributes, [IMAGE.round(), None, scales])[0].min() < 0


def test_sign_of_Clip_follows_both_bounds() -> None:
    zero, below, above = np.float32(0), np.float32(-1), np.float32(1)
    assert sign("Clip", ["-", zero, above])
    assert sign("Clip", ["+", "", above])
    assert not sign("Clip", ["+", "", below])
    assert not sign("Clip", ["-", "", above])
    assert not sign("Clip", ["+", zero, "-"])


def test_sign_of_Pad_Where_Max_and_Concat() -> None:
    pads, mask = INT([0, 0, 1, 1, 0, 0, 1, 1]), np.bool_(True)
    assert not sign("Pad", ["+", pads, np.float32(-1)])
    assert sign("Pad", ["+", pads, np.float32(-1)], mode="reflect")
    assert sign("Where", [mask, "+", "+"])
    assert not sign("Where", [mask, "+", "-"])
    assert sign("Max", ["+", "-"])
    assert not sign("Min", ["+", "-"])
    assert not sign("Concat", ["+", "-"], axis=1)


SIGNED = [name for name, row in OPERATORS.items() if row.is_elementwise and row.name not in ("Cast", "Clip")]


@pytest.mark.parametrize("op_type", SIGNED)
def test_a_sign_rule_holds_for_many_values(op_type: str) -> None:
    """Wherever a record says that the result is non-negative, it is."""
    row, rng = OPERATORS[op_type], np.random.default_rng(1)
    positive = np.float32(rng.exponential(2, 400) * (rng.uniform(size=400) < 0.9))
    either = np.float32(rng.standard_normal(400) * 3)
    count = {"Where": 3}.get(op_type, 1 if row.shape is OPERATORS["Relu"].shape else 2)
    for known in range(2**count):
        signs = [bool(known >> index & 1) for index in range(count)]
        if row.non_negative is None or not row.non_negative({}, signs):
            continue
        inputs = [positive if is_known else either for is_known in signs]
        if op_type == "Where":
            inputs[0] = either > 0
        with np.errstate(all="ignore"):
            result = row.compute({}, inputs)[0]
        assert not (result < 0).any(), signs


def test_moved_inputs_of_Pad_only_with_zeros() -> None:
    graph = Graph()
    for name, value in (("pads", INT([0, 1])), ("zero", np.float32(0)), ("one", np.float32(1))):
        graph.add_tensor(Tensor(name, str(value.dtype), value.shape, value))
    assert moved_inputs(graph, Node("Pad", ["x", "pads"], ["y"])) == ["x"]
    assert moved_inputs(graph, Node("Pad", ["x", "pads", "zero"], ["y"])) == ["x"]
    assert moved_inputs(graph, Node("Pad", ["x", "pads", "one"], ["y"])) == []
    assert moved_inputs(graph, Node("Pad", ["x", "pads"], ["y"], {"mode": "wrap"})) == ["x"]


def test_the_table_in_docs_is_current() -> None:
    """`python -m qslim.graph.operators > docs/operators.md` brings it up to date."""
    assert (ROOT / "docs/operators.md").read_text() == operator_table()
