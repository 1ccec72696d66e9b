# SPDX-License-Identifier: Apache-2.0
"""Networks that are traced or decorated, whose weights hooks compute, or whose weights others read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from small_networks import images, small_network

import qslim
from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.observers import AbsMaxChannelWiseWeightObserver, AbsmaxObserver
from qslim.runtime import Session

SPEC = [paddle.static.InputSpec([None, 3, 8, 8], "float32", "x")]
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "folded": {"fuse_conv_bn": True},
    "pact": {"activation_preprocess_type": "PACT", "weight_preprocess_type": "PACT"},
    "lsqplus": {"activation_quantize_type": "lsqplus_act", "weight_quantize_type": "lsq_weight"},
}


class Net(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.head(F.relu(self.norm(self.conv(x))).mean([2, 3]))


def batches(net: Any, count: int = 3) -> None:
    net.train()
    for batch in range(count):
        net(paddle.to_tensor(images(4, batch, size=8)))


def exported(quanter: Any, net: Any, folder: Path, **arguments: Any) -> tuple[Any, Any, Any]:
    """The report, what the engine gives, and what evaluation gives."""
    net.eval()
    x = images(4, seed=9, size=8)
    report = quanter.save_quantized_model(net, str(folder / "model"), **arguments)
    session = Session(report.engine_file)
    return report, session.run({session.inputs[0].name: x})[0], net(paddle.to_tensor(x)).numpy()


# ---- to_static ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("is_copied", [False, True])
def test_a_full_graph_has_the_grids_of_evaluation(
    config: dict[str, Any], is_copied: bool, tmp_path: Path
) -> None:
    net = qslim.QAT({**config, "calibration_batches": 2} if config else config).quantize(Net())
    batches(net)
    net.eval()
    x = paddle.to_tensor(images(4, seed=9, size=8))
    expected = net(x).numpy()
    before = {key: value.numpy().tobytes() for key, value in net.state_dict().items()}
    traced = paddle.jit.to_static(copy.deepcopy(net) if is_copied else net, input_spec=SPEC, full_graph=True)
    assert traced.forward.main_program is not None
    tolerance = 1e-5 * np.abs(expected).max()  # sums of rounded products in place of integers
    np.testing.assert_allclose(traced(x).numpy(), expected, rtol=0, atol=tolerance)
    paddle.jit.save(traced, str(tmp_path / "net"))
    np.testing.assert_allclose(paddle.jit.load(str(tmp_path / "net"))(x).numpy(), expected, atol=tolerance)
    assert {key: value.numpy().tobytes() for key, value in net.state_dict().items()} == before


def test_a_refused_trace_leaves_paddle_able_to_trace(tmp_path: Path) -> None:
    for _ in range(5):  # Paddle would crash where the next program gets the address of the failed one
        net = qslim.QAT().quantize(Net())
        static = paddle.jit.to_static(net, input_spec=SPEC, full_graph=True)
        with pytest.raises(RuntimeError, match="in training mode"):
            static(paddle.to_tensor(images(2, size=8)))
        other = qslim.QAT().quantize(Net())
        other.eval()
        paddle.jit.save(other, str(tmp_path / "net"), input_spec=SPEC)


@pytest.mark.parametrize("full_graph", [False, True])
def test_to_statics_input_spec_is_taken_and_feeds_keep_their_names(full_graph: bool, tmp_path: Path) -> None:
    net = Net()
    quanter = qslim.QAT()
    quanter.quantize(net)
    batches(net)
    with pytest.raises(ValueError, match="input_spec is missing"):
        quanter.save_quantized_model(net, str(tmp_path / "model"))
    net.eval()
    net = paddle.jit.to_static(net, input_spec=SPEC, full_graph=full_graph)
    report, engine, expected = exported(quanter, net, tmp_path)
    np.testing.assert_allclose(engine, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert [feed.name for feed in Session(report.engine_file).inputs] == ["x"]
    other = [paddle.static.InputSpec([1, 3, 8, 8], "float32", "picture")]
    report = quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=other)
    assert [feed.name for feed in Session(report.engine_file).inputs] == ["picture"]


class Decorated(Net):
    @paddle.jit.to_static
    def forward(self, x: Any) -> Any:
        return self.head(F.relu(self.norm(self.conv(x))).mean([2, 3]))

    @paddle.jit.to_static
    def features(self, x: Any) -> Any:
        return self.norm(self.conv(x))


def leaf_decorated() -> Any:
    net = Net()
    net.conv = paddle.jit.to_static(net.conv)
    return net


@pytest.mark.parametrize(
    "build", [Decorated, leaf_decorated, lambda: paddle.jit.to_static(Net())], ids=["class", "leaf", "net"]
)
def test_what_was_captured_before_is_forgotten_when_a_network_is_quantized(
    build: Any, tmp_path: Path
) -> None:
    net = build()
    batches(net, 2)
    quanter = qslim.QAT()
    quanter.quantize(net)
    batches(net, 2)
    assert [net.conv._fake_quant_input.batches, net.head._fake_quant_input.batches] == [2, 2]
    _, engine, expected = exported(quanter, net, tmp_path, input_spec=SPEC)
    np.testing.assert_array_equal(engine, expected)


def test_captured_networks_fold_norms_in_evaluation() -> None:
    net = qslim.QAT().quantize(Net())
    batches(net)
    net.eval()
    x = paddle.to_tensor(images(4, size=8))
    expected = net(x).numpy()
    np.testing.assert_array_equal(paddle.jit.to_static(net)(x).numpy(), expected)


def test_a_forward_of_the_objects_own_is_quantized() -> None:
    net = Net()
    conv = net.conv
    conv.forward = lambda x: (
        2 * type(conv).forward(conv, x) if False else 2 * F.conv2d(x, conv.weight, conv.bias)
    )
    qslim.QAT().quantize(net)
    batches(net)
    assert net.conv._fake_quant_input.batches == 3


# ---- attributes ---------------------------------------------------------------------------------------


class Cache:
    def __init__(self) -> None:
        self.last: Any = None


class Hoarder(Net):
    """Keeps what it is given, where it can."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: Any = None
        self.features: list[Any] = []
        self.by_name: dict[str, Any] = {"size": 1}
        self.cache = Cache()
        self.fails = False

    def forward(self, x: Any) -> Any:
        self.inputs = {"image": x}
        self.features.append(x)
        self.by_name["x"] = x
        self.cache.last = x
        if self.fails:
            raise ValueError("no")
        return super().forward(x)


@pytest.mark.parametrize("fails", [False, True])
def test_tracing_leaves_no_symbols_in_attributes(fails: bool, tmp_path: Path) -> None:
    quanter = qslim.QAT()
    net = quanter.quantize(Hoarder())
    batches(net, 1)
    net.fails = fails
    before = net.inputs, list(net.features), dict(net.by_name), net.cache.last
    if fails:
        with pytest.raises(ValueError, match="could not be traced"):
            quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=SPEC)
    else:
        quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=SPEC)
    assert net.inputs is before[0]
    assert [id(each) for each in net.features] == [id(each) for each in before[1]]
    assert net.by_name.keys() == before[2].keys()
    assert net.cache.last is before[3]
    assert net.training
    copy.deepcopy(net)
    qslim.dygraph.L1NormFilterPruner(small_network(), [1, 3, 16, 16])


# ---- computed weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_weights_that_hooks_compute_are_exported_as_they_are_now(norm: Any, tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2D(3, 8, 3), nn.ReLU(), norm(nn.Conv2D(8, 8, 3)), nn.ReLU(), nn.Conv2D(8, 4, 1)
    )
    quanter = qslim.QAT()
    quanter.quantize(net)
    optimizer = paddle.optimizer.Momentum(0.2, parameters=net.parameters())
    for batch in range(4):
        net(paddle.to_tensor(images(4, batch, size=8))).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()
    hooks = len(net[2]._forward_pre_hooks)
    _, engine, expected = exported(quanter, net, tmp_path, input_spec=SPEC)
    np.testing.assert_array_equal(engine, expected)
    assert len(net[2]._forward_pre_hooks) == hooks


def test_converted_weights_that_hooks_compute_stay_quantized() -> None:
    net = nn.Sequential(nn.utils.weight_norm(nn.Conv2D(3, 8, 3)), nn.ReLU(), nn.Conv2D(8, 4, 1))
    ptq = qslim.PTQ(
        config=paddle.quantization.QuantConfig(AbsmaxObserver(), AbsMaxChannelWiseWeightObserver())
    )
    net.eval()
    quantized = ptq.quantize(net)
    x = paddle.to_tensor(images(4, size=8))
    expected = quantized(x).numpy()
    for remain in (True, False):
        y = ptq.convert(quantized, remain_weight=remain)(x).numpy()
        np.testing.assert_allclose(y, expected, rtol=0, atol=0.05 * np.abs(expected).max())


# ---- weights with several readers ---------------------------------------------------------------------


class Tied(nn.Layer):
    """`tied` is called and read by a product, `proj` is never called, `embed` has `out`'s parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.tied, self.proj = nn.Conv2D(3, 8, 3), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Any) -> Any:
        h = F.relu(self.tied(F.relu(self.conv(x)).mean([2, 3])))
        back = F.linear(h, paddle.transpose(self.tied.weight, [1, 0]))
        return back + F.linear(h, self.proj.weight, self.proj.bias)


class Shared(nn.Layer):
    """Two layers of one parameter, whose inputs differ; a third one is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.twice = nn.Conv2D(3, 3, 1), nn.Conv2D(3, 3, 1), nn.Conv2D(3, 3, 1)
        self.other.weight = self.one.weight

    def forward(self, x: Any) -> Any:
        return self.twice(self.twice(self.other(3 * self.one(x))))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_weight_is_quantized_where_its_layer_reads_it(bits: int, legacy: bool, tmp_path: Path) -> None:
    quanter = qslim.QAT({"weight_bits": bits})
    net = quanter.quantize(Tied())
    batches(net)
    report, engine, expected = exported(quanter, net, tmp_path, input_spec=SPEC, legacy=legacy)
    np.testing.assert_allclose(engine, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    rows = {layer.name: layer for layer in report.layers}
    assert rows["tied"].weight is not None
    assert "read elsewhere too" in rows["tied"].note
    assert rows["proj"].weight is None
    assert "never called" in rows["proj"].note
    assert [layer.name for layer in report.layers] == ["conv", "tied", "proj"]
    model = load_program(find_model_files(str(tmp_path / "model")))
    (written,) = model.run_outputs({"x": images(4, seed=9, size=8)})
    np.testing.assert_allclose(written, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_layers_that_share_a_parameter(config: dict[str, Any], tmp_path: Path) -> None:
    quanter = qslim.QAT({**config, "calibration_batches": 2})
    net = quanter.quantize(Shared())
    optimizer = paddle.optimizer.Momentum(0.05, parameters=net.parameters())
    for batch in range(4):
        net(paddle.to_tensor(images(4, batch, size=8))).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()
    _, engine, expected = exported(quanter, net, tmp_path, input_spec=SPEC)
    np.testing.assert_array_equal(engine, expected)


def test_converted_weights_are_integers_only_where_their_layer_reads_them() -> None:
    ptq = qslim.PTQ(
        config=paddle.quantization.QuantConfig(AbsmaxObserver(), AbsMaxChannelWiseWeightObserver())
    )
    net = Tied()
    net.tied.weight.set_value(0.2 * paddle.randn([8, 16]))
    net.eval()
    x = paddle.to_tensor(images(4, size=8))
    expected = net(x).numpy()
    quantized = ptq.quantize(net)
    quantized(x)
    quantized.embed = nn.Linear(8, 16)
    quantized.embed.weight = quantized.tied.weight
    y = ptq.convert(quantized, remain_weight=False)(x).numpy()
    np.testing.assert_allclose(y, expected, rtol=0, atol=0.05 * np.abs(expected).max())


def test_weights_of_another_type_are_named(tmp_path: Path) -> None:
    quanter = qslim.QAT()
    net = quanter.quantize(Net())
    batches(net)
    net.to(dtype="float64")
    with pytest.raises(ValueError, match=r"layer 'conv' has weights of float64.*to\(dtype='float32'\)"):
        quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=SPEC)
    net.to(dtype="float32")
    _, engine, expected = exported(quanter, net, tmp_path, input_spec=SPEC)
    np.testing.assert_array_equal(engine, expected)


class ByKeyword(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up, self.head = (
            nn.Conv2D(3, 4, 1),
            nn.Conv2DTranspose(4, 4, 2, stride=2),
            nn.Linear(4, 2),
        )

    def forward(self, x: Any) -> Any:
        x = self.up(self.conv(x=x), output_size=[16, 16])
        return self.head(input=x.mean([2, 3]))


def test_inputs_may_be_given_by_keyword(tmp_path: Path) -> None:
    quanter = qslim.QAT({"quantizable_layer_type": ["Conv2D", "Linear", "Conv2DTranspose"]})
    net = quanter.quantize(ByKeyword())
    batches(net)
    report, engine, expected = exported(quanter, net, tmp_path, input_spec=SPEC)
    assert all(layer.activation is not None for layer in report.layers)
    np.testing.assert_allclose(engine, expected, rtol=0, atol=1e-6)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        net.conv()


def test_a_process_in_static_mode_saves(tmp_path: Path) -> None:
    quanter = qslim.QAT()
    net = quanter.quantize(
        nn.Sequential(nn.utils.weight_norm(nn.Conv2D(3, 8, 3)), nn.ReLU(), nn.Conv2D(8, 4, 1))
    )
    batches(net)
    net.eval()
    x = images(4, seed=9, size=8)
    expected = net(paddle.to_tensor(x)).numpy()
    paddle.enable_static()
    try:
        report = quanter.save_quantized_model(net, str(tmp_path / "model"), input_spec=SPEC)
        assert not paddle.in_dynamic_mode()
    finally:
        paddle.disable_static()
    np.testing.assert_array_equal(Session(report.engine_file).run({"x": x})[0], expected)
