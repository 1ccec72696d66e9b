# SPDX-License-Identifier: Apache-2.0
"""QAT and PTQ by a paddle.quantization.QuantConfig: who is quantized how, converting, saving, constraints."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import paddle
import pytest
from deployment import assert_saved_as_evaluated, batch, network, train
from paddle import nn
from paddle.quantization import QAT as PaddleQAT
from paddle.quantization import BaseQuanter, QuantConfig
from paddle.quantization import quanters as paddle_quanters
from paddle.quantization.factory import QuanterFactory

import qslim as slim
from qslim.quant import SlimQAT, SlimQuantConfig
from qslim.quant.constraints import FreezedConvBNConstraint
from qslim.quant.observers import (
    AbsMaxChannelWiseWeightObserver,
    AbsmaxObserver,
    GroupWiseWeightObserver,
)
from qslim.quant.quanters import (
    ActLSQplusQuanter,
    FakeQuanterChannelWiseAbsMaxObserver,
    FakeQuanterWithAbsMaxObserver,
    PACTQuanter,
    WeightLSQplusQuanter,
    abs_max,
    learned,
)
from qslim.quant.quantizers.activation_quantizers import MovingAverageAbsMax
from qslim.quant.quantizers.learned_activations import LearnedActivation
from qslim.quant.quantizers.observed_quantizers import Unquantized
from qslim.quant.quantizers.weight_quantizers import AbsMaxWeight, LearnedWeight, PACTWeight, TrackedWeight

SPEC = [paddle.static.InputSpec([None, 2, 6, 6], "float32", "x")]


def plain(**bits: int) -> QuantConfig:
    return QuantConfig(FakeQuanterWithAbsMaxObserver(**bits), FakeQuanterChannelWiseAbsMaxObserver(**bits))


def trained(config: Any, **options: Any) -> tuple[Any, Any]:
    """QAT(config) and a network that it has quantized and that was trained."""
    net = network()
    net.train()
    qat = slim.QAT(config)
    quantized = qat.quantize(net)
    train(quantized, **options)
    return qat, quantized


@pytest.mark.parametrize(
    ("activation", "weight", "kinds"),
    [
        (
            FakeQuanterWithAbsMaxObserver(),
            FakeQuanterChannelWiseAbsMaxObserver(),
            (MovingAverageAbsMax, AbsMaxWeight),
        ),
        (
            FakeQuanterWithAbsMaxObserver(),
            FakeQuanterWithAbsMaxObserver(),
            (MovingAverageAbsMax, TrackedWeight),
        ),
        (
            PACTQuanter(FakeQuanterWithAbsMaxObserver(bit_length=4)),
            PACTQuanter(FakeQuanterChannelWiseAbsMaxObserver(bit_length=4)),
            (LearnedActivation, PACTWeight),
        ),
        (
            ActLSQplusQuanter(4, symmetric=False, batch_init=1),
            WeightLSQplusQuanter(4, per_channel=True),
            (LearnedActivation, LearnedWeight),
        ),
    ],
)  # fmt: skip
def test_trained_converted_and_saved_alike(
    activation: Any, weight: Any, kinds: tuple[type, type], tmp_path: Any
) -> None:
    qat, quantized = trained(QuantConfig(activation, weight), steps=6)
    for layer in (quantized.conv, quantized.depthwise, quantized.up, quantized.head):
        assert isinstance(layer._fake_quant_input, kinds[0])
        assert isinstance(layer._fake_quant_weight, kinds[1])
    x = batch(9)
    report = assert_saved_as_evaluated(qat, quantized, tmp_path, x)  # test_observers.py saves a converted one
    assert all(layer.activation is not None and layer.weight is not None for layer in report.layers)
    converted = qat.convert(quantized)
    np.testing.assert_array_equal(converted(x).numpy(), quantized(x).numpy())


def test_converted_before_any_batch(tmp_path: Any, caplog: Any) -> None:
    """Weights have a scale of their own; inputs have none yet, and stay float."""
    net = network()
    net.train()
    qat = slim.QAT(plain())
    quantized = qat.quantize(net)
    with caplog.at_level("WARNING", logger="qslim"):
        converted = qat.convert(quantized)
    assert "no batch has passed through" in caplog.text
    paddle.jit.save(converted, str(tmp_path / "model"), input_spec=SPEC)
    x = batch(9)
    loaded = paddle.jit.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded(x).numpy(), converted(x).numpy(), rtol=1e-5, atol=1e-6)
    net.eval()
    np.testing.assert_allclose(converted(x).numpy(), net(x).numpy(), atol=0.05)


@pytest.mark.parametrize("remain_weight", [True, False])
def test_a_converted_model_is_saved_by_paddle_itself(remain_weight: bool, tmp_path: Any) -> None:
    qat, quantized = trained(plain())
    converted = qat.convert(quantized, remain_weight=remain_weight)
    assert not converted.training
    assert quantized.training
    weight, before = converted.conv.weight.numpy(), quantized.conv.weight.numpy()
    if remain_weight:
        np.testing.assert_array_equal(weight, before)
    else:
        step = np.abs(before).max(axis=(1, 2, 3), keepdims=True) / 127
        np.testing.assert_array_equal(weight, np.rint(before / step))
    paddle.jit.save(converted, str(tmp_path / "model"), input_spec=SPEC)
    loaded = paddle.jit.load(str(tmp_path / "model"))
    x = batch(9)
    evaluated = converted(x).numpy()
    np.testing.assert_allclose(loaded(x).numpy(), evaluated, atol=0.003 * np.abs(evaluated).max())
    train(converted, steps=1, learning_rate=0.0)  # its grids stand
    converted.eval()
    for name in ("_mean", "_variance"):  # which the training step has moved
        getattr(converted.norm, name).set_value(getattr(quantized.norm, name))
    np.testing.assert_array_equal(converted(x).numpy(), evaluated)


def test_layer_before_name_before_type_before_parent_before_global() -> None:
    class Outer(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)], nn.Conv2D(1, 1, 1))
            self.head = nn.Linear(4, 4)
            self.last = nn.Linear(4, 4)

    def factory(bits: int) -> Any:
        return FakeQuanterWithAbsMaxObserver(bit_length=bits)

    net = Outer()
    config = QuantConfig(factory(2), factory(2))
    config.add_layer_config(net.block, factory(3), factory(3))
    config.add_type_config(nn.Conv2D, factory(4), factory(4))
    config.add_name_config(net.block[1].full_name(), factory(5), factory(5))
    config.add_layer_config([net.block[2]], factory(6), None)
    config.add_layer_config(net.last, None, None)
    quantized = slim.QAT(config).quantize(net)
    layers = [*quantized.block, quantized.head]
    assert [layer._fake_quant_input.quant_bits for layer in layers] == [3, 5, 6, 4, 2]
    weights = [layer._fake_quant_weight for layer in layers]
    assert [getattr(weight, "quant_bits", None) for weight in weights] == [3, 5, None, 4, 2]
    assert isinstance(weights[2], Unquantized)
    assert type(quantized.last) is nn.Linear


def test_other_layers_by_a_setting_of_their_own(tmp_path: Any) -> None:
    config = plain()
    config.add_type_config(nn.ReLU, activation=FakeQuanterWithAbsMaxObserver(bit_length=3))
    qat, quantized = trained(config)
    assert not hasattr(quantized.norm, "_fake_quant_input")  # by no setting but the global one
    assert_saved_as_evaluated(qat, quantized, tmp_path, batch(9))
    shown = quantized.relu(paddle.linspace(-10, 10, 999)).numpy()
    assert len(np.unique(shown)) <= 2**3


def test_stubs_and_customized_layers() -> None:
    class Doubled(nn.Layer):
        def __init__(self, layer: Any, setting: Any) -> None:
            super().__init__()
            self.layer, self.setting = layer, setting

        def forward(self, x: Any) -> Any:
            return 2 * self.layer(x)

    net = nn.Sequential(
        nn.Linear(4, 4), nn.quant.Stub(FakeQuanterWithAbsMaxObserver(bit_length=2)), nn.Linear(4, 4)
    )
    net[2].skip_quant = True
    config = plain()
    config.add_qat_layer_mapping(nn.Linear, Doubled)
    quantized = slim.QAT(config).quantize(net)
    assert isinstance(quantized[0], Doubled)
    assert quantized[0].setting.weight.quant_bits == 8
    assert quantized[1]._fake_quant_input.quant_bits == 2
    assert type(quantized[2]) is nn.Linear
    leaf = plain()
    leaf.add_customized_leaf(nn.Sequential)
    inner = slim.QAT(leaf).quantize(nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 4)))
    assert hasattr(inner, "_fake_quant_input")
    assert type(inner[1]) is nn.Linear


def test_paddles_own_factories_become_ours() -> None:
    theirs = paddle_quanters.FakeQuanterWithAbsMaxObserver(moving_rate=0.5, bit_length=4)
    quantized = slim.QAT(QuantConfig(theirs, theirs)).quantize(nn.Sequential(nn.Linear(4, 4)))
    quantizer = quantized[0]._fake_quant_input
    assert isinstance(quantizer, MovingAverageAbsMax)
    assert quantizer.quant_bits == 4
    assert isinstance(slim.PTQ(QuantConfig(PACTQuanter(theirs), None)).q_config, QuantConfig)


class Halving(BaseQuanter):  # type: ignore[misc]
    """A quanter of a user's: thresholds of 1, and halves in training what it is given."""

    def __init__(self, layer: Any, bits: int) -> None:
        super().__init__()
        self._bits = bits

    def forward(self, x: Any) -> Any:
        return x / 2

    def scales(self) -> Any:
        return paddle.to_tensor([1.0])

    def zero_points(self) -> Any:
        return paddle.to_tensor([0.0])

    def quant_axis(self) -> int:
        return -1

    def bit_length(self) -> int:
        return self._bits


class HalvingFactory(QuanterFactory):  # type: ignore[misc]
    def _get_class(self) -> type:
        return Halving


def test_a_users_quanter() -> None:
    factory = HalvingFactory(bits=4)
    net = nn.Sequential(nn.Linear(4, 4, bias_attr=False))
    qat = slim.QAT(QuantConfig(factory, factory))
    quantized = qat.quantize(net)
    x = paddle.randn([3, 4])
    np.testing.assert_allclose(quantized(x).numpy(), net(x).numpy() / 4, rtol=1e-5)
    converted = qat.convert(quantized)  # by Paddle's contract: a threshold and its bits
    for quantizer in (converted[0]._fake_quant_input, converted[0]._fake_quant_weight):
        assert float(quantizer.quant_params().threshold) == pytest.approx(1)
        assert quantizer.quant_params().qmax == 7


def test_paddles_own_qat_takes_our_quanters() -> None:
    net = network()
    net.train()
    qat = PaddleQAT(plain())
    quantized = qat.quantize(copy.deepcopy(net))
    train(quantized)
    quantized.eval()
    converted = qat.convert(quantized)
    x = batch(9)
    evaluated = quantized(x).numpy()
    np.testing.assert_allclose(converted(x).numpy(), evaluated, atol=0.05 * np.abs(evaluated).max())


def test_observers_in_training(tmp_path: Any) -> None:
    qat, quantized = trained(QuantConfig(AbsmaxObserver(), AbsMaxChannelWiseWeightObserver()))
    assert_saved_as_evaluated(qat, quantized, tmp_path, batch(9))


def test_weights_alone(tmp_path: Any) -> None:
    ptq = slim.PTQ(config=QuantConfig(activation=None, weight=AbsMaxChannelWiseWeightObserver()))
    net = network()
    converted = ptq.convert(ptq.quantize(net))
    x = batch(9)
    assert 0 < np.abs(converted(x).numpy() - net(x).numpy()).max() < 0.05
    ptq.save_quantized_model(converted, str(tmp_path / "model"), input_spec=SPEC)
    with pytest.raises(ValueError, match="in a multiple of 128"):
        slim.PTQ(QuantConfig(None, GroupWiseWeightObserver())).quantize(net)


def test_layers_that_share_a_weight() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    qat = slim.QAT(plain())
    quantized = qat.quantize(net, inplace=True)
    quantized(paddle.randn([8, 4]))
    values = net[0].weight.numpy()
    converted = qat.convert(quantized)
    assert converted[1].weight is converted[0].weight
    step = np.abs(values).max(axis=0) / 127
    for layer in converted:
        np.testing.assert_array_equal(layer.weight.numpy(), np.rint(values / step))
        np.testing.assert_allclose(layer.quantized_weight().numpy(), np.rint(values / step) * step, rtol=1e-6)
    config = plain()
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    config.add_layer_config(tied[1], weight=FakeQuanterChannelWiseAbsMaxObserver(bit_length=4))
    qat = slim.QAT(config)
    quantized = qat.quantize(tied)
    quantized(paddle.randn([8, 4]))
    with pytest.raises(ValueError, match="shares its weight"):
        qat.convert(quantized)


def test_pact_starts_no_higher_than_its_initial_value() -> None:
    factory = PACTQuanter(FakeQuanterWithAbsMaxObserver(), init_value=0.25, learning_rate=100.0)
    quantizer = factory.activation_quantizer(nn.Linear(4, 4))
    quantizer.train()
    quantizer(paddle.to_tensor([[-4.0, 3.0, 2.0, 1.0]]))
    assert quantizer.threshold == 0.25
    assert quantizer.alpha.optimize_attr["learning_rate"] == pytest.approx(0.1)


@pytest.mark.parametrize("delay", [0, 2])
def test_convolution_and_normalization_are_trained_folded(delay: int, tmp_path: Any) -> None:
    config = SlimQuantConfig(FakeQuanterWithAbsMaxObserver(), FakeQuanterChannelWiseAbsMaxObserver())
    config.add_constraints([FreezedConvBNConstraint(freeze_bn_delay=delay)])
    net = network()
    net.train()
    qat = SlimQAT(config)
    quantized = qat.quantize(net, inputs=batch(0))
    assert quantized.training
    means = [net.norm._mean.numpy()]
    for step in range(4):
        train(quantized, steps=1, learning_rate=0.0)
        means.append(quantized.norm._mean.numpy())
        assert np.array_equal(means[-1], means[-2]) == (step >= delay)
    if delay:
        return
    assert_saved_as_evaluated(qat, quantized, tmp_path, batch(9))
    norm = quantized.norm
    factor = norm.weight.numpy() / np.sqrt(norm._variance.numpy() + norm._epsilon)
    folded = np.abs(net.conv.weight.numpy()).max(axis=(1, 2, 3)) * factor
    scale = quantized.conv._fake_quant_weight.weight_params(net.conv.weight.numpy()).scale
    np.testing.assert_allclose(scale * factor * 127, folded, rtol=1e-5)
    np.testing.assert_array_equal(quantized.conv.weight.numpy(), net.conv.weight.numpy())


def test_what_it_refuses() -> None:
    net = network()
    with pytest.raises(ValueError, match=r"work on training models.*model\.train\(\)"):
        slim.QAT(plain()).quantize(net)
    net.train()
    with pytest.raises(ValueError, match=r"should not work on training models.*model\.eval\(\)"):
        slim.PTQ(plain()).quantize(net)
    with pytest.raises(ValueError, match="quantizes no layer of Net; it says"):
        slim.QAT(QuantConfig(None, None)).quantize(net)
    with pytest.raises(ValueError, match="expected factories such as"):
        slim.QAT(QuantConfig(MovingAverageAbsMax, None)).quantize(net)
    qat = slim.QAT(plain())
    with pytest.raises(ValueError, match="no quantized layer"):
        qat.convert(net)
    config = plain()
    config.add_layer_config(net.head, weight=WeightLSQplusQuanter(channel_num=3))
    with pytest.raises(ValueError, match=r"channel_num is 3, but linear_\d+ has 5 output channels"):
        slim.QAT(config).quantize(net, inplace=True)
    assert type(net.conv) is nn.Conv2D  # and nothing has changed
    qat.quantize(net, inplace=True)
    with pytest.raises(ValueError, match="quantized already"):
        qat.quantize(net)
    with pytest.raises(ValueError, match="expected constraints such as"):
        SlimQuantConfig(None, None).add_constraints("freeze")
    with pytest.raises(ValueError, match="freeze_bn_delay must be an int >= 0, got -1"):
        FreezedConvBNConstraint(-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FakeQuanterWithAbsMaxObserver(moving_rate=2.0), r"moving_rate must be a float in \[0, 1\)"),
        (lambda: FakeQuanterWithAbsMaxObserver(bit_length=1), "quant_bits must be an int from 2 to 16"),
        (lambda: FakeQuanterWithAbsMaxObserver(dtype="int8"), "dtype: expected one of 'float32'"),
        (lambda: PACTQuanter(AbsmaxObserver()), "quanter must be one of FakeQuanterWithAbsMaxObserver"),
        (lambda: PACTQuanter(ActLSQplusQuanter(symmetric=False)), "with a symmetric range"),
        (lambda: PACTQuanter(FakeQuanterWithAbsMaxObserver(), init_value=0.0), "init_value must be finite"),
        (lambda: ActLSQplusQuanter(per_channel=True), "per_channel must be False"),
        (lambda: ActLSQplusQuanter(batch_init=0), "batch_init must be an int > 0"),
        (lambda: WeightLSQplusQuanter(sign=False), "sign must be True"),
    ],
)  # fmt: skip
def test_refused_arguments_of_quanters(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("quanter", "bits", "is_channel_wise"),
    [
        (ActLSQplusQuanter(4), 4, False),
        (WeightLSQplusQuanter(4, per_channel=True), 4, True),
        (learned.ActLSQplusQuanterLayer, 8, False),
        (paddle.quantization.quanters.abs_max.FakeQuanterWithAbsMaxObserverLayer, 8, False),
    ],
)  # fmt: skip
def test_pact_around_any_quanter(quanter: Any, bits: int, is_channel_wise: bool) -> None:
    quantizer = PACTQuanter(quanter).weight_quantizer(paddle.nn.Conv2D(2, 4, 3))
    assert quantizer.quant_bits == bits
    assert quantizer.quant_axis == (0 if is_channel_wise else None)


@pytest.mark.parametrize(
    ("activation", "weight", "kinds"),
    [
        (
            ActLSQplusQuanter(),
            WeightLSQplusQuanter(),
            (learned.ActLSQplusQuanterLayer, learned.WeightLSQplusQuanterLayer),
        ),
        (
            PACTQuanter(FakeQuanterWithAbsMaxObserver()),
            FakeQuanterChannelWiseAbsMaxObserver(),
            (learned.PACTQuanterLayer, abs_max.FakeQuanterChannelWiseAbsMaxObserverLayer),
        ),
    ],
)
def test_the_classes_in_a_model_of_paddles_own_qat(
    activation: Any, weight: Any, kinds: tuple[type, type]
) -> None:
    net = network()
    net.train()
    config = QuantConfig(None, None)
    config.add_type_config(paddle.nn.Conv2D, activation=activation, weight=weight)
    convolutions = sum(isinstance(layer, paddle.nn.Conv2D) for layer in net.sublayers())
    qat = paddle.quantization.QAT(config)
    quantized = qat.quantize(net)
    quantized(batch(1))
    for kind in kinds:
        assert sum(isinstance(layer, kind) for layer in quantized.sublayers()) == convolutions
    converted = qat.convert(quantized)
    assert not any(isinstance(layer, kinds) for layer in converted.sublayers())
    assert np.isfinite(converted(batch(1)).numpy()).all()


def test_one_qat_for_both_styles() -> None:
    names = list(inspect.signature(slim.QAT).parameters)
    assert names == ["config", "weight_preprocess", "act_preprocess", "weight_quantize", "act_quantize"]
    assert list(inspect.signature(SlimQAT).parameters) == ["q_config"]
    qat = slim.QAT(config=plain())
    assert isinstance(qat, slim.QAT)
    assert hasattr(qat, "convert")
    assert not hasattr(slim.QAT(), "convert")
    assert type(SlimQAT(plain())) is SlimQAT
    with pytest.raises(ValueError, match="act_quantize: goes with a dict of options"):
        slim.QAT(plain(), act_quantize=nn.Identity)
    with pytest.raises(ValueError, match=r"expected a paddle\.quantization\.QuantConfig, got dict"):
        SlimQAT({})


@pytest.mark.parametrize("remain_weight", [False, True])
def test_a_converted_networks_state_loads_into_another_one(remain_weight: bool) -> None:
    converted = []
    for seed in range(2):
        net = network(seed)
        net.train()
        qat = slim.QAT(plain())
        quantized = qat.quantize(net)
        quantized(batch(seed))
        converted.append(qat.convert(quantized, remain_weight=remain_weight))
    x = batch(5)
    expected = converted[0](x).numpy()
    assert np.abs(converted[1](x).numpy() - expected).max() > 0
    converted[1].set_state_dict(converted[0].state_dict())
    np.testing.assert_array_equal(converted[1](x).numpy(), expected)
    np.testing.assert_array_equal(copy.deepcopy(converted[1])(x).numpy(), expected)
