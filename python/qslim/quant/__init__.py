# SPDX-License-Identifier: Apache-2.0
"""Quantization: PaddleSlim's calls on today's Paddle.

``QAT`` and what belongs to it subclass Paddle's layers, so they are imported when they are first touched.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qslim.paddle.framework import paddle_module
from qslim.quant.post_training.post_dynamic import quant_post_dynamic, quant_post_only_weight
from qslim.quant.post_training.post_hpo import quant_post_hpo
from qslim.quant.post_training.post_recon import quant_recon_static
from qslim.quant.post_training.post_static import quant_post, quant_post_static
from qslim.quant.post_training.post_training_report import QuantizationReport
from qslim.quant.programs import convert, get_pact_optimizer, pact, quant_aware, quant_embedding

if TYPE_CHECKING:  # what __getattr__ gives, for editors and type checkers
    from qslim.quant import analysis, constraints, observers, quanters, recipes
    from qslim.quant.post_training.ptq import PTQ
    from qslim.quant.training import QAT, QATConfig, QATReport, load_checkpoint
    from qslim.quant.training.slim import SlimQAT, SlimQuantConfig

__all__ = [
    "PTQ",
    "QAT",
    "QATConfig",
    "QATReport",
    "QuantizationReport",
    "SlimQAT",
    "SlimQuantConfig",
    "analysis",
    "constraints",
    "convert",
    "get_pact_optimizer",
    "load_checkpoint",
    "observers",
    "pact",
    "quant_aware",
    "quant_embedding",
    "quant_post",
    "quant_post_dynamic",
    "quant_post_hpo",
    "quant_post_only_weight",
    "quant_post_static",
    "quant_recon_static",
    "quanters",
    "recipes",
]

_NEED_PADDLE = {
    "PTQ": "qslim.quant.post_training.ptq",
    "QAT": "qslim.quant.training",
    "QATConfig": "qslim.quant.training",
    "QATReport": "qslim.quant.training",
    "SlimQAT": "qslim.quant.training.slim",
    "SlimQuantConfig": "qslim.quant.training.slim",
    "load_checkpoint": "qslim.quant.training",
}

_SUBPACKAGES = ("analysis", "constraints", "observers", "quanters", "recipes")


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        if name != "analysis":
            paddle_module()
        return importlib.import_module(f"qslim.quant.{name}")
    if name in _NEED_PADDLE:
        paddle_module()
        return getattr(importlib.import_module(_NEED_PADDLE[name]), name)
    raise AttributeError(f"module 'qslim.quant' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_NEED_PADDLE, *_SUBPACKAGES])
