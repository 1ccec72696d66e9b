# SPDX-License-Identifier: Apache-2.0
"""Recipes of quantization-aware training: convergence with few bits, what stands still, and what is kept."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

import qslim as slim
from qslim.quant.quantizers.quantizer import Quantizer
from qslim.quant.recipes import Recipe, TrainedNetwork, default_config, train_quantized


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 8x8 images of digits, [1797, 1, 8, 8] in [0, 1], and their labels."""
    datasets = pytest.importorskip("sklearn.datasets")
    data = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.images[order, None] / 16).astype(np.float32), data.target[order].astype(np.int64)


def batches(count: int = 1400, size: int = 50) -> list[Any]:
    images, labels = digits()
    return [(images[i : i + size], labels[i : i + size]) for i in range(0, count, size)]


def accuracy(net: Any) -> float:
    images, labels = digits()
    with paddle.no_grad():
        return float((net(paddle.to_tensor(images[1400:])).numpy().argmax(1) == labels[1400:]).mean())


@pytest.fixture(scope="module")
def trained() -> Any:
    """A float network that knows the digits."""
    paddle.seed(1)
    net = nn.Sequential(
        nn.Conv2D(1, 16, 3, padding=1), nn.BatchNorm2D(16), nn.ReLU(),
        nn.Conv2D(16, 16, 3, padding=1, groups=16), nn.BatchNorm2D(16), nn.ReLU(),
        nn.Conv2D(16, 32, 3, stride=2), nn.BatchNorm2D(32), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10),
    )  # fmt: skip
    optimizer = paddle.optimizer.Adam(2e-3, parameters=net.parameters())
    for _ in range(6):
        for images, labels in batches():
            F.cross_entropy(net(paddle.to_tensor(images)), paddle.to_tensor(labels)).backward()
            optimizer.step()
            optimizer.clear_grad()
    net.eval()
    assert accuracy(net) > 0.94
    return net


def test_two_bits_of_weights_and_four_of_activations_converge(trained: Any, tmp_path: Path) -> None:
    before = {name: value.numpy().copy() for name, value in trained.state_dict().items()}
    result = train_quantized(
        trained, batches(), F.cross_entropy, default_config(2, 4), Recipe(epochs=4, learning_rate=4e-3)
    )
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert accuracy(result.net) > accuracy(trained) - 0.05
    assert not result.net.training
    for name, value in trained.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    image = paddle.static.InputSpec([None, 1, 8, 8], "float32", "image")
    report = result.save(str(tmp_path / "model"), [image])
    session = slim.runtime.Session(report.engine_file)
    images = digits()[0][:64]
    with paddle.no_grad():
        expected = result.net(paddle.to_tensor(images)).numpy()
    np.testing.assert_allclose(session.run({"image": images})[0], expected, rtol=1e-4, atol=1e-4)


def test_distillation_alone_needs_no_labels(trained: Any) -> None:
    images = [pair[0] for pair in batches()]
    result = train_quantized(trained, images, config=default_config(4, 4), recipe=Recipe(epochs=2))
    assert accuracy(result.net) > accuracy(trained) - 0.05


@pytest.mark.parametrize("outputs", ["values", "probabilities"])
def test_other_outputs_are_distilled(trained: Any, outputs: str) -> None:
    net = nn.Sequential(trained, nn.Softmax()) if outputs == "probabilities" else trained
    recipe = Recipe(epochs=1, outputs=outputs, distillation=1.0)
    result = train_quantized(net, batches(400), config=default_config(8, 8), recipe=recipe)
    assert accuracy(result.net) > accuracy(trained) - 0.03


def test_scales_and_normalizations_settle(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[dict[str, Any]] = []
    step = paddle.optimizer.AdamW.step

    def recording(self: Any) -> None:
        step(self)
        learned = ("alpha", "beta", "_scale", "_mean", "_variance", "_accum")
        names = {name: value for name, value in net.state_dict().items() if name.endswith(learned)}
        states.append({name: value.numpy().copy() for name, value in names.items()})

    net = copy.deepcopy(trained)
    monkeypatch.setattr(copy, "deepcopy", lambda value: value)  # the student is the network itself
    monkeypatch.setattr(paddle.optimizer.AdamW, "step", recording)
    train_quantized(net, batches(500), config=default_config(4, 8), recipe=Recipe(epochs=2, ema=0.0))
    assert len(states) == 20
    changing = [name for name in states[0] if (states[0][name] != states[13][name]).any()]
    assert {re.sub(r".*\.", "", name) for name in changing} >= {"alpha", "_mean", "_variance", "_scale"}
    for name in states[0]:
        np.testing.assert_array_equal(states[15][name], states[19][name])


def test_frozen_quantizers_are_released_again() -> None:
    paddle.seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    qat = slim.QAT({**default_config(4, 8)})
    qat.quantize(net)
    quantizers = [layer for layer in net.sublayers() if isinstance(layer, Quantizer)]
    qat.freeze_scales(net)  # they have seen nothing
    assert all(quantizer.training for quantizer in quantizers)
    net(paddle.randn([5, 4]))
    qat.freeze_scales(net)
    seen = [quantizer.batches for quantizer in quantizers]
    net.train()
    net(10 * paddle.randn([5, 4])).sum().backward()
    assert [quantizer.batches for quantizer in quantizers] == seen
    assert not any(quantizer.training for quantizer in quantizers)
    qat.freeze_scales(net, False)
    net(10 * paddle.randn([5, 4]))
    assert [quantizer.batches for quantizer in quantizers] == [count + 1 for count in seen]
    net.eval()
    assert not any(quantizer.training for quantizer in quantizers)


def test_the_average_follows_the_weights() -> None:
    paddle.seed(0)
    net = nn.Sequential(nn.Linear(4, 2))
    steps: list[np.ndarray] = []

    class Recording(paddle.optimizer.SGD):
        def step(self) -> None:
            super().step()
            steps.append(self._parameter_list[0].numpy().copy())

    data = [paddle.randn([8, 4]) for _ in range(5)]
    start = net[0].weight.numpy().copy()
    recipe = Recipe(epochs=1, ema=0.5, learning_rate=0.5, outputs="values")
    result = train_quantized(
        net, data, config=default_config(), recipe=recipe, optimizer=lambda rate, all_: Recording(rate, all_)
    )
    average = start
    for number, weight in enumerate(steps):
        rate = min(0.5, (1 + number) / (10 + number))
        average = rate * average + (1 - rate) * weight
    found = [value.numpy() for name, value in result.net.named_parameters() if value.shape == [4, 2]]
    np.testing.assert_allclose(found[0], average, rtol=1e-5, atol=1e-7)
    assert isinstance(result, TrainedNetwork)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {}, "batches is empty"),
        (iter([np.ones((2, 4), np.float32)]), {}, "expected a list or a DataLoader"),
        ([np.ones((2, 4), np.float32)], {"loss": F.cross_entropy}, r"expected \(inputs, label\)"),
        ([np.ones((2, 4), np.float32)], {"recipe": Recipe(distillation=0.0)}, "without a loss"),
    ],
    ids=["empty", "generator", "no label", "no loss"],
)
def test_bad_input(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_quantized(nn.Sequential(nn.Linear(4, 2)), data, **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("ema", 1.0), ("outputs", "other"), ("distillation", 2), ("learning_rate", 0)],
)
def test_bad_settings(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Recipe(**{name: value})


def test_training_that_diverges_says_so(trained: Any) -> None:
    with pytest.raises(FloatingPointError, match="diverged"):
        train_quantized(
            trained, batches(400), lambda outputs, label: paddle.log(-outputs.abs().sum()), recipe=Recipe()
        )
