# SPDX-License-Identifier: Apache-2.0
"""Mutate ONNX models: each one either runs, with ONNX Runtime's results, or is refused with a sentence.

    python tests/onnx_fuzz.py SECONDS [SEED]

Byte mutations show how the reader takes files that are broken; mutations of nodes, attributes, shapes and
types make sound models of other operators' forms, whose outputs are compared with ONNX Runtime's where it
runs them.
"""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from qslim.importers.onnx import load_onnx
from qslim.runtime import Session

try:
    import onnxruntime
except ImportError:
    onnxruntime = None


class Seed:
    """A small model; `extents` are those of its input."""

    def __init__(self, seed: int, extents: list[int]) -> None:
        self.random = np.random.default_rng(seed)
        self.extents = extents
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, op_type: str, inputs: list[Any], **attributes: Any) -> str:
        output = f"t{len(self.nodes)}"
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.nodes.append(helper.make_node(op_type, names, [output], name=f"n{output}", **attributes))
        return output

    def constant(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def floats(self, *shape: int) -> Any:
        return (self.random.standard_normal(shape) / 2).astype(np.float32)

    def model(self, output: str) -> Any:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.extents)
        y = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        body = helper.make_graph(self.nodes, "seed", [x], [y], self.weights)
        return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def images() -> Any:
    s = Seed(0, [1, 4, 9, 8])
    y = s.add("Conv", ["x", s.floats(6, 4, 3, 3), s.floats(6)], pads=[1, 1, 1, 1], strides=[2, 1])
    y = s.add("Relu", [y])
    y = s.add("Conv", [y, s.floats(6, 1, 3, 3)], group=6, dilations=[1, 2], auto_pad="SAME_UPPER")
    y = s.add("MaxPool", [y], kernel_shape=[2, 2], strides=[1, 2], ceil_mode=1)
    y = s.add("AveragePool", [y], kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1)
    y = s.add("ConvTranspose", [y, s.floats(6, 2, 3, 2)], strides=[2, 2], output_padding=[1, 0])
    y = s.add("Resize", [y, "", np.float32([1, 1, 1.5, 2])], mode="linear")
    y = s.add(
        "HardSwish",
        [s.add("BatchNormalization", [y, s.floats(2), s.floats(2), s.floats(2), abs(s.floats(2))])],
    )
    y = s.add("Pad", [y, np.int64([0, 0, 1, 0, 0, 0, 0, 2])], mode="reflect")
    return s.model(
        s.add("Slice", [y, np.int64([1, -1]), np.int64([7, 0]), np.int64([2, 3]), np.int64([2, -1])])
    )


def tokens() -> Any:
    s = Seed(1, [2, 5, 8])
    n = s.add("LayerNormalization", ["x", s.floats(8), s.floats(8)], axis=-1)
    q = s.add("Reshape", [s.add("MatMul", [n, s.floats(8, 8)]), np.int64([0, 0, 2, 4])])
    q, k = s.add("Transpose", [q], perm=[0, 2, 1, 3]), s.add("Transpose", [q], perm=[0, 2, 3, 1])
    p = s.add("Softmax", [s.add("Div", [s.add("MatMul", [q, k]), np.float32(2)])], axis=-1)
    y = s.add(
        "Reshape", [s.add("Transpose", [s.add("MatMul", [p, q])], perm=[0, 2, 1, 3]), np.int64([0, -1, 8])]
    )
    y = s.add("Add", [y, "x"])
    e = s.add("Erf", [s.add("Mul", [y, np.float32(0.7)])])
    y = s.add("Mul", [y, s.add("Add", [e, np.float32(1)])])
    y = s.add("Gather", [y, np.int64([0, 3, -1])], axis=1)
    y = s.add("Where", [s.add("Greater", [y, np.float32(0)]), y, s.add("Tanh", [y])])
    y = s.add("Concat", [y, s.add("ReduceMean", [y], axes=[1], keepdims=1)], axis=1)
    y = s.add("Squeeze", [s.add("Unsqueeze", [s.add("Flatten", [y], axis=2), np.int64([0])]), np.int64([0])])
    return s.model(s.add("Gemm", [y, s.floats(5, 8), s.floats(5)], transB=1, alpha=0.5))


def quantized() -> Any:
    s = Seed(2, [1, 3, 6, 6])
    scale, zero = np.float32(0.05), np.uint8(128)

    def steps(name: str) -> str:
        q = s.add("QuantizeLinear", [name, scale, zero])
        return s.add("DequantizeLinear", [q, scale, zero])

    weight = s.add(
        "DequantizeLinear",
        [s.random.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), np.float32([0.01, 0.02, 0.01, 0.03])],
        axis=0,
    )
    y = steps(s.add("Relu", [s.add("Conv", [steps("x"), weight])]))
    y = s.add("GlobalAveragePool", [s.add("Add", [y, s.add("Sigmoid", [y])])])
    return s.model(s.add("Clip", [y, np.float32(0), np.float32(6)]))


# In the folder of findings: the model that ONNX Runtime runs at the moment.
_THERE = "there.onnx"
_SEEDS = (images, tokens, quantized)
_OPERATORS = (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Abs",
    "Neg",
    "Exp",
    "Softplus",
    "Identity",
    "Floor",
    "Add",
    "Mul",
    "Max",
    "Sub",
)


def mutate(proto: Any, choose: random.Random) -> None:
    """Change one thing in a model, in place."""
    node = choose.choice(proto.graph.node)
    kind = choose.randrange(8)
    if kind == 0 and node.attribute:
        attribute = choose.choice(node.attribute)
        if attribute.ints:
            attribute.ints[choose.randrange(len(attribute.ints))] = choose.choice([-2, -1, 0, 1, 2, 3, 7])
        elif attribute.type == onnx.AttributeProto.INT:
            attribute.i = choose.choice([-3, -2, -1, 0, 1, 2, 3])
        elif attribute.type == onnx.AttributeProto.FLOAT:
            attribute.f = choose.choice([-1.0, 0.0, 0.5, 1e30])
        else:
            attribute.s = choose.choice(
                [b"SAME_LOWER", b"VALID", b"NOTSET", b"nearest", b"cubic", b"edge", b"constant"]
            )
    elif kind == 1 and node.attribute:
        del node.attribute[choose.randrange(len(node.attribute))]
    elif kind == 2 and node.input:
        names = [
            "",
            "x",
            *(each.name for each in proto.graph.initializer),
            *(n.output[0] for n in proto.graph.node),
        ]
        node.input[choose.randrange(len(node.input))] = choose.choice(names)
    elif kind == 3 and len(node.input) > 1:
        del node.input[-1]
    elif kind == 4:
        node.op_type = choose.choice([*_OPERATORS, choose.choice(proto.graph.node).op_type])
    elif kind == 5 and proto.graph.initializer:
        tensor = choose.choice(proto.graph.initializer)
        value = numpy_helper.to_array(tensor)
        shape = list(value.shape)
        if choose.random() < 0.5 and value.dtype.kind == "i" and value.size:
            value = value.copy()
            other = np.int64(choose.choice([-9, -2, -1, 0, 1, 2, 4, 2**40])).astype(value.dtype)
            value.reshape(-1)[choose.randrange(value.size)] = other
        elif shape:
            axis = choose.randrange(len(shape))
            shape[axis] = choose.choice([0, 1, 2, shape[axis] + 1])
            value = np.resize(value, shape).astype(value.dtype)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    elif kind == 6:
        dims = proto.graph.input[0].type.tensor_type.shape.dim
        dims[choose.randrange(len(dims))].dim_value = choose.choice([1, 2, 3, 5, 12])
    else:
        proto.opset_import[0].version = choose.choice([7, 9, 10, 11, 13, 18, 20, 21])


def run_here(data: bytes, x: Any) -> Any:
    """Return the outputs, or the sentence of a refusal."""
    try:
        session = Session(load_onnx(data), max_memory=1 << 28)
        return session.run({spec.name: x.astype(spec.dtype) for spec in session.inputs[:1]})
    except (ValueError, ImportError) as error:
        return str(error)


def run_there(data: bytes, x: Any) -> Optional[list[Any]]:
    if onnxruntime is None:
        return None
    folder = os.environ.get("QSLIM_FUZZ_FOLDER")
    marker = os.path.join(folder, _THERE) if folder else None
    if marker:
        with open(marker, "wb") as file:
            file.write(data)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(data, options)
        names = [each.name for each in session.get_inputs()]
        found: list[Any] = session.run(None, {name: x for name in names})
        return found
    except Exception:  # it has kinds of its own
        return None
    finally:
        if marker:
            os.remove(marker)


def differs(mine: list[Any], theirs: list[Any], step: float = 0.0) -> str:
    """Say how outputs differ by more than float rounding, and by `step` where values are rounded to steps."""
    for a, b in zip(mine, theirs):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{a.dtype}{list(a.shape)} here, {b.dtype}{list(b.shape)} in ONNX Runtime"
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return "other integers"
            continue
        largest = np.abs(b[np.isfinite(b)]).max(initial=0.0)
        with np.errstate(invalid="ignore"):
            if not np.allclose(a, b, rtol=1e-3, atol=1e-4 * max(largest, 1e-3) + step, equal_nan=True):
                return f"differs by {np.nanmax(np.abs(a - b), initial=0.0):.3g} of {largest:.3g}"
    return ""


def check(data: bytes, x: Any, counts: Counter[str]) -> str:
    """Return what is wrong with one model's run, "" if nothing is."""
    mine = run_here(data, x)
    if isinstance(mine, str):
        counts["refused"] += 1
        return "" if mine and "\n" not in mine.strip() else f"no sentence: {mine!r}"
    theirs = run_there(data, x)
    counts["alone" if theirs is None else "compared"] += 1
    step = (
        0.02 * max((float(np.abs(b).max(initial=0)) for b in theirs or ()), default=0)
        if b"Quantize" in data
        else 0
    )
    return differs(mine, theirs, step) if theirs is not None else ""


def fuzz(seconds: float, seed: int, report: Callable[[bytes, str], None], most: int = 10**9) -> Counter[str]:
    """Mutate for so many seconds, or models; `report` gets a model and what is wrong with it."""
    choose, counts, begin = random.Random(seed), Counter[str](), time.monotonic()
    protos = [make() for make in _SEEDS]
    for _ in range(most):
        if time.monotonic() - begin > seconds:
            break
        proto = copy.deepcopy(choose.choice(protos))
        for _ in range(choose.randrange(4)):
            mutate(proto, choose)
        data = bytearray(proto.SerializeToString())
        if choose.random() < 0.2:
            for _ in range(choose.randrange(1, 4)):
                data[choose.randrange(len(data))] = choose.randrange(256)
        shape = [each.dim_value for each in proto.graph.input[0].type.tensor_type.shape.dim]
        x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        try:
            wrong = check(bytes(data), x, counts)
        except Exception as error:  # anything else that is raised is a finding
            wrong = f"raised {type(error).__name__}: {error}"
        if wrong:
            counts["wrong"] += 1
            report(bytes(data), wrong)
    return counts


def _child(seconds: float, seed: int, folder: str) -> int:
    """Fuzz in this process; while ONNX Runtime has a model, it lies in ``folder/there.onnx``."""

    def report(data: bytes, wrong: str) -> None:
        path = os.path.join(folder, f"seed{seed}_{len(os.listdir(folder))}.onnx")
        with open(path, "wb") as file:
            file.write(data)
        print(f"{path}: {wrong[:300]}", flush=True)

    counts = fuzz(seconds, seed, report)
    print(f"seed {seed}: {dict(counts)}", flush=True)
    return min(counts["wrong"], 1)


def main() -> int:
    """Run one child after another, since ONNX Runtime ends the process of some models."""
    seconds, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if len(sys.argv) > 3:
        return _child(seconds, seed, sys.argv[3])
    folder = tempfile.mkdtemp(prefix="qslim-fuzz-")
    end, worst = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        command = [sys.executable, __file__, str(min(left, 20.0)), str(seed), folder]
        code = subprocess.run(command, env={**os.environ, "QSLIM_FUZZ_FOLDER": folder}).returncode
        if code < 0 and not os.path.exists(os.path.join(folder, _THERE)):
            print(f"seed {seed}: the process ended with signal {-code} in qslim", flush=True)
        worst = max(worst, abs(code) if code > 0 or not os.path.exists(os.path.join(folder, _THERE)) else 0)
        seed += 1
    print(f"findings are in {folder}" if worst else "nothing was found")
    return min(worst, 1)


if __name__ == "__main__":
    sys.exit(main())
