# SPDX-License-Identifier: Apache-2.0
"""The YAML file of a Compressor: named blocks with a class, and what the compressor does with them.

    version: 1.0
    pruners, distillers, strategies:   blocks by name; class: ..., then the fields of the class
    compressor:                        epoch, checkpoint_path, init_model, eval_epoch, strategies

A value that is the name of another block means that block. An unknown key or class is an error with the
nearest match.
Source: the grammar of paddle.fluid 1.6, contrib/slim/core/config.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from qslim.compressor.distillation import (
    DistillationStrategy,
    FSPDistiller,
    L2Distiller,
    SoftLabelDistiller,
)
from qslim.compressor.pruning import SensitivePruneStrategy, StructurePruner, UniformPruneStrategy
from qslim.compressor.quantization import QuantizationStrategy
from qslim.compressor.strategy import Strategy
from qslim.files.yaml_file import load_yaml
from qslim.quant.options import check_int, choose, from_mapping

__all__ = ["Configuration", "read_configuration"]

# Sections in the order in which their blocks can refer to each other.
_CLASSES: dict[str, tuple[type, ...]] = {
    "pruners": (StructurePruner,),
    "distillers": (L2Distiller, FSPDistiller, SoftLabelDistiller),
    "strategies": (
        QuantizationStrategy,
        UniformPruneStrategy,
        SensitivePruneStrategy,
        DistillationStrategy,
    ),
}
_NOT_OFFERED = {
    "LightNASStrategy": "qslim has no search for architectures; train a smaller network of qslim.models",
    "AutoPruneStrategy": "qslim has no search by a controller; SensitivePruneStrategy finds ratios",
}


@dataclass(frozen=True)
class _Settings:
    """The section ``compressor``."""

    epoch: int = 1
    checkpoint_path: Optional[str] = None
    init_model: Optional[str] = None
    eval_epoch: int = 1
    strategies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_int("epoch", self.epoch, 1)
        check_int("eval_epoch", self.eval_epoch, 1)
        for key in ("checkpoint_path", "init_model"):
            if not isinstance(getattr(self, key), (str, type(None))):
                raise ValueError(f"{key}: expected a path, got {getattr(self, key)!r}")


@dataclass(frozen=True)
class Configuration:
    """The settings of a YAML file. Checkpoints remember its ``text``."""

    epoch: int
    checkpoint_path: Optional[str]
    init_model: Optional[str]
    eval_epoch: int
    strategies: dict[str, Strategy]
    text: dict[str, Any] = field(default_factory=dict)


def read_configuration(config: Union[str, os.PathLike[str], Mapping[str, Any]]) -> Configuration:
    """Return what the YAML file `config`, or a mapping of its form, says.

    Raises
    ------
    ValueError : no YAML; an unknown section, class or key, with the nearest match; a value that a class
        refuses. Begins with the place.

    Examples
    --------
    >>> block = {"class": "QuantizationStrategy", "end_epoch": 1}
    >>> config = {"strategies": {"quant": block}, "compressor": {"epoch": 2, "strategies": ["quant"]}}
    >>> read_configuration(config).strategies["quant"].weight_bits
    8
    """
    loaded = dict(config) if isinstance(config, Mapping) else load_yaml(config, "compress_config")
    sections = _without_none(loaded)
    for section in sections:
        choose("compress_config", section, ("version", "compressor", *_CLASSES))
    blocks: dict[str, Any] = {}
    for section, classes in _CLASSES.items():
        for name, values in _mapping(sections.get(section), section).items():
            blocks[name] = _made(f"{section}.{name}", values, classes, blocks)
    where = "compressor"
    values = dict(_mapping(sections.get(where), where))
    names = values.get("strategies") or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    values["strategies"] = names
    settings = _from(_Settings, values, where)
    known = _mapping(sections.get("strategies"), "strategies")
    chosen = {name: blocks[choose(f"{where}.strategies", name, known)] for name in names}
    for name, strategy in chosen.items():
        if strategy.start_epoch >= settings.epoch:
            raise ValueError(
                f"strategies.{name}: start_epoch={strategy.start_epoch} is never reached: compressor.epoch "
                f"is {settings.epoch}, and epochs count from 0"
            )
    text = {section: value for section, value in sections.items() if section not in ("version", where)}
    return Configuration(
        settings.epoch,
        settings.checkpoint_path,
        settings.init_model,
        settings.eval_epoch,
        chosen,
        {**text, "chosen": list(names)},
    )


def _made(where: str, values: Any, classes: tuple[type, ...], blocks: Mapping[str, Any]) -> Any:
    """Return the object of one block; names among its values become `blocks`."""
    given = dict(_mapping(values, where))
    kind = given.pop("class", None)
    if kind in _NOT_OFFERED:
        raise ValueError(f"{where}: {kind}: {_NOT_OFFERED[kind]}")
    by_name = {cls.__name__: cls for cls in classes}
    cls = by_name[choose(f"{where}.class", kind, by_name)]
    return _from(cls, {key: _resolved(value, blocks) for key, value in given.items()}, where)


def _resolved(value: Any, blocks: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value in blocks:
        return blocks[value]
    if isinstance(value, list):
        return [_resolved(item, blocks) for item in value]
    return value


def _from(cls: type, values: Mapping[str, Any], where: str) -> Any:
    try:
        return from_mapping(cls, values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    except TypeError as error:  # a field without a default
        raise ValueError(f"{where}: {str(error).partition('() ')[2] or error}") from error


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"compress_config: {where}: expected names with values, got {value!r}")
    return value


def _without_none(value: Any) -> Any:
    """Return `value` with the text 'None' as None, at any depth, as the format means it."""
    if isinstance(value, Mapping):
        return {str(key): _without_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return None if isinstance(value, str) and value.lower() == "none" else value
