# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training in one call, with defaults that converge with few bits.

calibrate
    the quantizers see some batches while nothing learns, normalizations as they were
train
    the loss of the labels, and the distance to the float network's outputs (distillation, Hinton et al. 2015,
    arXiv:1503.02531)
settle
    for the last part of the steps scales and normalizations stand still, as they are deployed

The weights that are kept are an exponential moving average over the steps, which lies between the points that
rounding makes training jump around.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from qslim.logger import logger
from qslim.quant.options import check_int, check_part, choose
from qslim.quant.training.qat import QAT

__all__ = ["Recipe", "TrainedNetwork", "default_config", "train_quantized"]

Loss = Callable[[Any, Any], Any]
_DISTANCES = ("logits", "probabilities", "values")


@dataclass(frozen=True)
class Recipe:
    """The settings of ``train_quantized``.

    Attributes
    ----------
    epochs : int, default=3
    learning_rate : float, default=1e-3
        At the start; it falls along half a cosine to 0. AdamW takes it, unless ``optimizer`` is given.
    distillation : float in [0, 1], default=0.5
        Part of the loss that is the distance to the float network's outputs; 1 needs no labels.
    outputs : {"logits", "probabilities", "values"}
        "logits" and "probabilities" are compared by the Kullback-Leibler divergence along the last axis, at
        `temperature`; "values" by the mean squared error.
    temperature : float, default=2.0
    ema : float in [0, 1), default=0.99
        Rate of the moving average of the weights, less in the first steps; 0 keeps the last ones.
    settled_part : float in [0, 1), default=0.25
        Last part of the steps in which scales and normalizations stand still.
    calibration_batches : int, default=8
    """

    epochs: int = 3
    learning_rate: float = 1e-3
    distillation: float = 0.5
    outputs: str = "logits"
    temperature: float = 2.0
    ema: float = 0.99
    settled_part: float = 0.25
    calibration_batches: int = 8

    def __post_init__(self) -> None:
        for name in ("epochs", "calibration_batches"):
            check_int(name, getattr(self, name), 1)
        for name in ("ema", "settled_part"):
            check_part(name, getattr(self, name))
        choose("outputs", self.outputs, _DISTANCES)
        if not 0 <= self.distillation <= 1:
            raise ValueError(f"distillation: expected a number in [0, 1], got {self.distillation!r}")
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name}: expected a number > 0, got {value!r}")


@dataclass
class TrainedNetwork:
    """The network, in evaluation mode, what saves it, and the mean loss of each epoch."""

    net: Any
    qat: QAT
    losses: list[float] = field(default_factory=list)

    def save(self, path: str, input_spec: Any) -> Any:
        """Write the network; see ``QAT.save_quantized_model``."""
        return self.qat.save_quantized_model(self.net, path, input_spec=input_spec)


def default_config(weight_bits: int = 8, activation_bits: int = 8) -> dict[str, Any]:
    """Return options of ``QAT`` for so many bits: learned scales below 8, calibrated ones else.

    Examples
    --------
    >>> default_config(4, 8)["weight_quantize_type"]
    'channel_wise_lsq_weight'
    """
    return {
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "weight_quantize_type": "channel_wise_lsq_weight" if weight_bits < 8 else "channel_wise_abs_max",
        "activation_quantize_type": "lsqplus_act" if activation_bits < 8 else "moving_average_abs_max",
    }


def train_quantized(
    net: Any,
    batches: Iterable[Any],
    loss: Optional[Loss] = None,
    config: Union[Mapping[str, Any], QAT, None] = None,
    recipe: Optional[Recipe] = None,
    optimizer: Optional[Callable[[Any, Any], Any]] = None,
) -> TrainedNetwork:
    """Train `net`, a trained float network, with the rounding of its deployment.

    Parameters
    ----------
    net : paddle.nn.Layer
        Left alone: a copy is trained.
    batches : iterable, passed over once an epoch
        Each is ``(inputs, label)``, or inputs alone without a `loss`. A ``paddle.io.DataLoader`` will do.
    loss : callable, optional
        ``loss(outputs, label)``; None trains by distillation alone.
    config : dict or QAT, optional
        Options of ``QAT``; None is ``default_config()``.
    recipe : Recipe, optional
    optimizer : callable, optional
        ``optimizer(schedule, parameters)`` in the place of AdamW.

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    ValueError : no batches, a batch that is none, neither a loss nor distillation.
    FloatingPointError : the training has diverged.

    Examples
    --------
    >>> import paddle
    >>> from qslim.quant.recipes import Recipe, default_config, train_quantized
    >>> net = paddle.nn.Sequential(paddle.nn.Linear(8, 16), paddle.nn.ReLU(), paddle.nn.Linear(16, 4))
    >>> batches = [paddle.randn([32, 8]) for _ in range(4)]
    >>> trained = train_quantized(net, batches, config=default_config(4, 8), recipe=Recipe(epochs=2))
    >>> len(trained.losses)
    2
    """
    recipe = recipe or Recipe()
    if loss is None and recipe.distillation == 0:
        raise ValueError("train_quantized: without a loss, distillation must be more than 0")
    steps = _length(batches)
    teacher = copy.deepcopy(net)
    teacher.eval()
    qat = config if isinstance(config, QAT) else QAT(default_config() if config is None else dict(config))
    student = qat.quantize(copy.deepcopy(net), inplace=True)
    _calibrate(student, qat, batches, recipe)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(recipe.learning_rate, max(1, recipe.epochs * steps))
    parameters = student.parameters()
    if optimizer is not None:
        chosen = optimizer(schedule, parameters)
    else:
        chosen = paddle.optimizer.AdamW(schedule, parameters=parameters, weight_decay=1e-4)
    trainer = _Trainer(student, teacher, loss, recipe, chosen, schedule, qat)
    trained = TrainedNetwork(student, qat)
    for epoch in range(recipe.epochs):
        trained.losses.append(trainer.epoch(batches, epoch * steps, recipe.epochs * steps))
        logger.info("epoch %d of %d: loss %.4f", epoch + 1, recipe.epochs, trained.losses[-1])
    trainer.take_average()
    qat.freeze_scales(student, False)
    qat.freeze_batch_norm(student, False)
    student.eval()
    return trained


class _Trainer:
    """The steps of training, and the moving average of the weights."""

    def __init__(
        self,
        student: Any,
        teacher: Any,
        loss: Optional[Loss],
        recipe: Recipe,
        optimizer: Any,
        schedule: Any,
        qat: QAT,
    ) -> None:
        self._student, self._teacher, self._loss, self._recipe = student, teacher, loss, recipe
        self._optimizer, self._schedule, self._qat = optimizer, schedule, qat
        self._average = (
            {each.name: each.numpy().copy() for each in student.parameters()} if recipe.ema else {}
        )
        self._is_settled = False

    def epoch(self, batches: Iterable[Any], first: int, total: int) -> float:
        """Train on every batch once and return the mean loss."""
        self._student.train()
        losses = []
        for number, batch in enumerate(batches, first):
            if number >= (1 - self._recipe.settled_part) * total and not self._is_settled:
                self._is_settled = True
                self._qat.freeze_scales(self._student)
                self._qat.freeze_batch_norm(self._student)
            losses.append(self._step(*_parts(batch, self._loss is not None)))
            self._schedule.step()
            self._follow(number)
        return float(np.mean(losses))

    def _step(self, inputs: list[Any], label: Any) -> float:
        part = self._recipe.distillation if self._loss is not None else 1.0
        outputs = self._student(*inputs)
        error = paddle.zeros([])
        if part > 0:
            with paddle.no_grad():
                expected = self._teacher(*inputs)
            error = error + part * _distance(outputs, expected, self._recipe)
        if self._loss is not None and part < 1:
            error = error + (1 - part) * self._loss(outputs, label)
        value = float(error)
        if not np.isfinite(value):
            raise FloatingPointError(
                f"train_quantized: the loss is {value}: the training has diverged; lower the learning rate"
            )
        error.backward()
        self._optimizer.step()
        self._optimizer.clear_grad()
        return value

    def _follow(self, number: int) -> None:
        # Less in the first steps, so that the average forgets where it began.
        rate = min(self._recipe.ema, (1 + number) / (10 + number))
        for parameter in self._student.parameters() if self._average else ():
            average = self._average[parameter.name]
            average += (1 - rate) * (parameter.numpy() - average)

    def take_average(self) -> None:
        """Give the network the averages."""
        for parameter in self._student.parameters() if self._average else ():
            parameter.set_value(self._average[parameter.name].astype(parameter.numpy().dtype))


def _calibrate(student: Any, qat: QAT, batches: Iterable[Any], recipe: Recipe) -> None:
    """Let the quantizers see some batches; nothing else changes."""
    student.train()
    dropouts = [layer for layer in student.sublayers() if isinstance(layer, (nn.Dropout, nn.Dropout2D))]
    for layer in dropouts:
        layer.training = False
    qat.freeze_batch_norm(student)
    count = 0
    with paddle.no_grad():
        for batch in batches:
            if count == recipe.calibration_batches:
                break
            student(*_parts(batch, False)[0])
            count += 1
    qat.freeze_batch_norm(student, False)
    if count == 0:
        raise ValueError("train_quantized: batches is empty, or can be passed over only once; give a list")


def _length(batches: Iterable[Any]) -> int:
    """Return the number of batches, which the schedule needs."""
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(
            f"batches: expected a list or a DataLoader, which has a length, got {type(batches).__name__}"
        ) from None


def _parts(batch: Any, has_label: bool) -> tuple[list[Any], Any]:
    """Return the network's inputs and the label of a batch."""
    if isinstance(batch, (list, tuple)):
        parts = [_tensor(part) for part in batch]
        if has_label and len(parts) < 2:
            raise ValueError(f"batches: expected (inputs, label), got {len(parts)} arrays")
        return (parts[:-1] if len(parts) > 1 else parts), parts[-1]
    if has_label:
        raise ValueError(f"batches: expected (inputs, label), got {type(batch).__name__}")
    return [_tensor(batch)], None


def _distance(outputs: Any, expected: Any, recipe: Recipe) -> Any:
    """Return the distance of the outputs to those of the float network."""
    pairs = list(zip(_listed(outputs), _listed(expected)))
    if recipe.outputs == "values":
        return sum(F.mse_loss(mine, theirs) for mine, theirs in pairs) / len(pairs)
    total = paddle.zeros([])
    for mine, theirs in pairs:
        if recipe.outputs == "probabilities":
            mine, theirs = (paddle.log(paddle.clip(each, 1e-8)) for each in (mine, theirs))
        temperature = recipe.temperature
        total = (
            total
            + temperature**2
            * F.kl_div(F.log_softmax(mine / temperature), F.softmax(theirs / temperature), reduction="none")
            .sum(-1)
            .mean()
        )
    return total / len(pairs)


def _listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _tensor(part: Any) -> Any:
    return part if isinstance(part, paddle.Tensor) else paddle.to_tensor(part)
