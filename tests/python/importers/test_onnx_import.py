# SPDX-License-Identifier: Apache-2.0
"""ONNX models in: ONNX's own node tests, quantized models beside ONNX Runtime, and files that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from qslim.exporters import export_onnx
from qslim.files.qslim_format import FormatError
from qslim.graph import evaluate
from qslim.importers.onnx import load_onnx
from qslim.runtime import Session

helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto
RNG = np.random.default_rng(3)


def model(nodes: list[Any], inputs: dict[str, Any], outputs: list[str], **constants: Any) -> Any:
    """Return a model of opset 17, or of `opset`, on float inputs of the given shapes."""
    opset = constants.pop("opset", 17)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    body = helper.make_graph(nodes, "network", infos, results, initializers)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


# ---- ONNX's node tests -------------------------------------------------------------------------------------


def node_tests() -> Iterator[Any]:
    """Yield ONNX's cases on tensors of numbers."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        infos = (*case.model.graph.input, *case.model.graph.output)
        arrays = [array for data in case.data_sets for part in data for array in part]
        is_plain = all(isinstance(array, (np.ndarray, np.generic)) for array in arrays)
        if all(info.type.WhichOneof("value") == "tensor_type" for info in infos) and is_plain:
            yield case


def opened(case: Any) -> Any:
    """Return a Session; weights, axes and the like, which the engine wants constant, become so if need be."""
    try:
        return Session(load_onnx(case.model))
    except ValueError:
        proto = onnx.ModelProto.FromString(case.model.SerializeToString())
        if len(case.data_sets) != 1 or len(proto.graph.input) < 2:
            raise
        for info, value in list(zip(proto.graph.input, case.data_sets[0][0]))[1:]:
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), info.name))
        del proto.graph.input[1:]
        return Session(load_onnx(proto))


def agrees(case: Any, session: Any) -> bool:
    for inputs, outputs in case.data_sets:
        given = {info.name: np.asarray(value) for info, value in zip(case.model.graph.input, inputs)}
        names = [spec.name for spec in session.outputs]
        wide = {np.dtype(np.float16)}
        feeds = {
            spec.name: given[spec.name].astype(np.float32)
            if given[spec.name].dtype in wide
            else given[spec.name]
            for spec in session.inputs
        }
        results = dict(zip(names, session.run(feeds)))
        for info, expected in zip(case.model.graph.output, outputs):
            wanted, result = np.asarray(expected), results[info.name]
            is_float = wanted.dtype.kind == "f"
            slack = 1e-2 if wanted.dtype == np.float16 else 1e-5
            if result.shape != wanted.shape:
                return False
            if is_float and not np.allclose(
                result.astype(np.float64), wanted.astype(np.float64), rtol=1e-3, atol=slack, equal_nan=True
            ):
                return False
            if not is_float and not np.array_equal(result, wanted):
                return False
    return True


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # ONNX's cases divide by zero on purpose
def test_onnx_node_tests() -> None:
    """At least 800 agree, and none that runs disagrees: others are refused in a sentence."""
    agreed, wrong = [], []
    for case in node_tests():
        try:
            session = opened(case)
            (agreed if agrees(case, session) else wrong).append(case.name)
        except ValueError:
            continue
    # bfloat16 is computed in float32, which is finer than what these expect.
    assert [name for name in wrong if "bf16" not in name and "bfloat16" not in name] == []
    assert len(agreed) >= 800 or onnx.__version__ < "1.19", len(agreed)


# ---- whole networks ----------------------------------------------------------------------------------------


def network() -> Any:
    """A small classifier: convolutions of all kinds, a residual sum, pools and a Gemm."""
    weights = {
        "w0": RNG.standard_normal((8, 3, 3, 3)), "b0": RNG.standard_normal(8),
        "w1": RNG.standard_normal((8, 1, 3, 3)), "b1": RNG.standard_normal(8),
        "w2": RNG.standard_normal((8, 8, 1, 1)), "b2": RNG.standard_normal(8),
        "w3": RNG.standard_normal((5, 8)), "b3": RNG.standard_normal(5),
    }  # fmt: skip
    window = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], **window),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1", "b1"], ["c"], group=8, **window),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2", "b2"], ["e"]),
        helper.make_node("Add", ["b", "e"], ["f"]),
        helper.make_node("MaxPool", ["f"], ["g"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["g"], ["h"]),
        helper.make_node("Flatten", ["h"], ["i"]),
        helper.make_node("Gemm", ["i", "w3", "b3"], ["y"], transB=1),
    ]
    constants = {name: value.astype(np.float32) for name, value in weights.items()}
    return model(nodes, {"x": ["N", 3, 16, 16]}, ["y"], opset=13, **constants)


def by_onnxruntime(path: str, x: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_a_float_network_beside_onnxruntime(tmp_path: Path) -> None:
    path = str(tmp_path / "net.onnx")
    onnx.save(network(), path)
    for batch in (1, 3):
        x = RNG.standard_normal((batch, 3, 16, 16)).astype(np.float32)
        np.testing.assert_allclose(
            Session(path).run({"x": x})[0], by_onnxruntime(path, x), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("weights", ["QInt8", "QUInt8"])
def test_quantized_networks_beside_onnxruntime(form: str, weights: str, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    onnx.save(network(), str(tmp_path / "float.onnx"))
    data = [{"x": RNG.standard_normal((4, 3, 16, 16)).astype(np.float32)} for _ in range(4)]

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        left = iter(data)

        def get_next(self) -> Any:
            return next(self.left, None)

    path = str(tmp_path / "int8.onnx")
    quantization.quantize_static(
        str(tmp_path / "float.onnx"),
        path,
        Reader(),
        quant_format=quantization.QuantFormat[form],
        per_channel=weights == "QInt8",
        weight_type=quantization.QuantType[weights],
        activation_type=quantization.QuantType.QUInt8,
        op_types_to_quantize=["Conv", "MaxPool"] if form == "QOperator" else None,
    )
    graph = load_onnx(path)
    annotated = [tensor for tensor in graph.tensors.values() if tensor.quantization is not None]
    assert len(annotated) >= (6 if form == "QOperator" else 9)
    session, x = Session(graph), data[0]["x"]
    expected = by_onnxruntime(path, x)
    np.testing.assert_allclose(session.run({"x": x})[0], expected, atol=0.03 * np.abs(expected).max())
    kernels = [row.kernel for row in session.profile({"x": x}, runs=1)]
    if weights == "QInt8":  # weights with a zero point are taken as real values
        assert sum("u8s8" in kernel for kernel in kernels) >= 3, kernels


def test_what_export_onnx_writes_comes_back(tmp_path: Path) -> None:
    path = str(tmp_path / "net.onnx")
    graph = load_onnx(network())
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    expected = Session(graph).run({"x": x})[0]
    for opset in (17, 21):
        export_onnx(graph, path, opset=opset)
        np.testing.assert_array_equal(Session(path).run({"x": x})[0], expected)
    np.testing.assert_allclose(evaluate(graph, {"x": x})["y"], expected, rtol=1e-4, atol=1e-4)


def test_integers_that_are_an_output_are_computed() -> None:
    nodes = [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])]
    proto = model(nodes, {"x": [None, 4]}, ["y"], scale=np.float32(0.1), zero=np.uint8(3))
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = np.float32([[-1, 0.05, 0.349, 100]])
    result = Session(load_onnx(proto)).run({"x": x})[0]
    np.testing.assert_array_equal(result, [[0, 3, 6, 255]])  # a tie goes to even
    assert result.dtype == np.uint8


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 21])
def test_attributes_of_old_opsets_become_inputs(opset: int) -> None:
    x = RNG.standard_normal((2, 3, 4)).astype(np.float32)
    constants: dict[str, Any] = {}

    def node(
        op_type: str, source: str, target: str, since: int, name: str, value: Any, **attributes: Any
    ) -> Any:
        if opset < since:
            return helper.make_node(op_type, [source], [target], **{name: value}, **attributes)
        constants[target + name] = np.asarray(value, np.int64)
        return helper.make_node(op_type, [source, target + name], [target], **attributes)

    nodes = [
        node("Unsqueeze", "x", "a", 13, "axes", [1]),
        node("Squeeze", "a", "b", 13, "axes", [1]),
        node("ReduceSum", "b", "c", 13, "axes", [2], keepdims=1),
        node("ReduceMean", "c", "d", 18, "axes", [1], keepdims=0),
    ]
    if opset < 11:
        nodes.append(helper.make_node("Clip", ["d"], ["y"], min=-0.5, max=0.5))
    else:
        constants.update(low=np.float32(-0.5), high=np.float32(0.5))
        nodes.append(helper.make_node("Clip", ["d", "low", "high"], ["y"]))
    proto = model(nodes, {"x": [2, 3, 4]}, ["y"], opset=opset, **constants)
    expected = np.clip(x.sum(2, keepdims=True).mean(1), -0.5, 0.5)
    np.testing.assert_allclose(Session(load_onnx(proto)).run({"x": x})[0], expected, rtol=1e-5, atol=1e-6)


# ---- files -------------------------------------------------------------------------------------------------


def external(tmp_path: Path, location: str) -> str:
    """Write a model whose weight lies in the file `location`."""
    weight = np.float32([[1, 2], [3, 4], [5, 6]])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    proto = model(nodes, {"x": [None, 3]}, ["y"], w=weight)
    tensor = proto.graph.initializer[0]
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "weights.bin").write_bytes(weight.tobytes())
    (tmp_path / "in" / "weights.bin").write_bytes(weight.tobytes())
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    path = tmp_path / "in" / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return str(path)


def test_external_data_lies_in_the_models_directory(tmp_path: Path) -> None:
    result = Session(external(tmp_path, "weights.bin")).run({"x": np.float32([[1, 1, 1]])})[0]
    np.testing.assert_array_equal(result, [[9, 12]])
    for outside in ("../weights.bin", str(tmp_path / "weights.bin")):
        with pytest.raises(ValueError, match="lies outside of the model's directory"):
            load_onnx(external(tmp_path, outside))
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(ValueError, match="lies outside of the model's directory"):
        load_onnx(external(tmp_path, "link.bin"))
    with pytest.raises(ValueError, match="there is no file"):
        load_onnx(external(tmp_path, "other.bin"))
    with pytest.raises(ValueError, match="give the path of the model"):
        load_onnx(Path(external(tmp_path, "weights.bin")).read_bytes())


def test_bytes_that_are_no_model(tmp_path: Path) -> None:
    data = network().SerializeToString()
    for broken in (b"", b"not a model", data[: len(data) // 2], data[100:]):
        with pytest.raises(ValueError, match="load_onnx"):
            load_onnx(broken)
    proto = network()
    del proto.graph.node[6].attribute[:]  # a MaxPool without its window
    with pytest.raises(ValueError, match="load_onnx"):
        load_onnx(proto)
    proto = network()
    del proto.graph.node[0]
    with pytest.raises(ValueError, match="'a', which nothing writes"):
        load_onnx(proto)
    with pytest.raises(FormatError):
        load_onnx(b"not a model")
    with pytest.raises(FileNotFoundError):
        load_onnx(str(tmp_path / "none.onnx"))
    with pytest.raises(TypeError, match="expected a path, bytes or a ModelProto"):
        load_onnx(3)


def test_damaged_models_are_value_errors() -> None:
    data, random = network().SerializeToString(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 4)):
            end = len(data) if random.random() < 0.3 else 500
            place = int(random.integers(0, end))
            damaged[place if random.random() < 0.5 else -place] = int(random.integers(0, 256))
        try:
            session = Session(load_onnx(bytes(damaged)), max_memory=1 << 28)
            shapes = [
                [2 if extent is None else extent for extent in spec.shape or ()] for spec in session.inputs
            ]
            zeros = [np.zeros(shape, spec.dtype) for shape, spec in zip(shapes, session.inputs)]
            session.run({spec.name: value for spec, value in zip(session.inputs, zeros)})
        except ValueError:
            continue


@pytest.mark.parametrize("opset", [6, 99])
def test_unknown_opsets_are_refused(opset: int) -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, ["y"])
    proto.opset_import[0].version = opset
    with pytest.raises(ValueError, match=f"expected opset 7 to 28, got {opset}"):
        load_onnx(proto)


def test_an_unknown_operator_is_named() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Det", ["a"], ["y"], name="the/node")]
    graph = load_onnx(model(nodes, {"x": [3, 3]}, ["y"]))
    assert [(node.domain, node.op_type) for node in graph.nodes] == [("", "Relu"), ("onnx", "Det")]
    with pytest.raises(ValueError, match=r"onnx\.Det"):
        Session(graph)


def test_an_extent_of_minus_one_is_open() -> None:
    graph = load_onnx(model([helper.make_node("Relu", ["x"], ["y"])], {"x": [-1, 3]}, ["y"]))
    assert graph.tensors["x"].shape == (None, 3)


def test_half_precision_becomes_float32() -> None:
    weight = np.float16([[1, 2], [3, 4]])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    proto = model(nodes, {"x": [None, 2]}, ["y"], w=weight)
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    result = Session(load_onnx(proto)).run({"x": np.float32([[1, 1]])})[0]
    np.testing.assert_array_equal(result, np.float32([[4, 6]]))
