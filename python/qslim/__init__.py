# SPDX-License-Identifier: Apache-2.0
"""qslim: PaddleSlim's quantization and pruning API on today's PaddlePaddle, with a C++ core.

``import qslim as slim`` costs NumPy only. The sub-packages that need Paddle (``quant``, ``models``)
import it when they are first touched and say so in one sentence where it is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from qslim._core import FormatError, __version__
from qslim.logger import set_log_level

if TYPE_CHECKING:  # what __getattr__ gives, for editors and type checkers
    from qslim import (
        analysis,
        auto_compression,
        compressor,
        deployment,
        dygraph,
        exporters,
        fluid,
        functional,
        graph,
        importers,
        models,
        prune,
        quant,
        runtime,
    )
    from qslim.analysis.flops import dygraph_flops, flops, model_size
    from qslim.compressor import Compressor
    from qslim.dygraph import (
        FilterPruner,
        FPGMFilterPruner,
        GMPUnstructuredPruner,
        L1NormFilterPruner,
        L2NormFilterPruner,
        UnstructuredPruner,
    )
    from qslim.quant.post_training.ptq import PTQ
    from qslim.quant.training.qat import QAT

__all__ = [
    "PTQ",
    "QAT",
    "Compressor",
    "FPGMFilterPruner",
    "FilterPruner",
    "FormatError",
    "GMPUnstructuredPruner",
    "L1NormFilterPruner",
    "L2NormFilterPruner",
    "UnstructuredPruner",
    "__version__",
    "analysis",
    "auto_compression",
    "compressor",
    "deployment",
    "dist",
    "dygraph",
    "dygraph_flops",
    "exporters",
    "flops",
    "fluid",
    "functional",
    "graph",
    "importers",
    "model_size",
    "models",
    "prune",
    "quant",
    "runtime",
    "set_log_level",
]

_SUBPACKAGES = (
    "analysis",
    "auto_compression",
    "compressor",
    "deployment",
    "dist",
    "distillation",
    "dygraph",
    "exporters",
    "fluid",
    "functional",
    "graph",
    "importers",
    "models",
    "prune",
    "quant",
    "runtime",
)

_OF_THE_ALIAS = {"common": "qslim.paddleslim.common", "core": "qslim.paddleslim.graph_wrapper"}

# PaddleSlim has these at its top level.
_SHORTCUTS = {
    "Compressor": "qslim.compressor",
    "Distill": "qslim.dist",
    "FPGMFilterPruner": "qslim.dygraph",
    "FilterPruner": "qslim.dygraph",
    "GMPUnstructuredPruner": "qslim.dygraph",
    "L1NormFilterPruner": "qslim.dygraph",
    "L2NormFilterPruner": "qslim.dygraph",
    "PTQ": "qslim.quant",
    "QAT": "qslim.quant",
    "UnstructuredPruner": "qslim.dygraph",
    "config2yaml": "qslim.dist",
    "dygraph_flops": "qslim.analysis",
    "flops": "qslim.analysis",
    "model_size": "qslim.analysis",
    "yaml2config": "qslim.dist",
}


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"qslim.{name}")
    if name in _SHORTCUTS:
        return getattr(importlib.import_module(_SHORTCUTS[name]), name)
    if name in _OF_THE_ALIAS:
        return importlib.import_module(_OF_THE_ALIAS[name])
    from qslim.paddleslim.refusals import refusal

    reason = refusal(name)
    if reason is not None:
        raise AttributeError(f"qslim.{name} is not offered: {reason}")
    raise AttributeError(f"module 'qslim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBPACKAGES, *_SHORTCUTS])
