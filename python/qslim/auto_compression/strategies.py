# SPDX-License-Identifier: Apache-2.0
"""The sections of an AutoCompression configuration as dataclasses, with PaddleSlim's fields and defaults.

Source: paddleslim 2.6.0, auto_compression/strategy_config.py.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Optional, Union

from qslim.files.yaml_file import load_yaml
from qslim.logger import logger
from qslim.quant.op_types import DEFAULT_OP_TYPES
from qslim.quant.options import check_int, choose, from_mapping

__all__ = ["Distillation", "Plan", "QuantAware", "QuantPost", "TrainConfig", "read_plan"]

_LOSSES = ("l2", "soft_label")
# Sections that PaddleSlim knows and that are not offered here, with what to use.
_NOT_OFFERED = {
    "ASPPrune": "use qslim.prune.UnstructuredPruner(sparse_block=...) in a training loop of your own",
    "ChannelPrune": "use qslim.Compressor's UniformPruneStrategy, or qslim.prune.Pruner",
    "HyperParameterOptimization": "use qslim.quant.quant_post_hpo",
    "MultiTeacherDistillation": "give one teacher, in Distillation",
    "TransformerPrune": "use qslim.dygraph.FilterPruner on the Layer",
    "UnstructurePrune": "use qslim.prune.UnstructuredPruner in a training loop of your own",
}


@dataclass(frozen=True)
class QuantAware:
    """Quantization-aware training; see ``qslim.quant.quant_aware`` for the fields."""

    quantize_op_types: Sequence[str] = DEFAULT_OP_TYPES
    weight_bits: int = 8
    activation_bits: int = 8
    not_quant_pattern: Sequence[str] = ("skip_quant",)
    use_pact: bool = False
    activation_quantize_type: str = "moving_average_abs_max"
    weight_quantize_type: str = "channel_wise_abs_max"
    dtype: str = "int8"
    window_size: int = 10000
    moving_rate: float = 0.9
    for_tensorrt: bool = False
    onnx_format: bool = True
    is_full_quantize: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The configuration of ``quant_aware``."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "use_pact"}
        if self.use_pact:
            logger.warning("QuantAware: use_pact has no effect: thresholds follow the largest magnitudes")
        return values


@dataclass(frozen=True)
class QuantPost:
    """Post-training quantization; see ``qslim.quant.quant_post_static`` for the fields."""

    batch_size: int = 32
    batch_nums: Optional[int] = None
    epochs: int = 20
    lr: float = 0.1
    algo: str = "hist"
    hist_percent: float = 0.999
    regions: Any = None
    region_weights_names: Any = None
    recon_level: Optional[str] = None
    is_full_quantize: bool = False
    bias_correction: bool = False
    weight_quantize_type: str = "channel_wise_abs_max"
    activation_quantize_type: str = "range_abs_max"
    simulate_activation_quant: bool = False
    skip_tensor_list: Any = None
    onnx_format: bool = True
    quantize_op_types: Sequence[str] = ("conv2d", "depthwise_conv2d", "mul", "matmul", "matmul_v2")
    weight_bits: int = 8
    activation_bits: int = 8

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of ``quant_post_static``, or of ``quant_recon_static`` with a ``recon_level``."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["quantizable_op_type"] = values.pop("quantize_op_types")
        if self.recon_level is None:
            for key in (
                "epochs",
                "lr",
                "regions",
                "region_weights_names",
                "recon_level",
                "simulate_activation_quant",
            ):
                values.pop(key)
        return values


@dataclass(frozen=True)
class Distillation:
    """Distance to the outputs of the float model, or of another one.

    Attributes
    ----------
    loss : {"l2", "soft_label"} or a list of them
    node : list of str, or a list of lists, one for each loss
        Tensors of the model, by a legacy program's names or by the Graph's ("add_1"). Default: what the last
        weighted operators give, in front of a softmax.
    alpha : float or list of float; weights of the losses
    teacher_model_dir, teacher_model_filename, teacher_params_filename : str
        Default: the model itself before it was quantized.
    """

    loss: Union[str, Sequence[str]] = "l2"
    node: Sequence[Any] = ()
    alpha: Union[float, Sequence[float]] = 1.0
    teacher_model_dir: Optional[str] = None
    teacher_model_filename: Optional[str] = None
    teacher_params_filename: Optional[str] = None

    def __post_init__(self) -> None:
        for name in self.losses:
            choose("Distillation.loss", name, _LOSSES)
        if len(self.alphas) != len(self.losses) or (self.node and len(self.nodes) != len(self.losses)):
            raise ValueError(
                f"Distillation: expected one alpha and one list of nodes for each of {self.losses}, got "
                f"alpha={self.alpha!r} and node={self.node!r}"
            )

    @property
    def losses(self) -> list[str]:
        return [self.loss] if isinstance(self.loss, str) else list(self.loss)

    @property
    def alphas(self) -> list[float]:
        if isinstance(self.alpha, (int, float)):
            return [float(self.alpha)]
        return [float(value) for value in self.alpha]

    @property
    def nodes(self) -> list[list[str]]:
        """Nodes of each loss; [] means the default."""
        if not self.node:
            return [[] for _ in self.losses]
        if isinstance(self.node[0], str):
            return [list(self.node)]
        return [list(names) for names in self.node]


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
        for key in ("amp_config", "recompute_config", "sharding_config", "sparse_model"):
            if getattr(self, key):
                raise ValueError(f"TrainConfig.{key}: it is not offered; leave it out")

    def optimizer(self, paddle: Any) -> Any:
        """Return a new optimizer; the dicts stay as they are."""
        rate = self.learning_rate
        if isinstance(rate, Mapping):
            rate = _made(paddle.optimizer.lr, rate, "TrainConfig.learning_rate")
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


_DEFAULT_TRAINING = {
    "epochs": 1,
    "eval_iter": 500,
    "learning_rate": 1e-4,
    "optimizer_builder": {"optimizer": {"type": "Momentum"}, "weight_decay": 4e-5},
}


@dataclass(frozen=True)
class Plan:
    """The strategy of a configuration: post-training quantization, or training."""

    post: Optional[QuantPost]
    aware: Optional[QuantAware]
    distillation: Optional[Distillation]
    training: TrainConfig


def read_plan(config: Any) -> Plan:
    """Return the plan of PaddleSlim's `config`: a dict, the path of a YAML file, names of sections, or None.

    Sections that belong to scripts (``Global``, ...) are left alone; the caller's dict stays as it is.

    Raises
    ------
    ValueError : a section that is not offered or nearly one, an unknown key, a bad value.

    Examples
    --------
    >>> plan = read_plan({"QuantAware": {"weight_bits": 4}, "Distillation": {"alpha": 1.0, "loss": "l2"}})
    >>> plan.aware.weight_bits, plan.distillation.loss, plan.training.epochs
    (4, 'l2', 1)
    """
    if config is None:
        logger.info(
            "AutoCompression: no strategy is given: quantization-aware training with distillation from the "
            "model itself, which needs no labels"
        )
        config = ["QuantAware", "Distillation"]
    sections = load_yaml(config) if isinstance(config, str) else config
    if isinstance(sections, (list, tuple, set)) and all(isinstance(name, str) for name in sections):
        sections = dict.fromkeys(sections)
    if not isinstance(sections, Mapping):
        raise ValueError(f"config: expected a dict, a YAML file's path or names, got {type(config).__name__}")
    classes = {"QuantPost": QuantPost, "QuantAware": QuantAware, "Distillation": Distillation}
    found: dict[str, Any] = {}
    for name, values in sections.items():
        if name in _NOT_OFFERED:
            raise ValueError(f"AutoCompression: {name} is not offered: {_NOT_OFFERED[name]}")
        if name in classes:
            found[name] = _section(classes[name], name, values)
    training = sections.get("TrainConfig") or _DEFAULT_TRAINING
    post, aware = found.get("QuantPost"), found.get("QuantAware")
    if (post is None) == (aware is None):
        raise ValueError(
            f"AutoCompression: expected one of QuantPost and QuantAware in the configuration, got "
            f"{', '.join(map(str, sections)) or 'nothing'}"
        )
    if aware is not None and "Distillation" not in found:
        raise ValueError(
            "AutoCompression: QuantAware trains by distillation: add Distillation, which may be empty"
        )
    return Plan(post, aware, found.get("Distillation"), _section(TrainConfig, "TrainConfig", training))


def _section(cls: type, name: str, values: Any) -> Any:
    if values is not None and not isinstance(values, Mapping):
        logger.warning("AutoCompression: %s: %r is taken as the defaults", name, values)
        values = None
    try:
        return from_mapping(cls, copy.deepcopy(dict(values)) if values else None)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


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
