# SPDX-License-Identifier: Apache-2.0
"""The last steps of detectors run behind the engine: the outputs and names of the Paddle model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from numpy.typing import NDArray
from paddle import nn
from small_networks import dygraph

import qslim as slim
from qslim._core import Session as CoreSession
from qslim.exporters import dumps_qslim, save_qslim
from qslim.exporters.engine_file import split_for_engine
from qslim.graph.operators.detection import DETECTION
from qslim.importers import load_qslim
from qslim.importers.paddle import find_model_files, import_model, load_program

_ANCHORS = [10, 13, 16, 30, 33, 23]


class _Yolo(nn.Layer):
    """A head of YOLOv3 with multiclass_nms3, or with matrix_nms as PP-YOLO has it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Sequential(nn.Conv2D(3, 16, 3, stride=4, padding=1), nn.ReLU())
        self.head = nn.Conv2D(16, 21, 1)

    def forward(self, image: Any, size: Any) -> Any:
        features = self.head(self.body(image)) * 3
        boxes, scores = paddle.vision.ops.yolo_box(features, size, _ANCHORS, 2, 0.01, 4)
        scores = scores.transpose([0, 2, 1])
        if self.kind == "matrix_nms":
            found, count, _ = paddle.vision.ops.matrix_nms(
                boxes, scores, 0.01, 0.05, 50, 20, return_index=True
            )
            return found, count
        found, _, count = paddle._C_ops.multiclass_nms3(
            boxes, scores, None, 0.2, 100, 50, 0.45, True, 1.0, -1
        )
        return found, count


def _images(count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    image = np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)
    return {"image": image, "size": np.full((count, 2), 64, np.int32)}


@pytest.fixture(scope="module", params=["multiclass_nms3", "matrix_nms"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    paddle.seed(0)
    directory = tmp_path_factory.mktemp(request.param)
    net = _Yolo(request.param)
    net.eval()
    spec = [
        paddle.static.InputSpec([None, 3, 32, 32], "float32", "image"),
        paddle.static.InputSpec([None, 2], "int32", "size"),
    ]
    with dygraph():
        paddle.jit.save(net, str(directory / "model"), input_spec=spec)
    return request.param, str(directory)


def _same_boxes(got: list[NDArray[Any]], expected: list[NDArray[Any]]) -> None:
    assert [(a.dtype, a.shape) for a in got] == [(a.dtype, a.shape) for a in expected]
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-4, atol=1e-3)  # of 64 pixels
    np.testing.assert_array_equal(got[1], expected[1])


def test_a_detector_runs_end_to_end(model: tuple[str, str]) -> None:
    _, directory = model
    session = slim.runtime.Session(directory)
    program = load_program(find_model_files(directory))
    assert [spec.name for spec in session.inputs] == ["image", "size"]
    assert [spec.name for spec in session.outputs] == program.graph.outputs
    for count in (1, 3):
        feeds = _images(count, seed=count)
        expected = program.run_outputs(feeds)
        assert len(expected[0]) > 0
        _same_boxes(session.run(feeds), expected)
    (second,) = session.run([program.graph.outputs[1]], feeds)
    np.testing.assert_array_equal(second, expected[1])
    assert session.profile(feeds, 1)


def test_a_quantized_detector_keeps_its_outputs(model: tuple[str, str], tmp_path: Path) -> None:
    kind, directory = model
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        report = slim.quant.quant_post_static(
            executor, directory, str(tmp_path), data_loader=[_images(4)], hist_percent=1.0
        )
    finally:
        paddle.disable_static()
    assert any(f"{kind} run on the host" in note for note in report.notes)
    assert report.engine_file is not None
    feeds = _images(2, seed=9)
    expected = load_program(find_model_files(str(tmp_path))).run_outputs(feeds)
    for session in (slim.runtime.Session(report.engine_file), slim.runtime.Session(str(tmp_path))):
        _same_boxes(session.run(feeds), expected)
    predictor = slim.runtime.create_predictor(slim.runtime.Config(report.engine_file))
    for name, value in feeds.items():
        predictor.get_input_handle(name).copy_from_cpu(value)
    predictor.run()
    outputs = [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
    _same_boxes(outputs, expected)


def test_no_box_at_all(model: tuple[str, str]) -> None:
    _, directory = model
    feeds = _images(1)
    feeds["image"] -= 1e4  # every score is next to nothing
    expected = load_program(find_model_files(directory)).run_outputs(feeds)
    got = slim.runtime.Session(directory).run(feeds)
    assert got[0].shape == expected[0].shape
    np.testing.assert_array_equal(got[1], expected[1])


def test_the_file_holds_the_tail(model: tuple[str, str], tmp_path: Path) -> None:
    _, directory = model
    graph = import_model(directory)
    part, tail = split_for_engine(graph)
    assert tail is not None
    path = tmp_path / "model.qslim"
    save_qslim(part, path, tail=tail)
    assert CoreSession(str(path)).outputs  # C++ gives the tensors at the cut
    whole = load_qslim(path)
    assert (whole.inputs, whole.outputs) == (graph.inputs, graph.outputs)
    assert [node.op_type for node in whole.nodes] == [node.op_type for node in part.nodes + tail.graph.nodes]
    damaged = dumps_qslim(part, tail).replace(b'\\"feeds\\"', b'\\"foods\\"')
    with pytest.raises(slim.FormatError, match="lists no feeds"):
        load_qslim(damaged)


def test_operators_that_numpy_should_not_run_stay_out() -> None:
    class TwoStages(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(1, 2)

        def forward(self, x: Any) -> Any:
            chosen = paddle.nonzero(self.first(x) > 0)
            return self.second(chosen[:, :1].astype("float32"))

    with dygraph():
        spec = [paddle.static.InputSpec([None, 4], "float32", "x")]
        graph = slim.importers.paddle.import_layer(TwoStages(), spec, legacy=False).graph
    with pytest.raises(ValueError, match=r"no kernel for: paddle\.nonzero"):
        slim.runtime.Session(graph)


@pytest.mark.parametrize("seed", range(12))
def test_suppression_keeps_paddles_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m, c = (int(rng.integers(1, high)) for high in (4, 120, 6))
    corner, side = rng.uniform(0, 20, (n, m, 2)), rng.uniform(-0.5, 12, (n, m, 2))
    boxes = np.concatenate([corner, corner + side], 2).astype(np.float32)
    scores = rng.uniform(0, 1, (n, c, m)).astype(np.float32)
    tied = (np.round(scores * 5) / 5).astype(np.float32)
    attributes = {
        "background_label": int(rng.integers(-1, 2)),
        "score_threshold": float(rng.choice([0.01, 0.5, 0.999])),
        "nms_top_k": int(rng.choice([-1, 5, 40])),
        "keep_top_k": int(rng.choice([-1, 3, 20])),
        "nms_threshold": float(rng.choice([0.3, 0.5, 0.7])),
        "normalized": bool(rng.integers(0, 2)),
        "nms_eta": float(rng.choice([1.0, 0.9])),
    }
    names = [
        "score_threshold", "nms_top_k", "keep_top_k", "nms_threshold", "normalized", "nms_eta",
        "background_label",
    ]  # fmt: skip
    matrix_names = [
        "score_threshold", "nms_top_k", "keep_top_k", "post_threshold", "use_gaussian", "gaussian_sigma",
        "background_label", "normalized",
    ]  # fmt: skip
    with dygraph():
        for values in (scores, tied):
            arguments = [attributes[name] for name in names]
            tensors = paddle.to_tensor(boxes), paddle.to_tensor(values)
            expected = paddle._C_ops.multiclass_nms3(*tensors, None, *arguments)
            got = DETECTION["multiclass_nms3"](attributes, [boxes, values])
            for a, b in zip(got, expected):
                np.testing.assert_array_equal(a, b.numpy())
        # Paddle orders equal scores of matrix_nms by chance.
        for is_gaussian in (False, True):
            more = {**attributes, "post_threshold": 0.1, "use_gaussian": is_gaussian, "gaussian_sigma": 2.0}
            arguments = [more[name] for name in matrix_names]
            expected = paddle._C_ops.matrix_nms(paddle.to_tensor(boxes), paddle.to_tensor(scores), *arguments)
            got = DETECTION["matrix_nms"](more, [boxes, scores])
            for a, b in zip(got, expected):
                np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_iou_aware", [False, True])
@pytest.mark.parametrize("is_clipped", [False, True])
def test_yolo_box(is_iou_aware: bool, is_clipped: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3 * (7 + is_iou_aware), 4, 5)).astype(np.float32)
    size = np.array([[64, 80], [100, 50]], np.int32)
    attributes = {
        "anchors": _ANCHORS, "class_num": 2, "conf_thresh": 0.4, "downsample_ratio": 16,
        "clip_bbox": is_clipped, "scale_x_y": 1.05, "iou_aware": is_iou_aware, "iou_aware_factor": 0.4,
    }  # fmt: skip
    with dygraph():
        expected = paddle.vision.ops.yolo_box(paddle.to_tensor(x), paddle.to_tensor(size), **attributes)
    for a, b in zip(DETECTION["yolo_box"](attributes, [x, size]), expected):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-4)
