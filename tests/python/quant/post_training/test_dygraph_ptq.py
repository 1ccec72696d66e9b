# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's PTQ of a dygraph network: names, calibration, folding, saving, and what it refuses."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
import pytest
from deployment import assert_saved_as_evaluated, batch, network
from paddle import nn
from paddle.quantization import QuantConfig

import qslim as slim
from qslim.quant import distributed
from qslim.quant.observers import AbsmaxObserver


def _calibrated(ptq: Any, net: Any, **options: Any) -> Any:
    quantized = ptq.quantize(net, **options)
    for seed in range(2):
        quantized(batch(seed))
    return quantized


@pytest.mark.parametrize(
    ("activation", "weight"),
    [
        ("KLQuantizer", "PerChannelAbsmaxQuantizer"),
        ("HistQuantizer", "AbsmaxQuantizer"),
        ("AbsmaxQuantizer", "PerChannelAbsmaxQuantizer"),
    ],
)
def test_saved_as_evaluated(activation: str, weight: str, tmp_path: Any) -> None:
    net = network()
    ptq = slim.PTQ(activation, weight)
    quantized = _calibrated(ptq, net)
    x = batch(9)
    np.testing.assert_array_equal(quantized(x).numpy(), net(x).numpy())  # still float
    assert_saved_as_evaluated(ptq, quantized, tmp_path, x)
    error = np.abs(quantized(x).numpy() - net(x).numpy()).max()
    assert 0 < error < 0.2 * float(net(x).abs().max())


@pytest.mark.parametrize("fuse_list", [None, [["conv", "norm"]]])
def test_fused_normalization(fuse_list: Any, tmp_path: Any) -> None:
    net = network()
    ptq = slim.PTQ("AbsmaxQuantizer", "AbsmaxQuantizer")
    fused = ptq.convert(_calibrated(ptq, net, fuse=True, fuse_list=fuse_list), remain_weight=True)
    factor = net.norm.weight.numpy() / np.sqrt(net.norm._variance.numpy() + net.norm._epsilon)
    folded = net.conv.weight.numpy() * factor.reshape(-1, 1, 1, 1)
    step = fused.conv._fake_quant_weight.quant_params().scale
    np.testing.assert_allclose(step, np.abs(folded).max() / 127 / factor, rtol=1e-5)
    assert_saved_as_evaluated(ptq, fused, tmp_path, batch(9))


def test_arguments_go_to_the_activation_quantizer() -> None:
    ptq = slim.PTQ("HistQuantizer", hist_percent=0.5, quant_bits=4)
    converted = ptq.convert(_calibrated(ptq, network()), remain_weight=True)
    quantizer = converted.conv._fake_quant_input
    assert quantizer.quant_bits == 4
    magnitudes = np.abs(np.concatenate([batch(seed).numpy() for seed in range(2)]))
    assert quantizer.threshold == pytest.approx(np.quantile(magnitudes, 0.5), rel=0.01)
    assert converted.conv._fake_quant_weight.quant_bits == 8


def test_calibration_goes_on_after_a_copy_was_converted() -> None:
    ptq = slim.PTQ("AbsmaxQuantizer")
    net = network()
    quantized = ptq.quantize(net)
    quantized(batch(0))
    first = ptq.convert(quantized).conv._fake_quant_input.threshold
    quantized(3 * batch(0))
    second = ptq.convert(quantized).conv._fake_quant_input.threshold
    assert second == pytest.approx(3 * first, rel=1e-6)


def test_inplace_and_copies() -> None:
    net = network()
    assert slim.PTQ().quantize(net) is not net
    assert type(net.conv) is nn.Conv2D
    ptq = slim.PTQ()
    assert ptq.quantize(net, inplace=True) is net
    net(batch(0))
    assert ptq.convert(net, inplace=True) is net
    before = net.conv.weight.numpy()
    np.testing.assert_array_equal(before, np.rint(before))
    net(batch(0))
    ptq.convert(net, inplace=True)  # nothing is left to do
    np.testing.assert_array_equal(net.conv.weight.numpy(), before)


def test_a_layer_that_calibration_never_reaches_stays_float(tmp_path: Any, caplog: Any) -> None:
    class Branches(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Any, other: bool = False) -> Any:
            return self.unused(x) if other else self.used(x)

    net = Branches()
    net.eval()
    ptq = slim.PTQ()
    quantized = ptq.quantize(net)
    x = paddle.randn([8, 4])
    quantized(x)
    converted = ptq.convert(quantized)
    assert converted.unused._fake_quant_input.quant_params() is None
    np.testing.assert_allclose(converted(x, other=True).numpy(), net(x, other=True).numpy(), atol=0.02)


def test_what_it_refuses(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"did you mean 'KLQuantizer'\?"):
        slim.PTQ("KLQuantiser")
    with pytest.raises(ValueError, match=r"did you mean 'PerChannelAbsmaxQuantizer'\?"):
        slim.PTQ(weight_quantizer="PerChannelAbsMaxQuantizer")
    with pytest.raises(ValueError, match=r"did you mean 'hist_percent'\?"):
        slim.PTQ("HistQuantizer", hist_percentage=0.9)
    with pytest.raises(ValueError, match="goes with names of quantizers"):
        slim.PTQ(QuantConfig(AbsmaxObserver(), AbsmaxObserver()), quant_bits=8)
    ptq = slim.PTQ()
    with pytest.raises(ValueError, match=r"expected a paddle\.nn\.Layer, got int"):
        ptq.quantize(3)
    with pytest.raises(ValueError, match="quantizes no layer of ReLU"):
        ptq.quantize(nn.ReLU())
    with pytest.raises(ValueError, match=r"did you mean 'conv'\?"):
        ptq.quantize(network(), fuse=True, fuse_list=[["conv1", "norm"]])
    quantized = ptq.quantize(network())
    with pytest.raises(ValueError, match="quantized already"):
        ptq.quantize(quantized)
    spec = [paddle.static.InputSpec([None, 2, 6, 6], "float32", "x")]
    with pytest.raises(ValueError, match="not calibrated"):
        ptq.save_quantized_model(quantized, str(tmp_path / "model"), input_spec=spec)
    with pytest.raises(ValueError, match="no quantized layer"):
        ptq.convert(network())
    assert os.listdir(tmp_path) == []
    quantized(batch(0))
    with pytest.raises(ValueError, match="input_spec is missing"):
        ptq.save_quantized_model(copy.deepcopy(quantized), str(tmp_path / "model"))
    quantized = ptq.quantize(network())
    quantized.train()
    with pytest.raises(ValueError, match=r"calibrated in training mode.*model\.eval\(\)"):
        quantized(batch(0))


def test_two_ranks_calibrate_together(monkeypatch: Any) -> None:
    """The statistics of the other rank decide as much; test_distributed.py shows that they arrive."""
    ptq = slim.PTQ("AbsmaxQuantizer")
    ranks = [ptq.quantize(network()) for _ in range(2)]
    for rank, quantized in enumerate(ranks):
        quantized((1 + rank) * batch(0))
    gathered: list[bytes] = []

    @contextlib.contextmanager
    def together(what: str) -> Iterator[distributed.Exchange]:
        exchange = distributed.Exchange()
        yield exchange
        gathered.append(exchange.own)
        exchange.all = list(gathered)

    monkeypatch.setattr(distributed, "together", together)
    ptq.convert(ranks[1])
    together_converted = ptq.convert(ranks[0])
    monkeypatch.undo()
    for other, name in ((ranks[1], "conv"), (ranks[1], "head")):
        alone = getattr(ptq.convert(other), name)._fake_quant_input.threshold
        assert getattr(together_converted, name)._fake_quant_input.threshold == alone
