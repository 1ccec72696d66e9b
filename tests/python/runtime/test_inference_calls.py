# SPDX-License-Identifier: Apache-2.0
"""Code for Paddle Inference runs with ``from qslim import runtime as inference``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.inference
import pytest
from small_networks import images, save_network, small_network

from qslim import runtime as inference
from qslim.errors import MissingFileError
from qslim.importers.paddle import find_model_files, load_program
from qslim.runtime.inference_config import _ACCEPTED, _QUESTIONS, _REFUSED

X = images(2)


@pytest.fixture(scope="module", params=["pir", "legacy"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_network(small_network(), str(tmp_path_factory.mktemp(request.param)), request.param))


def _program(model: Path) -> str:
    return find_model_files(str(model)).program


def _run(config: inference.Config) -> Any:
    predictor = inference.create_predictor(config)
    (name,) = predictor.get_input_names()
    handle = predictor.get_input_handle(name)
    handle.reshape([9, 9])
    handle.copy_from_cpu(X)
    assert predictor.run() is True
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def _expected(model: Path) -> Any:
    return load_program(find_model_files(str(model))).run_outputs({"image": X})[0]


def test_every_name_of_paddle_inference_is_there() -> None:
    names = [name for name in dir(paddle.inference) if not name.startswith("_")]
    # Paddle's own plumbing.
    assert [n for n in names if not hasattr(inference, n) and n not in ("InternalUtils", "wrapper")] == []
    for ours, theirs in (
        (inference.Config, paddle.inference.Config),
        (inference.Predictor, paddle.inference.Predictor),
        (inference.PredictorPool, paddle.inference.PredictorPool),
        (inference.Tensor, paddle.inference.Tensor),
    ):
        public = [name for name in dir(theirs) if not name.startswith("_")]
        assert [name for name in public if not hasattr(ours, name)] == []


def test_questions_have_paddles_kind_of_answer() -> None:
    theirs = paddle.inference.Config()
    ours = inference.Config()
    for name in _QUESTIONS:
        assert isinstance(getattr(ours, name)(), (bool, int, float, str, inference.PrecisionType)), name
        assert hasattr(theirs, name)
    for name in ("ir_optim", "use_gpu", "specify_input_name", "tensorrt_engine_enabled", "gpu_device_id"):
        assert getattr(ours, name)() == getattr(theirs, name)(), name
    ours.switch_ir_optim(False)
    ours.enable_mkldnn()
    assert (ours.ir_optim(), ours.mkldnn_enabled(), ours.onednn_enabled()) == (False, True, True)


def test_settings_of_paddles_own_are_accepted(model: Path) -> None:
    config = inference.Config(_program(model), str(model / "model.pdiparams"))
    for name in _ACCEPTED:
        getattr(config, name)()
    config.delete_pass("conv_transpose_eltwiseadd_bn_fuse_pass")
    config.exp_disable_mixed_precision_ops({"conv2d"})
    config.pass_builder().delete_pass("fc_fuse_pass")
    config.set_cpu_math_library_num_threads(2)
    assert config.cpu_math_library_num_threads() == 2
    np.testing.assert_allclose(_run(config), _expected(model), rtol=1e-4, atol=1e-5)
    assert "model" in config.summary()


@pytest.mark.parametrize("name", sorted(_REFUSED))
def test_absent_devices_and_engines_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Config\.{name}: this engine .*leave the call out"):
        getattr(inference.Config(), name)(1, 2)


def test_the_ways_to_name_a_model(model: Path, tmp_path: Path) -> None:
    expected = _expected(model)
    params = model / "model.pdiparams"
    moved = tmp_path / "elsewhere.bin"
    shutil.copy(params, moved)
    by_setters = inference.Config()
    by_setters.set_prog_file(_program(model))
    by_setters.set_params_file(str(params))
    assert (by_setters.prog_file(), by_setters.params_file()) == (_program(model), str(params))
    by_set_model = inference.Config()
    by_set_model.set_model(_program(model), str(params))
    from_memory = inference.Config()
    program_bytes, params_bytes = Path(_program(model)).read_bytes(), params.read_bytes()
    from_memory.set_model_buffer(program_bytes, len(program_bytes), params_bytes, len(params_bytes))
    assert from_memory.model_from_memory()
    assert not by_setters.model_from_memory()
    directory = inference.Config(str(model))
    assert directory.model_dir() == str(model)
    for config in (
        inference.Config(Path(_program(model)), params),
        inference.Config(_program(model), str(moved)),
        by_setters,
        by_set_model,
        from_memory,
        directory,
    ):
        np.testing.assert_allclose(_run(config), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(MissingFileError):
        inference.create_predictor(inference.Config(str(tmp_path / "no.pdmodel"), str(moved)))


def test_tensors_hooks_and_pools(model: Path) -> None:
    config = inference.Config(_program(model), str(model / "model.pdiparams"))
    expected = _expected(model)
    pool = inference.PredictorPool(config, 2)
    predictor = pool.retrieve(1)
    with pytest.raises(ValueError, match="there are 2 predictors, got index 2"):
        pool.retrieve(2)
    seen: list[tuple[str, str, list[int]]] = []
    predictor.register_input_hook(lambda op, name, tensor: seen.append((op, name, tensor.shape())))
    predictor.register_output_hook(lambda op, name, tensor: seen.append((op, name, tensor.shape())))
    shared = X.copy()
    handle = predictor.get_input_handle("image")
    handle.share_external_data(shared)
    shared *= 1
    predictor.run()
    assert [(op, shape) for op, _, shape in seen] == [("feed", [2, 3, 16, 16]), ("fetch", [2, 5])]
    output = predictor.get_output_handle(predictor.get_output_names()[0])
    assert (output.type(), handle.type()) == (inference.DataType.FLOAT32,) * 2
    np.testing.assert_allclose(output.copy_to_cpu(), expected, rtol=1e-4, atol=1e-5)
    (tensor,) = predictor.run([paddle.to_tensor(X)])
    assert isinstance(tensor, paddle.Tensor)
    (array,) = predictor.run([X])
    np.testing.assert_array_equal(array, tensor.numpy())
    handle.set_lod([[0, 1, 2]])
    assert handle.lod() == [[0, 1, 2]]


def test_versions_and_sizes() -> None:
    assert inference.get_version().startswith("qslim")
    assert inference.get_trt_compile_version() == (0, 0, 0)
    sizes = [inference.get_num_bytes_of_data_type(dtype) for dtype in inference.DataType]
    assert sizes == [8, 4, 2, 2, 8, 4, 1, 1, 1]
    with pytest.raises(ValueError, match="quant_post_static"):
        inference.convert_to_mixed_precision("a", "b", "c", "d", None, None)
