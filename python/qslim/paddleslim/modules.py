# SPDX-License-Identifier: Apache-2.0
"""Which of PaddleSlim's modules there are, and where in qslim their names live.

A module offers the public names of its qslim modules, the first that has a name, and beside them `names`:
PaddleSlim's name to "module:name" in qslim. PaddleSlim's users import from the packages and from the files
inside them (``paddleslim.quant`` and ``paddleslim.quant.quanter``), so both are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["MODULES", "Module"]


@dataclass(frozen=True)
class Module:
    """One of PaddleSlim's modules in terms of qslim's."""

    sources: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)


_QAT = {"QAT": "qslim.quant:QAT"}
_PTQ = {"PTQ": "qslim.quant:PTQ"}
_LOGGER = Module(names={"get_logger": "qslim.paddleslim.common:get_logger"})

MODULES: Mapping[str, Module] = {
    "paddleslim": Module(names={**_QAT, **_PTQ}),
    "paddleslim.analysis": Module(("qslim.analysis",)),
    "paddleslim.analysis.flops": Module(("qslim.analysis",)),
    "paddleslim.analysis.model_size": Module(("qslim.analysis",)),
    "paddleslim.common": Module(("qslim.paddleslim.common",)),
    "paddleslim.common.log_helper": _LOGGER,
    "paddleslim.common.meter": Module(names={"AvgrageMeter": "qslim.paddleslim.common:AvgrageMeter"}),
    "paddleslim.dygraph": Module(("qslim.dygraph",), {**_QAT, **_PTQ}),
    "paddleslim.dygraph.prune": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.filter_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.fpgm_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.l1norm_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.l2norm_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.unstructured_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.quant": Module(names={**_QAT, **_PTQ}),
    "paddleslim.dygraph.quant.ptq": Module(names=_PTQ),
    "paddleslim.dygraph.quant.qat": Module(names=_QAT),
    "paddleslim.models": Module(("qslim.models",)),
    "paddleslim.prune": Module(("qslim.prune",)),
    "paddleslim.prune.pruner": Module(("qslim.prune",)),
    "paddleslim.prune.sensitive": Module(("qslim.prune",)),
    "paddleslim.prune.unstructured_pruner": Module(("qslim.prune",)),
    "paddleslim.quant": Module(("qslim.quant",)),
    "paddleslim.quant.config": Module(names={"SlimQuantConfig": "qslim.quant:SlimQuantConfig"}),
    "paddleslim.quant.constraints": Module(("qslim.quant.constraints",)),
    "paddleslim.quant.observers": Module(("qslim.quant.observers",)),
    "paddleslim.quant.quanter": Module(("qslim.quant",)),
    "paddleslim.quant.quanters": Module(("qslim.quant.quanters",)),
}
