# SPDX-License-Identifier: Apache-2.0
"""Deep mutual learning: Layers that learn from labels and from each other.

Source: Zhang et al. 2017 (arXiv:1706.00384); paddleslim 2.6.0, dist/dml.py (names).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qslim.paddle import framework

__all__ = ["DML"]


class DML:
    """Several classifiers that train together.

        loss_i = cross entropy(logits_i, labels) + mean over j != i of KL(p_j || p_i),  p = softmax(logits)

    Parameters
    ----------
    model : list of paddle.nn.Layer; logits of one number of classes
    use_parallel : False; wrap the networks in paddle.DataParallel yourself

    Examples
    --------
    >>> import paddle
    >>> import qslim as slim
    >>> dml = slim.dist.DML([paddle.nn.Linear(4, 3), paddle.nn.Linear(4, 3)])
    >>> optimizer = dml.opt([paddle.optimizer.SGD(0.1, parameters=m.parameters()) for m in dml.model])
    >>> logits = dml(paddle.randn([8, 4]))
    >>> optimizer.minimize(dml.loss(logits, paddle.randint(0, 3, [8, 1])))
    >>> optimizer.get_lr()
    [0.1, 0.1]
    """

    def __init__(self, model: Sequence[Any], use_parallel: bool = False) -> None:
        paddle = framework.paddle_module()
        if not model or not all(isinstance(each, paddle.nn.Layer) for each in model):
            raise ValueError(f"DML: model: expected a list of paddle.nn.Layer, got {model!r}")
        if use_parallel:
            raise ValueError(
                "DML: use_parallel: expected False; give networks in paddle.DataParallel instead"
            )
        self.model = list(model)

    def __call__(self, *inputs: Any) -> list[Any]:
        return self.forward(*inputs)

    def forward(self, *inputs: Any) -> list[Any]:
        """Return the logits of each network."""
        return [each(*inputs) for each in self.model]

    def full_name(self) -> list[str]:
        """Return the names of the networks."""
        return [each.full_name() for each in self.model]

    def opt(self, optimizer: Sequence[Any]) -> _Optimizers:
        """Return the optimizers of the networks, one for each, as one."""
        self._check("optimizer", optimizer)
        return _Optimizers(self, list(optimizer))

    def loss(self, logits: Sequence[Any], labels: Any) -> list[Any]:
        """Return the loss of each network; `labels` are int64 [N, 1]."""
        self._check("logits", logits)
        functional = framework.paddle_module().nn.functional
        losses = []
        for number, own in enumerate(logits):
            total = functional.cross_entropy(own, labels)
            peers = [other for other in range(len(logits)) if other != number]
            for other in peers:
                # A peer is a target here: it learns by its own loss.
                target = functional.softmax(logits[other].detach(), axis=1)
                distance = functional.kl_div(functional.log_softmax(own, axis=1), target, "batchmean")
                total = total + distance / len(peers)
            losses.append(total)
        return losses

    def acc(self, logits: Sequence[Any], labels: Any, k: int) -> list[Any]:
        """Return the share of samples whose label is among the `k` largest logits, for each network."""
        accuracy = framework.paddle_module().metric.accuracy
        return [accuracy(input=each, label=labels, k=k) for each in logits]

    def train(self) -> None:
        """Let the networks be in training mode."""
        for each in self.model:
            each.train()

    def eval(self) -> None:
        """Let the networks be in evaluation mode."""
        for each in self.model:
            each.eval()

    def _check(self, what: str, values: Sequence[Any]) -> None:
        if len(values) != len(self.model):
            raise ValueError(
                f"DML: {what}: expected one for each of {len(self.model)} networks, got {len(values)}"
            )


class _Optimizers:
    """One optimizer for each network of a DML."""

    def __init__(self, networks: DML, optimizers: list[Any]) -> None:
        self._networks, self.optimizer = networks, optimizers

    def minimize(self, losses: Sequence[Any]) -> None:
        """Step each optimizer by its network's loss, and clear the gradients."""
        self._networks._check("losses", losses)
        for each in losses:
            each.backward()
        for optimizer in self.optimizer:
            optimizer.step()
            optimizer.clear_grad()

    def get_lr(self) -> list[float]:
        """Return the learning rates."""
        return [float(optimizer.get_lr()) for optimizer in self.optimizer]
