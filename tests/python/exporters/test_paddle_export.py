# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_networks import IRS, images, save_network, small_network

from qslim.exporters.paddle import export_program
from qslim.files.staging import staged_directory
from qslim.graph import QuantParams
from qslim.graph.passes import fold_batch_norm, non_negative_tensors
from qslim.importers.paddle import PaddleProgram, find_model_files, load_program
from qslim.paddle.params_file import read_records


@pytest.fixture(scope="module", params=IRS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp(request.param)
    return save_network(small_network(), str(directory), request.param)


def _annotate(program: PaddleProgram, bits: int = 8) -> dict[str, QuantParams]:
    """Quantize every convolution and matrix product, activations by their range on a batch."""
    graph = program.graph
    weighted = [node for node in graph.nodes if node.op_type in ("Conv", "ConvTranspose", "MatMul")]
    names = [node.inputs[0] for node in weighted]
    unsigned = non_negative_tensors(graph)
    activations = {}
    for name, value in zip(names, program.run({"image": images(4)}, names)):
        activations[name] = QuantParams.activation(float(np.abs(value).max()), bits, name in unsigned)
        graph.tensors[name].quantization = activations[name]
    for node in weighted:
        tensor = graph.tensors[node.inputs[1]]
        axis = 0 if node.op_type == "Conv" else 1
        assert tensor.value is not None
        others = tuple(i for i in range(tensor.value.ndim) if i != axis)
        tensor.quantization = QuantParams.weight(np.abs(tensor.value).max(axis=others), bits, axis)
    return activations


def _weights(program: PaddleProgram) -> dict[str, np.ndarray]:
    return {
        name: tensor.quantization.quantize(tensor.value)
        for name, tensor in program.graph.tensors.items()
        if tensor.quantization is not None and tensor.value is not None
    }


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activations_lie_on_their_grid(model: str, tmp_path: Path, bits: int) -> None:
    program = load_program(find_model_files(model))
    activations = _annotate(program, bits)
    assert {params.dtype for params in activations.values()} == {np.dtype(np.int8), np.dtype(np.uint8)}
    exported = load_program(export_program(program, str(tmp_path)))
    quantizers = [node for node in exported.graph.nodes if node.source_op == "quantize_linear"]
    assert len(quantizers) == len(activations)
    for node, (name, params) in zip(
        sorted(quantizers, key=lambda n: exported.graph.nodes.index(n)),
        sorted(activations.items(), key=lambda item: _position(program, item[0])),
    ):
        # Values beyond the calibrated range on purpose: they must saturate at qmin and qmax.
        feed = {"image": images(4, seed=1) * 3}
        if exported.is_legacy:
            (reader,) = exported.graph.consumers(node.outputs[0])
            x, y = exported.run(feed, [node.inputs[0], reader.outputs[0]])
            steps = (y - params.dequantize(params.quantize(x))) / params.scale
            assert np.abs(steps).max() < 1.01, name
            assert np.mean(np.abs(steps) > 0.01) <= 1e-4, name
        else:
            in_steps = exported.graph.producer(node.inputs[0])
            assert in_steps is not None
            x, integers = exported.run(feed, [in_steps.inputs[0], node.outputs[0]])
            np.testing.assert_array_equal(integers, params.quantize(x), name)


def _position(program: PaddleProgram, name: str) -> int:
    producer = program.graph.producer(name)
    return -1 if producer is None else program.graph.nodes.index(producer)


@pytest.mark.parametrize("storage", ["int8", "float32"])
def test_weights_are_stored_as_their_integers(model: str, tmp_path: Path, storage: Any) -> None:
    program = load_program(find_model_files(model))
    _annotate(program)
    files = export_program(program, str(tmp_path), weight_storage=storage)
    assert files.params is not None
    data = Path(files.params).read_bytes()
    stored = {data[r.offset : r.offset + r.nbytes] for r in read_records(files.params)}
    for name, integers in _weights(program).items():
        assert integers.astype(storage).tobytes() in stored, name


def test_feeds_and_fetches_are_unchanged_for_paddle_itself(model: str, tmp_path: Path) -> None:
    program = load_program(find_model_files(model))
    expected = program.run_outputs({"image": images(4)})[0]
    _annotate(program)
    export_program(program, str(tmp_path), model_filename="quantized")
    with program.active():
        executor = paddle.static.Executor(paddle.CPUPlace())
        with paddle.static.scope_guard(paddle.static.Scope()):
            loaded, feeds, fetches = paddle.static.load_inference_model(str(tmp_path / "quantized"), executor)
            (got,) = executor.run(loaded, feed={feeds[0]: images(4)}, fetch_list=fetches)
    assert feeds == ["image"]
    assert np.abs(got - expected).max() < 0.1 * np.abs(expected).max()
    assert paddle.in_dynamic_mode()


def test_the_loaded_model_is_left_as_it_was(model: str, tmp_path: Path) -> None:
    program = load_program(find_model_files(model))
    before = program.run_outputs({"image": images(2)})[0]
    _annotate(program)
    export_program(program, str(tmp_path))
    np.testing.assert_array_equal(program.run_outputs({"image": images(2)})[0], before)


def test_folded_batch_norm_computes_the_same(model: str, tmp_path: Path) -> None:
    program = load_program(find_model_files(model))
    expected = program.run_outputs({"image": images(4)})[0]
    folded = fold_batch_norm(program.graph)
    assert len(folded) == 2
    exported = load_program(export_program(program, str(tmp_path), folded=folded))
    assert "batch_norm" not in {node.source_op for node in exported.graph.nodes}
    np.testing.assert_allclose(exported.run_outputs({"image": images(4)})[0], expected, rtol=1e-4, atol=1e-5)


def test_an_exported_model_can_be_imported_and_exported_again(model: str, tmp_path: Path) -> None:
    program = load_program(find_model_files(model))
    _annotate(program)
    first = load_program(export_program(program, str(tmp_path / "a")))
    second = load_program(export_program(first, str(tmp_path / "b"), params_filename="weights.pdiparams"))
    assert os.path.isfile(tmp_path / "b" / "weights.pdiparams")
    x = {"image": images(2)}
    np.testing.assert_array_equal(first.run_outputs(x)[0], second.run_outputs(x)[0])


def test_nothing_is_left_behind_when_writing_fails(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = load_program(find_model_files(model))
    _annotate(program)

    def broken(prefix: str, *_: Any, **__: Any) -> None:
        Path(prefix + ".pdiparams").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(paddle.static, "save_inference_model", broken)
    with pytest.raises(OSError, match="disk full"):
        export_program(program, str(tmp_path / "new" / "deeper"))
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "model.pdiparams").write_bytes(b"before")
    with pytest.raises(OSError, match="disk full"):
        export_program(program, str(tmp_path / "old"))
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["model.pdiparams"]
    assert (tmp_path / "old" / "model.pdiparams").read_bytes() == b"before"
    assert paddle.in_dynamic_mode()


def test_a_stale_program_of_the_other_ir_goes(model: str, tmp_path: Path) -> None:
    program = load_program(find_model_files(model))
    for ending in (".json", ".pdmodel"):
        (tmp_path / ("model" + ending)).write_text("stale")
    files = export_program(program, str(tmp_path))
    assert find_model_files(str(tmp_path)) == files


def test_bad_names_and_directories(model: str, tmp_path: Path) -> None:
    program = load_program(find_model_files(model))
    with pytest.raises(ValueError, match="save_model_filename"):
        export_program(program, str(tmp_path), model_filename="a/b")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        export_program(program, str(tmp_path / "file"))
    with pytest.raises(ValueError, match="weight_storage"):
        export_program(program, str(tmp_path), weight_storage="int4")  # type: ignore[arg-type]


def test_staging_moves_all_or_nothing(tmp_path: Path) -> None:
    with staged_directory(str(tmp_path / "out")) as staging:
        Path(staging, "a").write_text("1")
        assert not (tmp_path / "out" / "a").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
