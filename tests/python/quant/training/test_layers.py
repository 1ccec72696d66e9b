# SPDX-License-Identifier: Apache-2.0
"""Layers that quantize() has quantized: their choice, state, gradients and numbers in training."""

from __future__ import annotations

import copy
from typing import Any, Optional

import numpy as np
import paddle
import pytest
from paddle import nn
from small_networks import SmallNetwork, images, small_network

import qslim
from qslim.quant.quantizers.tensors import fake_quant, fake_quant_by_operators
from qslim.quant.training.layers import QuantizedLayer


def quantized_layers(net: Any) -> list[str]:
    return [
        name for name, layer in net.named_sublayers(include_self=True) if isinstance(layer, QuantizedLayer)
    ]


def train(net: Any, batches: Any, optimizer: Optional[Any] = None) -> list[float]:
    optimizer = optimizer or paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    losses = []
    for batch in batches:
        loss = net(paddle.to_tensor(batch)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    return losses


def test_layers_of_the_listed_types_are_quantized() -> None:
    net = small_network()
    assert qslim.QAT().quantize(net) is net
    assert quantized_layers(net) == ["stem", "depthwise", "pointwise", "head"]
    net = small_network()
    net.depthwise.skip_quant = True
    qslim.QAT({"quantizable_layer_type": ["Conv2D", "Conv2DTranspose"]}).quantize(net)
    assert quantized_layers(net) == ["stem", "pointwise", "up"]


def test_a_bare_layer_is_a_model() -> None:
    conv = nn.Conv2D(3, 4, 3)
    before = conv(paddle.ones([1, 3, 5, 5])).numpy()
    qslim.QAT().quantize(conv)
    assert isinstance(conv, nn.Conv2D)
    conv.train()
    after = conv(paddle.ones([1, 3, 5, 5])).numpy()
    assert 0 < np.abs(after - before).max() < 0.05


def test_a_copy_leaves_the_model_alone() -> None:
    net = small_network()
    other = qslim.QAT().quantize(net, inplace=False)
    assert quantized_layers(net) == []
    assert len(quantized_layers(other)) == 4


def test_quantizing_twice_is_an_error() -> None:
    net = qslim.QAT().quantize(small_network())
    keys = list(net.state_dict())
    with pytest.raises(ValueError, match="quantized already"):
        qslim.QAT().quantize(net)
    assert list(net.state_dict()) == keys


@pytest.mark.parametrize("model", [nn.ReLU(), "net"])
def test_what_cannot_be_quantized_is_named(model: Any) -> None:
    with pytest.raises(ValueError, match=r"QAT\.quantize: "):
        qslim.QAT().quantize(model)


def test_float_checkpoints_load_before_and_after() -> None:
    trained = small_network(7).state_dict()
    before, after = small_network(1), small_network(1)
    before.set_state_dict(trained)
    qslim.QAT().quantize(before)
    qslim.QAT().quantize(after)
    assert set(trained) <= set(after.state_dict())
    after.set_state_dict(trained)
    for key, value in trained.items():
        np.testing.assert_array_equal(after.state_dict()[key].numpy(), value.numpy())
    x = paddle.to_tensor(images(2))
    before.train()
    after.train()
    np.testing.assert_array_equal(before(x).numpy(), after(x).numpy())


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "range": {"activation_quantize_type": "range_abs_max", "window_size": 2},
    "abs_max": {"activation_quantize_type": "abs_max", "weight_quantize_type": "abs_max"},
    "tracked": {"weight_quantize_type": "moving_average_abs_max"},
    "pact": {
        "activation_preprocess_type": "PACT",
        "weight_preprocess_type": "PACT",
        "calibration_batches": 2,
    },
    "lsq": {"activation_quantize_type": "lsqplus_act", "weight_quantize_type": "channel_wise_lsq_weight"},
    "folded": {"fuse_conv_bn": True, "weight_quantize_type": "abs_max"},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_resumed_run_goes_on_with_the_same_bits(config: dict[str, Any], tmp_path: Any) -> None:
    batches = [images(2, seed) for seed in range(6)]

    def start() -> tuple[Any, Any]:
        net = qslim.QAT(config).quantize(small_network())
        net.train()
        return net, paddle.optimizer.Momentum(0.01, parameters=net.parameters())

    with paddle.utils.unique_name.guard():  # names as in a process of its own
        net, optimizer = start()
        train(net, batches[:3], optimizer)
        paddle.save(net.state_dict(), str(tmp_path / "net.pdparams"))
        paddle.save(optimizer.state_dict(), str(tmp_path / "net.pdopt"))
        whole = train(net, batches[3:], optimizer)
    with paddle.utils.unique_name.guard():
        net, optimizer = start()
        net.set_state_dict(paddle.load(str(tmp_path / "net.pdparams")))
        optimizer.set_state_dict(paddle.load(str(tmp_path / "net.pdopt")))
        assert train(net, batches[3:], optimizer) == whole


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_configuration_learns(config: dict[str, Any]) -> None:
    net = qslim.QAT(config).quantize(small_network())
    net.train()
    losses = train(net, [images(4)] * 12)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_take_the_values_of_the_grid(bits: int) -> None:
    conv = nn.Conv2D(3, 4, 3)
    qslim.QAT({"weight_bits": bits, "activation_bits": bits}).quantize(conv)
    for weight in conv.quantized_weight().numpy():
        assert len(np.unique(weight)) <= 2**bits - 1
        np.testing.assert_allclose(
            np.abs(weight).max(), np.abs(conv.weight.numpy()).max((1, 2, 3)).max(), rtol=1
        )
    assert abs(float(conv.quantized_weight().abs().max() - conv.weight.abs().max())) < 1e-6


def test_users_own_forward_runs() -> None:
    class Doubled(nn.Conv2D):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    paddle.seed(3)
    plain = nn.Conv2D(3, 4, 3)
    doubled = Doubled(3, 4, 3)
    doubled.set_state_dict(plain.state_dict())
    for conv in (plain, doubled):
        qslim.QAT().quantize(conv)
        conv.train()
    x = paddle.to_tensor(images(2))
    np.testing.assert_array_equal(doubled(x).numpy(), 2 * plain(x).numpy())
    for conv in (plain, doubled):
        conv.eval()
    np.testing.assert_allclose(doubled(x).numpy(), 2 * plain(x).numpy(), atol=1e-5)


class Halved(nn.Layer):
    def forward(self, x: Any) -> Any:
        return 0.5 * x


def test_users_own_layers_take_part() -> None:
    net = small_network()
    qslim.QAT(act_preprocess=Halved, weight_preprocess=Halved, weight_quantize=Halved).quantize(net)
    assert isinstance(net.stem._weight_preprocess, Halved)
    np.testing.assert_array_equal(net.stem.quantized_weight().numpy(), net.stem.weight.numpy() / 4)
    qslim.QAT(act_quantize=Halved).quantize(other := small_network())
    other.train()
    assert train(other, [images(2)] * 2)[0] > 0


def test_sums_of_paddles_quantizable_operators_are_quantized() -> None:
    class Residual(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(3, 3, 1)
            self.add = paddle.nn.quant.add()

        def forward(self, x: Any) -> Any:
            return self.add(x, self.conv(x))

    net = Residual()
    qslim.QAT({"activation_bits": 4}).quantize(net)
    net.train()
    for _ in range(3):
        y = net(paddle.to_tensor(images(4)))
    assert len(np.unique(y.numpy())) <= 16


def test_fuse_conv_bn_quantizes_the_folded_weight() -> None:
    net = small_network()
    qslim.QAT({"fuse_conv_bn": True, "weight_quantize_type": "abs_max"}).quantize(net)
    norm = net.stem_norm
    factor = norm.weight.numpy() / np.sqrt(norm._variance.numpy() + norm._epsilon)
    steps = net.stem.quantized_weight().numpy() * factor.reshape(-1, 1, 1, 1)
    folded = net.stem.weight.numpy() * factor.reshape(-1, 1, 1, 1)
    step = np.abs(folded).max() / 127
    np.testing.assert_allclose(steps / step, np.round(steps / step), atol=1e-3)
    assert np.abs(steps - folded).max() <= 0.501 * step
    assert net.pointwise._fake_quant_weight._norm is None


def test_a_normalization_elsewhere_is_not_folded(caplog: pytest.LogCaptureFixture) -> None:
    class Crossed(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(3, 3, 1)
            self.norm = nn.BatchNorm2D(3)

        def forward(self, x: Any) -> Any:
            return self.conv(self.norm(x)) + self.norm(x)

    net = Crossed()
    qslim.QAT({"fuse_conv_bn": True}).quantize(net)
    assert net.conv._fake_quant_weight._norm is net.norm
    net(paddle.to_tensor(images(1)))
    assert net.conv._fake_quant_weight._norm is None


def test_frozen_normalizations_stand_still() -> None:
    quanter = qslim.QAT()
    net = quanter.quantize(small_network())
    net.train()
    quanter.freeze_batch_norm(net)
    before = net.stem_norm._mean.numpy().copy()
    train(net, [images(4)])
    np.testing.assert_array_equal(net.stem_norm._mean.numpy(), before)
    quanter.freeze_batch_norm(net, frozen=False)
    train(net, [images(4)])
    assert (net.stem_norm._mean.numpy() != before).any()


def test_divergence_names_the_layer() -> None:
    net = qslim.QAT().quantize(small_network())
    net.train()
    net.depthwise.weight.set_value(np.full(net.depthwise.weight.shape, np.nan, np.float32))
    with pytest.raises(FloatingPointError, match=r"the weight of layer 'depthwise \(conv2d_.*batch 1"):
        net(paddle.to_tensor(images(1)))
    x = images(1)
    x[0, 0, 0, 0] = np.inf
    with pytest.raises(FloatingPointError, match="the input of layer 'stem"):
        net(paddle.to_tensor(x))


def test_static_mode_is_an_error() -> None:
    net = small_network()
    paddle.enable_static()
    try:
        with pytest.raises(ValueError, match="static-graph mode"):
            qslim.QAT().quantize(net)
    finally:
        paddle.disable_static()


def test_operators_of_other_devices_give_the_kernels_numbers() -> None:
    rng = np.random.default_rng(0)
    x = paddle.to_tensor((rng.standard_normal((4, 5, 6)) * 3).astype(np.float32))
    for params in (
        qslim.graph.QuantParams.activation(2.5, 8, False),
        qslim.graph.QuantParams.activation(2.5, 4, True),
        qslim.graph.QuantParams(np.float32(0.03), 77, 0, 255),
        qslim.graph.QuantParams.weight(rng.uniform(1, 3, 5), 8, 1),
    ):
        np.testing.assert_array_equal(
            fake_quant(x, params).numpy(), fake_quant_by_operators(x, params).numpy()
        )


def test_half_precision_trains() -> None:
    conv = nn.Conv2D(3, 4, 3)
    qslim.QAT().quantize(conv)
    conv.train()
    x = paddle.to_tensor(images(1)).astype("bfloat16")
    assert fake_quant(x, qslim.graph.QuantParams.activation(2.0, 8, False)).dtype == paddle.bfloat16


def test_deep_copies_are_independent() -> None:
    net = qslim.QAT({"activation_preprocess_type": "PACT"}).quantize(SmallNetwork())
    net.train()
    train(net, [images(2)])
    other = copy.deepcopy(net)
    train(other, [10 * images(2)])
    assert other.stem._fake_quant_input.batches == 2
    assert net.stem._fake_quant_input.batches == 1
