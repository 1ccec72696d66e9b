# SPDX-License-Identifier: Apache-2.0
"""The section TrainConfig of an AutoCompression configuration, and the optimizer that it describes.

Source: paddleslim 2.6.0, auto_compression/strategy_config.py, create_compressed_program.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from qslim.logger import logger
from qslim.quant.analysis.metrics import is_number
from qslim.quant.options import check_int, choose

__all__ = ["TrainConfig"]

_WITHOUT = {
    "amp_config": "training computes in float32; the result is no worse, and training may be slower",
    "recompute_config": "nothing is computed twice; training takes the memory of all activations",
    "sharding_config": "training takes one device, and keeps all of the optimizer's state there",
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of training, with PaddleSlim's defaults.

    Attributes
    ----------
    epochs, train_iter : int; passes over the data, and the most steps; 100 epochs if both are missing
    learning_rate : float or dict with ``type``, a class of paddle.optimizer.lr; it steps after every batch
    optimizer_builder : dict; ``optimizer`` with ``type``, a class of paddle.optimizer; ``weight_decay`` or
        ``regularizer``; ``grad_clip``
    eval_iter, logging_iter : int; steps between evaluations, and between lines of the log
    origin_metric : float; what evaluation of the model must give, up to 0.05
    target_metric : float; training ends when it is reached
    sparse_model : bool; what is zero in the model stays zero
    amp_config, recompute_config, sharding_config : a warning says that training goes without
    """

    epochs: Optional[int] = None
    train_iter: Optional[int] = None
    learning_rate: Any = 0.02
    optimizer_builder: Mapping[str, Any] = field(default_factory=lambda: {"optimizer": {"type": "SGD"}})
    eval_iter: int = 1000
    logging_iter: int = 10
    origin_metric: Optional[float] = None
    target_metric: Optional[float] = None
    amp_config: Any = None
    recompute_config: Any = None
    sharding_config: Any = None
    sparse_model: bool = False

    def __post_init__(self) -> None:
        for key in ("epochs", "train_iter"):
            if getattr(self, key) is not None:
                check_int(f"TrainConfig.{key}", getattr(self, key), 1)
        for key in ("eval_iter", "logging_iter"):
            check_int(f"TrainConfig.{key}", getattr(self, key), 1)
        for key in ("amp_config", "recompute_config", "sharding_config"):
            if getattr(self, key):
                logger.warning("TrainConfig.%s: %s", key, _WITHOUT[key])
        builder = self.optimizer_builder
        parts = builder.values() if isinstance(builder, Mapping) else ()
        texts = [part for part in parts if isinstance(part, str) and not is_number(part)]
        if not isinstance(builder, Mapping) or texts:
            raise ValueError(
                "TrainConfig.optimizer_builder: expected a dict such as {'optimizer': {'type': 'SGD'}, "
                f"'weight_decay': 4e-5}}, got {builder!r}"
            )
        for key in ("origin_metric", "target_metric"):
            value = getattr(self, key)
            if value is not None and not is_number(value):
                raise ValueError(f"TrainConfig.{key}: expected a number, got {value!r}")

    @property
    def passes(self) -> Optional[int]:
        """Passes over the data; None if the number of steps alone ends the training."""
        return self.epochs or (100 if self.train_iter is None else None)

    def for_later(self, is_quantization: bool) -> TrainConfig:
        """Return the settings of a strategy that is not the first: quantization trains a tenth as long.

        Its learning rate is a tenth, too.
        """
        if not is_quantization:
            return self
        return replace(
            self,
            epochs=None if self.epochs is None else max(1, self.epochs // 10),
            train_iter=None if self.train_iter is None else max(1, self.train_iter // 10),
            learning_rate=_tenth(self.learning_rate),
        )

    def optimizer(self, paddle: Any) -> Any:
        """Return a new optimizer; the dicts stay as they are."""
        rate = self.learning_rate
        if isinstance(rate, Mapping):
            rate = _scheduler(paddle, rate)
        elif isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0:
            raise ValueError(f"TrainConfig.learning_rate: expected a number > 0 or a dict, got {rate!r}")
        builder = dict(self.optimizer_builder)
        where = "TrainConfig.optimizer_builder"
        for key in builder:
            choose(where, key, ("optimizer", "weight_decay", "regularizer", "grad_clip"))
        options: dict[str, Any] = {"learning_rate": rate}
        if builder.get("weight_decay") is not None:
            options["weight_decay"] = float(builder["weight_decay"])
        if builder.get("regularizer"):
            options["weight_decay"] = _made(
                paddle.regularizer, builder["regularizer"], f"{where}.regularizer"
            )
        if builder.get("grad_clip"):
            options["grad_clip"] = _made(paddle.nn, builder["grad_clip"], f"{where}.grad_clip")
        return _made(
            paddle.optimizer, builder.get("optimizer") or {"type": "SGD"}, f"{where}.optimizer", options
        )


def _tenth(rate: Any) -> Any:
    """Return a tenth of a learning rate, a number or a scheduler's dict."""
    if isinstance(rate, Mapping):
        scaled = {key: _tenth(rate[key]) for key in ("learning_rate", "start_lr", "end_lr") if key in rate}
        if "values" in rate:
            scaled["values"] = [_tenth(value) for value in rate["values"]]
        return {**rate, **scaled}
    return rate / 10 if is_number(rate) else rate


def _scheduler(paddle: Any, values: Mapping[str, Any]) -> Any:
    """Return the scheduler of a dict; the one behind a warm-up is a dict, too."""
    given = dict(values)
    if given.get("type") == "ReduceOnPlateau":
        raise ValueError(
            "TrainConfig.learning_rate: ReduceOnPlateau follows a metric, but the rate moves with steps: "
            "use CosineAnnealingDecay, PiecewiseDecay or another schedule of steps"
        )
    if isinstance(given.get("learning_rate"), Mapping):
        given["learning_rate"] = _scheduler(paddle, given["learning_rate"])
    return _made(paddle.optimizer.lr, given, "TrainConfig.learning_rate")


def _made(
    module: Any, values: Mapping[str, Any], where: str, more: Optional[Mapping[str, Any]] = None
) -> Any:
    """Return an object of the class ``values["type"]`` of a module of Paddle's."""
    given = dict(values)
    kind = given.pop("type", None)
    known = [name for name in dir(module) if isinstance(getattr(module, name), type)]
    try:
        return getattr(module, choose(f"{where}.type", kind, known))(**{**(more or {}), **given})
    except TypeError as error:
        raise ValueError(f"{where}: {kind}: {str(error).partition('() ')[2] or error}") from error
