# SPDX-License-Identifier: Apache-2.0
"""The plan of a configuration: which strategies, in which order, and how each one trains.

Pruning comes before quantization. Each strategy takes the model that the one before it has written; teachers
stay what they are, by default the model that was given.
Source: paddleslim 2.6.0, auto_compression/compressor.py (names and order of strategies).
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from qslim.auto_compression import strategies as sections
from qslim.auto_compression.strategies import (
    ASPPrune,
    ChannelPrune,
    Distillation,
    HyperParameterOptimization,
    MultiTeacherDistillation,
    QuantAware,
    QuantPost,
    UnstructurePrune,
)
from qslim.auto_compression.train_config import TrainConfig
from qslim.files.yaml_file import load_yaml
from qslim.logger import logger
from qslim.quant.options import from_mapping

__all__ = ["Plan", "Strategy", "read_plan"]

_CLASSES: dict[str, Any] = {name: getattr(sections, name) for name in sections.__all__ if name != "Term"}
_PRUNING = {
    "ChannelPrune": "channel_prune_dis",
    "ASPPrune": "asp_prune_dis",
    "UnstructurePrune": "unstructure_prune_dis",
}
_DISTILLATION = {
    "Distillation": "single_teacher_dis",
    "MultiTeacherDistillation": "multi_teacher_dis",
}
_NOT_OFFERED = {
    "TransformerPrune": "prune the Layer with qslim.dygraph.FilterPruner, which cuts whole heads",
    "Prune": "it is no section of PaddleSlim's any more; ChannelPrune cuts filters",
    "Quantization": "it is no section of PaddleSlim's any more; QuantAware trains, QuantPost calibrates",
}
_TRAINING = "TrainConfig"
_DEFAULT_TRAINING = {
    "epochs": 1,
    "eval_iter": 500,
    "learning_rate": 1e-4,
    "optimizer_builder": {"optimizer": {"type": "Momentum"}, "weight_decay": 4e-5},
}


@dataclass(frozen=True)
class Strategy:
    """One step from a model to a model, under PaddleSlim's name.

    Attributes
    ----------
    name : str
    training : TrainConfig
    prune : ChannelPrune, ASPPrune or UnstructurePrune, or None
    distillation : Distillation or MultiTeacherDistillation, or None of what trains nothing
    aware : QuantAware or None
    post : QuantPost or None
    search : HyperParameterOptimization or None; the search of ``post``
    """

    name: str
    training: TrainConfig
    prune: Union[ChannelPrune, ASPPrune, UnstructurePrune, None] = None
    distillation: Union[Distillation, MultiTeacherDistillation, None] = None
    aware: Optional[QuantAware] = None
    post: Optional[QuantPost] = None
    search: Optional[HyperParameterOptimization] = None


@dataclass(frozen=True)
class Plan:
    """The strategies of a configuration, in their order.

    ``is_automatic`` is True if the configuration gives none: the second is taken if the first one loses too
    much.
    """

    strategies: tuple[Strategy, ...]
    is_automatic: bool = False


def read_plan(config: Any) -> Plan:
    """Return the plan of PaddleSlim's `config`: a dict, the path of a YAML file, names of sections, or None.

    Sections that belong to scripts (``Global``, ...) are left alone; the caller's dict stays as it is.

    Raises
    ------
    ValueError : a section that is not offered or nearly one, an unknown key, a bad value.

    Examples
    --------
    >>> plan = read_plan({"ChannelPrune": {"pruned_ratio": 0.25}, "QuantAware": {}, "Distillation": {}})
    >>> [strategy.name for strategy in plan.strategies]
    ['channel_prune_dis', 'qat_dis']
    """
    given: Any = {} if config is None else config
    given = load_yaml(given) if isinstance(given, str) else given
    if isinstance(given, (list, tuple, set)) and all(isinstance(name, str) for name in given):
        given = dict.fromkeys(given)
        for name in sorted(set(given) - {*_CLASSES, *_NOT_OFFERED, _TRAINING}):
            logger.warning(
                "AutoCompression: %r is no section, and is left out; there are %s", name, list(_CLASSES)
            )
    if not isinstance(given, Mapping):
        raise ValueError(f"config: expected a dict, a YAML file's path or names, got {type(config).__name__}")
    found: dict[str, Any] = {}
    for name, values in given.items():
        if name in _NOT_OFFERED:
            raise ValueError(f"AutoCompression: {name} is not offered: {_NOT_OFFERED[name]}")
        if name in _CLASSES:
            found[name] = _section(_CLASSES[name], name, values)
        elif name != _TRAINING:
            for near in difflib.get_close_matches(str(name), [*_CLASSES, _TRAINING], 1, 0.8):
                raise ValueError(f"AutoCompression: unknown section {name!r}; did you mean {near!r}?")
    training = _section(TrainConfig, _TRAINING, given.get(_TRAINING) or _DEFAULT_TRAINING)
    if not found:
        if config is not None:
            logger.info("AutoCompression: the configuration has no strategy, one is chosen")
        return Plan(_automatic(training), is_automatic=True)
    return Plan(tuple(_strategies(found, training)))


def _automatic(training: TrainConfig) -> tuple[Strategy, ...]:
    post, aware = QuantPost(algo="auto"), QuantAware()
    return (
        Strategy("quant_post", training, post=post),
        Strategy("qat_dis", training, distillation=Distillation(), aware=aware),
    )


def _strategies(found: Mapping[str, Any], training: TrainConfig) -> list[Strategy]:
    """Return the strategies that the sections `found` make together."""
    teaching = [name for name in _DISTILLATION if name in found]
    pruning = [name for name in _PRUNING if name in found]
    if len(teaching) > 1:
        raise ValueError(
            "AutoCompression: Distillation and MultiTeacherDistillation cannot be set at the same time"
        )
    if "QuantAware" in found and "QuantPost" in found:
        raise ValueError("AutoCompression: expected one of QuantPost and QuantAware, got both")
    if len(pruning) > 1 and "ChannelPrune" not in pruning:
        raise ValueError(f"AutoCompression: expected one kind of zeros, got {' and '.join(pruning)}")
    if "HyperParameterOptimization" in found and "QuantPost" not in found:
        raise ValueError(
            "AutoCompression: HyperParameterOptimization searches the options of QuantPost: add QuantPost, "
            "which may be empty"
        )
    for name in [*pruning, *(["QuantAware"] if "QuantAware" in found else [])]:
        if not teaching:
            raise ValueError(
                f"AutoCompression: {name} trains by distillation: add Distillation, which may be empty"
            )
    distillation = found[teaching[0]] if teaching else None
    made: list[Strategy] = []

    def add(name: str, **parts: Any) -> None:
        own = training.for_later(name.startswith(("qat", "ptq"))) if made else training
        made.append(Strategy(name, own, **parts))

    for name in pruning:
        add(_PRUNING[name], prune=found[name], distillation=distillation)
    if teaching and not pruning and "QuantAware" not in found:
        add(_DISTILLATION[teaching[0]], distillation=distillation)
    if "QuantAware" in found:
        add("qat_dis", aware=found["QuantAware"], distillation=distillation)
    if "QuantPost" in found:
        search = found.get("HyperParameterOptimization")
        add("quant_post" if search is None else "ptq_hpo", post=found["QuantPost"], search=search)
    return made


def _section(cls: type, name: str, values: Any) -> Any:
    if values is not None and not isinstance(values, Mapping):
        logger.warning("AutoCompression: %s: %r is taken as the defaults", name, values)
        values = None
    try:
        return from_mapping(cls, copy.deepcopy(dict(values)) if values else None)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except TypeError as error:  # a field without a default
        raise ValueError(f"{name}: {str(error).partition('() ')[2] or error}") from error
