# SPDX-License-Identifier: Apache-2.0
"""Calibration data that says nothing is refused, and tensors that never change are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from small_networks import dygraph, images, save_network, small_network

import qslim as slim


def _quantize(model: str, out: Path, data: list[Any]) -> Any:
    paddle.enable_static()
    try:
        executor = paddle.static.Executor(paddle.CPUPlace())
        return slim.quant.quant_post_static(executor, model, str(out), data_loader=data)
    finally:
        paddle.disable_static()


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_constant_calibration_data_is_refused(tmp_path: Path, value: float) -> None:
    model = save_network(small_network(), str(tmp_path / "float"), "pir")
    batch = np.full((2, 3, 16, 16), value, np.float32)
    with pytest.raises(ValueError, match=r"feed 'image' holds one value only in each of the 2 batches"):
        _quantize(model, tmp_path / "int8", [batch, batch + 1])
    assert not (tmp_path / "int8").exists()
    _quantize(model, tmp_path / "int8", [batch, images(1)])  # one constant batch among others is data


def test_constant_side_inputs_are_no_fault(tmp_path: Path) -> None:
    class TwoFeeds(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(3, 4, 3)

        def forward(self, image: Any, size: Any) -> Any:
            return self.conv(image).sum([1, 2, 3]) * size.sum(1)

    spec = [
        paddle.static.InputSpec([None, 3, 16, 16], "float32", "image"),
        paddle.static.InputSpec([None, 2], "float32", "size"),
    ]
    with dygraph():
        paddle.jit.save(TwoFeeds(), str(tmp_path / "float" / "model"), input_spec=spec)
    size = np.full((2, 2), 640, np.float32)
    _quantize(str(tmp_path / "float"), tmp_path / "int8", [{"image": images(2), "size": size}])
    constant = {"image": np.zeros((2, 3, 16, 16), np.float32), "size": size}
    with pytest.raises(ValueError, match="feed 'image'"):
        _quantize(str(tmp_path / "float"), tmp_path / "int8", [constant])


def test_a_tensor_that_never_changes_is_named(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2D(3, 4, 3), nn.ReLU(), nn.Conv2D(4, 4, 3))
    net[0].bias.set_value(np.full(4, -100, np.float32))  # the ReLU is dead
    report = _quantize(save_network(net, str(tmp_path / "float"), "pir"), tmp_path / "int8", [images(2)])
    assert any("'relu_0' was 0 everywhere during calibration" in note for note in report.notes)


def test_a_feed_that_was_never_negative_is_named(tmp_path: Path) -> None:
    model = save_network(small_network(), str(tmp_path / "float"), "pir")
    report = _quantize(model, tmp_path / "int8", [np.abs(images(4))])
    assert any("feed 'image' was never negative during calibration" in note for note in report.notes)
    signed = _quantize(model, tmp_path / "signed", [images(4)])
    assert not any("never negative" in note for note in signed.notes)
