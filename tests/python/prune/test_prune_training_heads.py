# SPDX-License-Identifier: Apache-2.0
"""Heads that exist in training alone, as segmentation networks have them, are cut with the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from prunable_networks import assert_same_values, values

from qslim.dygraph import L1NormFilterPruner


class Segmentation(nn.Layer):
    """`literal`: the training head has an extent of its image written down."""

    def __init__(self, literal: bool = False) -> None:
        super().__init__()
        self.stem, self.norm, self.body = (
            nn.Conv2D(3, 8, 3, padding=1),
            nn.BatchNorm2D(8),
            nn.Conv2D(8, 16, 3),
        )
        self.dropout, self.channel_dropout = nn.Dropout(0.1), nn.Dropout2D(0.1)
        self.head = nn.Conv2D(16, 4, 1)
        self.aux, self.aux_norm, self.aux_head = nn.Conv2D(8, 6, 1), nn.BatchNorm2D(6), nn.Conv2D(6, 4, 1)
        self.literal = literal
        self.seen: Any = None

    def forward(self, x: Any) -> Any:
        self.seen = x
        x = F.relu(self.norm(self.stem(x)))
        scores = self.head(self.channel_dropout(self.dropout(self.body(x))))
        if not self.training:
            return [scores]
        aux = F.relu(self.aux_norm(self.aux(x)))
        if self.literal:
            aux = aux.reshape([-1, 6, aux.shape[2] * aux.shape[3], 1])
        return [scores, self.aux_head(aux)]


def step(net: Any, optimizer: Any) -> None:
    net.train()
    outputs = net(paddle.randn([2, 3, 16, 16]))
    sum(output.square().mean() for output in outputs).backward()
    optimizer.step()
    optimizer.clear_grad()


def ratios(net: Any) -> dict[str, float]:
    return {layer.weight.name: 0.5 for layer in net.sublayers() if isinstance(layer, nn.Conv2D)}


@pytest.mark.parametrize("training", [True, False])
def test_heads_of_training_are_cut_and_the_next_step_runs(training: bool) -> None:
    net = Segmentation()
    net.train() if training else net.eval()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    step(net, optimizer)
    net.train() if training else net.eval()
    before = values(net)
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16], opt=optimizer)
    assert_same_values(values(net), before)
    assert net.training == training
    pruner.prune_vars(ratios(net), axis=0)
    shapes = {name: list(p.shape) for name, p in net.named_parameters()}
    assert shapes["stem.weight"] == [4, 3, 3, 3]
    assert shapes["body.weight"] == [8, 4, 3, 3]  # channel dropout draws as many masks as there are channels
    assert shapes["aux.weight"] == [3, 4, 1, 1]
    assert shapes["aux_head.weight"] == [4, 3, 1, 1]
    step(net, optimizer)
    net.eval()
    assert net(paddle.randn([1, 3, 16, 16]))[0].shape == [1, 4, 14, 14]


def test_extents_written_down_in_a_training_head_are_found() -> None:
    net = Segmentation(literal=True)
    optimizer = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    pruner = L1NormFilterPruner(net, [2, 3, 16, 16], opt=optimizer)
    reasons = {group.parameter: group.reason for group in pruner.groups}
    assert "does not run in training mode" in reasons[net.aux.weight.name]
    pruner.prune_vars(ratios(net), axis=0)
    assert net.stem.weight.shape[0] == 4
    assert net.aux.weight.shape == [6, 4, 1, 1]
    step(net, optimizer)


def test_a_training_form_that_cannot_be_traced_is_named(caplog: Any) -> None:
    class NeedsLabels(Segmentation):
        def forward(self, x: Any, label: Any = None) -> Any:
            outputs = super().forward(x)
            if self.training:
                return outputs[0].mean() - label["mask"].mean()
            return outputs

    net = NeedsLabels()
    with caplog.at_level("WARNING", logger="qslim"):
        pruner = L1NormFilterPruner(net, [1, 3, 16, 16])
    pruner.prune_vars({net.body.weight.name: 0.5}, axis=0)
    assert net.body.weight.shape[0] == 8
    assert net.seen is None
    assert np.isfinite(net.body.weight.numpy()).all()
