# SPDX-License-Identifier: Apache-2.0
"""Training where the kernels cannot work: other devices, other types, to_static, fleet's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from distributed_jobs import CONFIGS
from paddle import nn
from processes import run_ranks
from small_networks import images, small_network

import qslim
from qslim.quant.quantizers import learned, tensors

CONFIGS = {**CONFIGS, "folded": {"fuse_conv_bn": True}}
HALVES = [paddle.float16, paddle.bfloat16]


def train(
    config: dict[str, Any], steps: int = 4
) -> tuple[Any, list[np.ndarray], list[dict[str, np.ndarray]]]:
    """The network after training, and of each step its output and gradients."""
    net = qslim.QAT(config).quantize(small_network())
    net.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    outputs, gradients = [], []
    for step in range(steps):
        y = net(paddle.to_tensor(images(2, step)))
        y.square().mean().backward()
        outputs.append(y.numpy())
        gradients.append({key: p.grad.numpy() for key, p in net.named_parameters() if p.grad is not None})
        optimizer.step()
        optimizer.clear_grad()
    return net, outputs, gradients


def by_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tensors, learned):
        monkeypatch.setattr(module, "is_native", lambda x: False)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_paddles_operators_give_the_kernels_numbers(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_net, *expected = train(config)
    by_operators(monkeypatch)
    net, outputs, gradients = train(config)
    for step, (output, gradient) in enumerate(zip(outputs, gradients)):
        assert gradient.keys() == expected[1][step].keys()
        if step == 0:
            np.testing.assert_array_equal(output, expected[0][0])
        for key, value in gradient.items():
            # Sums of at most 2 * 8 * 8 * 8 * 9 products in either order, eps * sqrt(N) of their size; an
            # element that an earlier step's last bit sends over the edge of its grid step adds 1/127.
            tolerance = (1e-4 if step == 0 else 1e-2) * max(np.abs(value).max(), 1e-3)
            np.testing.assert_allclose(value, expected[1][step][key], rtol=0, atol=tolerance, err_msg=key)
    net.eval()
    expected_net.set_state_dict(net.state_dict())
    expected_net.eval()
    x = paddle.to_tensor(images(2, 9))
    by_ops = net(x).numpy()
    monkeypatch.undo()
    np.testing.assert_array_equal(by_ops, expected_net(x).numpy())


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_half_precision_inputs_and_weights(config: dict[str, Any], dtype: Any) -> None:
    # Alone, for on the CPU Paddle has few layers in these types.
    conv = nn.Conv2D(3, 4, 3)
    qslim.QAT({**config, "fuse_conv_bn": False}).quantize(conv)
    conv.train()
    for step in range(4):
        x = paddle.to_tensor(images(2, step))
        x.stop_gradient = False
        half = x.astype(dtype)
        w = conv.weight.astype(dtype)
        for quantizer, tensor in ((conv._fake_quant_input, half), (conv._fake_quant_weight, w)):
            y = quantizer(tensor)
            assert y.dtype == dtype
            grid = quantizer.quant_params()
            wide = tensor.astype("float32").numpy()
            # Half the last place of the type on top of half a step, or of what is clipped.
            reached = grid.dequantize(grid.quantize(wide))
            eps = 2.0**-11 if dtype == paddle.float16 else 2.0**-8
            error = np.abs(y.astype("float32").numpy() - reached)
            if config.get("activation_quantize_type") != "abs_max":
                assert (error <= eps * np.abs(reached) + 1e-7).all()
            y.astype("float32").square().sum().backward()
        assert np.isfinite(x.grad.numpy()).all()
        assert np.isfinite(conv.weight.grad.numpy()).all()
        conv.clear_gradients()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.filterwarnings("ignore:.*auto_cast:UserWarning", "ignore:.*amp:UserWarning")
def test_mixed_precision_trains_and_evaluates(config: dict[str, Any], dtype: str) -> None:
    net = qslim.QAT(config).quantize(small_network())
    net.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    scaler = paddle.amp.GradScaler(init_loss_scaling=128.0, enable=dtype == "float16")
    for step in range(4):
        with paddle.amp.auto_cast(level="O1", dtype=dtype):
            loss = net(paddle.to_tensor(images(2, step))).square().mean()
        assert np.isfinite(float(loss))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.clear_grad()
    net.eval()
    x = paddle.to_tensor(images(4, 9))
    expected = net(x).numpy()
    with paddle.amp.auto_cast(level="O1", dtype=dtype):
        y = net(x).astype("float32").numpy()
    np.testing.assert_allclose(y, expected, rtol=0, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize("config", [CONFIGS["plain"], CONFIGS["pact"]], ids=["plain", "pact"])
def test_to_static_trains_dynamically(config: dict[str, Any]) -> None:
    ours = [qslim.QAT(config).quantize(small_network()) for _ in range(2)]
    for net in ours:
        net.train()
    static = paddle.jit.to_static(ours[0], full_graph=False)
    for step in range(3):
        x = paddle.to_tensor(images(2, step))
        np.testing.assert_array_equal(static(x).numpy(), ours[1](x).numpy())
        for net in ours:
            net(x).square().mean().backward()
        np.testing.assert_array_equal(ours[0].stem.weight.grad.numpy(), ours[1].stem.weight.grad.numpy())
    for net in ours:
        net.eval()
    np.testing.assert_array_equal(static(x).numpy(), ours[1](x).numpy())


def test_a_full_graph_in_training_mode_is_an_error() -> None:
    net = qslim.QAT().quantize(small_network())
    net.train()
    static = paddle.jit.to_static(net, full_graph=True)
    with pytest.raises(RuntimeError, match=r"cannot be traced into a program in training mode.*call eval"):
        static(paddle.to_tensor(images(2)))
    assert paddle.in_dynamic_mode()


_PARALLEL = """
    import sys
    import numpy as np, paddle
    from distributed_jobs import CONFIGS
    from paddle.distributed import fleet
    from paddle.distributed.fleet.meta_parallel import ColumnParallelLinear, RowParallelLinear

    import qslim

    fleet.init(is_collective=True)

    class Network(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.column = ColumnParallelLinear(8, 12, has_bias=True, gather_output=False)
            self.row = RowParallelLinear(12, 5, has_bias=True, input_is_parallel=True)

        def forward(self, x):
            return self.row(paddle.nn.functional.relu(self.column(x)))

    x = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    spec = [paddle.static.InputSpec([None, 8], "float32", "x")]
    for name, config in CONFIGS.items():
        paddle.seed(0)
        net = Network()
        expected = net(paddle.to_tensor(x)).numpy()
        config = {"quantizable_layer_type": ["ColumnParallelLinear", "RowParallelLinear"], **config}
        quanter = qslim.QAT(config)
        quanter.quantize(net)
        net.train()
        for _ in range(3):
            y = net(paddle.to_tensor(x))
            y.square().mean().backward()
        assert net.column.weight.grad is not None
        bits = config.get("activation_bits", 8)
        if name in ("range", "abs_max"):  # which clip nothing, and move by a step or two
            np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=4 / 2**bits * np.abs(expected).max())
        weights = net.column._fake_quant_weight, net.row._fake_quant_weight
        if name in ("plain", "range", "lsq"):
            assert [(w.quant_axis, w._scale.shape[0]) for w in weights] == [(1, 12), (1, 5)]
        net.eval()
        path = f"{sys.argv[1]}/{name}"
        quanter.save_quantized_model(net, path, input_spec=spec)
        (ran,) = qslim.runtime.Session(path + ".qslim").run({"x": x})
        evaluated = net(paddle.to_tensor(x)).numpy()
        np.testing.assert_allclose(ran, evaluated, rtol=0, atol=2 / 2**bits * np.abs(evaluated).max())
        print(name)
"""


def test_parallel_linear_layers(tmp_path: Path) -> None:
    # Alone in their group: on the CPU Paddle has no kernels for more (c_identity), float or quantized.
    (one,) = run_ranks(_PARALLEL, 1, args=[str(tmp_path)], extra_path=[Path(__file__).parent])
    assert one.stdout.split() == list(CONFIGS)[:-1]
