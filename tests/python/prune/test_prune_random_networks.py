# SPDX-License-Identifier: Apache-2.0
"""Random networks, random ratios: what is cut computes what is masked, trains, and comes back whole."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

pytest.importorskip("paddle")

import paddle
from paddle import nn
from paddle.nn import functional as F
from prunable_networks import assert_same_values, unlike_at_birth, values

from qslim.prune import L1NormFilterPruner, L2NormFilterPruner

SEEDS = range(int(os.environ.get("QSLIM_TEST_SEEDS", "8")))


class RandomNetwork(nn.Layer):
    """A chain of random blocks on [N, C, 8, 8]; `steps` names each with the layers that it uses."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = np.random.default_rng(seed)
        self.layers = nn.LayerList()
        self.steps: list[tuple[str, list[int]]] = []
        channels = self._conv(3, 4 * int(self._rng.integers(2, 6)))
        for _ in range(int(self._rng.integers(3, 8))):
            kind = self._rng.choice(
                ["conv", "norm", "depthwise", "grouped", "residual", "branches", "excite", "shuffle", "split",
                 "resample", "tokens", "prelu"]
            )  # fmt: skip
            channels = getattr(self, f"_make_{kind}")(channels)
        if self._rng.random() < 0.5:
            self._step("flatten", nn.Linear(channels * 4, 10), nn.Linear(10, 3))
        else:
            self._step("mean", nn.Linear(channels, 6), nn.Linear(6, 3))

    def _step(self, kind: str, *layers: Any) -> None:
        self.steps.append((kind, list(range(len(self.layers), len(self.layers) + len(layers)))))
        self.layers.extend(layers)

    def _conv(self, channels: int, out: int) -> int:
        self._step(
            "apply", nn.Conv2D(channels, out, 3, padding=1, bias_attr=bool(self._rng.random() < 0.5) or None)
        )
        return out

    def _make_conv(self, channels: int) -> int:
        return self._conv(channels, 4 * int(self._rng.integers(2, 7)))

    def _make_norm(self, channels: int) -> int:
        kind = self._rng.choice(["batch", "group", "instance"])
        norm = {
            "batch": lambda: nn.BatchNorm2D(channels),
            "group": lambda: nn.GroupNorm(4, channels),
            "instance": lambda: nn.InstanceNorm2D(channels),
        }[kind]()
        self._step("apply", norm, nn.Hardswish())
        return channels

    def _make_depthwise(self, channels: int) -> int:
        times = int(self._rng.integers(1, 3))
        self._step("apply", nn.Conv2D(channels, channels * times, 3, padding=1, groups=channels))
        return channels * times

    def _make_grouped(self, channels: int) -> int:
        self._step("apply", nn.Conv2D(channels, 2 * channels, 1, groups=4))
        return 2 * channels

    def _make_residual(self, channels: int) -> int:
        inner = int(self._rng.integers(3, 9))
        self._step("residual", nn.Conv2D(channels, inner, 1), nn.Conv2D(inner, channels, 3, padding=1))
        return channels

    def _make_branches(self, channels: int) -> int:
        self._step("branches", nn.Conv2D(channels, 4, 1), nn.Conv2D(channels, 8, 3, padding=1))
        return 12 + channels

    def _make_excite(self, channels: int) -> int:
        self._step("excite", nn.Conv2D(channels, 4, 1), nn.Conv2D(4, channels, 1))
        return channels

    def _make_shuffle(self, channels: int) -> int:
        self._step("shuffle")
        return channels

    def _make_split(self, channels: int) -> int:
        self._step("split", nn.Conv2D(channels // 2, channels // 2, 1))
        return channels

    def _make_resample(self, channels: int) -> int:
        self._step("resample", nn.Conv2DTranspose(channels, 8, 2, stride=2))
        return 8

    def _make_tokens(self, channels: int) -> int:
        self._step("tokens", nn.Linear(channels, 12), nn.Linear(12, channels))
        return channels

    def _make_prelu(self, channels: int) -> int:
        self._step("apply", nn.PReLU(channels))
        return channels

    def forward(self, x: Any) -> Any:
        for kind, indices in self.steps:
            x = self._run(kind, [self.layers[index] for index in indices], x)
        return x

    def _run(self, kind: str, layers: list[Any], x: Any) -> Any:
        if kind == "apply":
            for layer in layers:
                x = layer(x)
        elif kind == "residual":
            x = F.relu(x + layers[1](F.relu(layers[0](x))))
        elif kind == "branches":
            x = paddle.concat([layers[0](x), x, F.sigmoid(layers[1](x))], axis=1)
        elif kind == "excite":
            x = x * F.sigmoid(layers[1](F.relu(layers[0](x.mean([2, 3], keepdim=True)))))
        elif kind == "shuffle":
            batch, channels, height, width = x.shape
            x = x.reshape([batch, 2, channels // 2, height, width]).transpose([0, 2, 1, 3, 4])
            x = x.reshape([batch, channels, height, width])
        elif kind == "split":
            first, second = paddle.chunk(x, 2, axis=1)
            x = paddle.concat([layers[0](first), second], axis=1)
        elif kind == "resample":
            x = F.avg_pool2d(F.interpolate(layers[0](x), scale_factor=2, mode="bilinear"), 4)
        elif kind == "tokens":
            tokens = x.flatten(2).transpose([0, 2, 1])
            tokens = tokens + layers[1](F.gelu(layers[0](tokens)))
            x = tokens.transpose([0, 2, 1]).reshape(x.shape)
        elif kind == "flatten":
            x = layers[1](F.relu(layers[0](F.max_pool2d(x, 4).flatten(1))))
        else:
            x = layers[1](F.relu(layers[0](x.mean([2, 3]))))
        return x


@pytest.mark.filterwarnings("ignore:When training, we now always track")
@pytest.mark.parametrize("seed", SEEDS)
def test_cut_equals_masked(seed: int) -> None:
    paddle.seed(seed)
    rng = np.random.default_rng(seed)
    net = unlike_at_birth(RandomNetwork(seed), seed)
    x = paddle.to_tensor(rng.standard_normal((2, 3, 8, 8)).astype(np.float32))
    before = values(net)
    pruner = (L1NormFilterPruner, L2NormFilterPruner)[seed % 2](net, [2, 3, 8, 8])
    assert_same_values(values(net), before)
    # All extents are computed: a trial that fails means that a rule is wrong. (Two shuffles may leave nothing
    # but whole groups to cut, whose number the code has written down.)
    if [kind for kind, _ in net.steps].count("shuffle") < 2:
        for group in pruner.groups:
            assert not group.reason or "output of" in group.reason or "only all at once" in group.reason, (
                group
            )
    pruner.skip_vars.clear()
    for axis, rank in ((0, 4), (1, 2)):
        names = [parameter.name for parameter in net.parameters() if parameter.ndim == rank]
        ratios = {name: float(rng.uniform(0, 0.95)) for name in rng.permutation(names)}
        pruner.prune_vars(ratios, axis, apply="lazy")
        masked = net(x).numpy()
        pruner.restore()
        assert_same_values(values(net), before)
        plan = pruner.prune_vars(ratios, axis)
        cut = net(x).numpy()
        # Up to 10 layers of sums in another order, relative to the largest score.
        np.testing.assert_allclose(cut, masked, rtol=0, atol=1e-4 * max(np.abs(masked).max(), 1))
        assert all(extent > 0 for parameter in net.parameters() for extent in parameter.shape)
        assert (plan.pruned_flops > 0) == bool(plan.masks)
        net.train()
        net(x).square().mean().backward()
        net.eval()
        pruner.restore()
        net.clear_gradients()
        statistics = {
            name for name in before if name.endswith(("_mean", "_variance"))
        }  # they went on training
        after = values(net)
        kept = [name for name in before if name not in statistics]
        assert_same_values({name: after[name] for name in kept}, {name: before[name] for name in kept})
        for name in statistics:
            net.state_dict()[name].set_value(before[name])
