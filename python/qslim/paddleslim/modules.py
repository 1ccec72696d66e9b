# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's modules, and the places of their names in qslim.

A module offers the public names of its qslim modules, the first that has a name, and before them `names`:
PaddleSlim's name to "module:name" in qslim, which goes before a submodule of that name, too. PaddleSlim's
users import from the packages and from the files inside them (``paddleslim.quant`` and
``paddleslim.quant.quanter``), so both are listed.
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


def _from(source: str, *names: str) -> Module:
    """Return the `names` of `source` alone."""
    return Module(names={name: f"{source}:{name}" for name in names})


_QAT = {"QAT": "qslim.quant:QAT"}
_PTQ = {"PTQ": "qslim.quant:PTQ"}
_ACTIVATIONS = "qslim.quant.observers.activations"
_WEIGHTS = "qslim.quant.observers.weights"
_DISTILL = {name: f"qslim.dist:{name}" for name in ("Distill", "config2yaml", "yaml2config")}
_STATIC_DISTILL = ("fsp", "l2", "loss", "merge", "soft_label")
_LEARNED = "qslim.quant.quanters.learned"
_COLLECTIONS = {
    "PruningCollection": "qslim.prune.collection:PruningCollection",
    "PruningDetails": "qslim.prune.collection:PruningDetails",
    "StaticPruningCollections": "qslim.prune.static_collections:StaticPruningCollections",
}
_ABS_MAX = "qslim.quant.quanters.abs_max"

MODULES: Mapping[str, Module] = {
    "paddle.fluid": Module(("qslim.fluid",)),
    "paddle.fluid.contrib": Module(("qslim.fluid.contrib",)),
    "paddle.fluid.contrib.slim": Module(("qslim.fluid.contrib.slim",)),
    "paddle.fluid.initializer": Module(("qslim.fluid.initializer",)),
    "paddle.fluid.io": Module(("qslim.fluid.io",)),
    "paddle.fluid.layers": Module(("qslim.fluid.layers",)),
    "paddle.fluid.optimizer": Module(("qslim.fluid.optimizer",)),
    "paddle.fluid.param_attr": _from("qslim.fluid", "ParamAttr"),
    "paddle.fluid.regularizer": Module(("qslim.fluid.regularizer",)),
    "paddleslim": Module(("qslim.dygraph", "qslim.analysis"), {**_QAT, **_PTQ, **_DISTILL}),
    "paddleslim.analysis": Module(
        ("qslim.analysis",), {"flops": "qslim.analysis:flops", "model_size": "qslim.analysis:model_size"}
    ),
    "paddleslim.analysis.flops": Module(("qslim.analysis",)),
    "paddleslim.analysis.model_size": Module(("qslim.analysis",)),
    "paddleslim.auto_compression": Module(("qslim.auto_compression",)),
    "paddleslim.auto_compression.analysis": _from("qslim.auto_compression", "analysis_prune"),
    "paddleslim.auto_compression.compressor": _from("qslim.auto_compression", "AutoCompression"),
    "paddleslim.auto_compression.config_helpers": _from("qslim.auto_compression", "load_config"),
    "paddleslim.auto_compression.strategy_config": Module(
        names={
            name: f"qslim.auto_compression:{name}"
            for name in (
                "ASPPrune",
                "ChannelPrune",
                "Distillation",
                "HyperParameterOptimization",
                "MultiTeacherDistillation",
                "QuantAware",
                "QuantPost",
                "TrainConfig",
                "UnstructurePrune",
            )
        }
    ),
    "paddleslim.common": Module(("qslim.paddleslim.common",)),
    "paddleslim.common.config_helper": _from("qslim.paddleslim.common", "load_config", "save_config"),
    "paddleslim.common.dataloader": _from("qslim.paddleslim.common", "get_feed_vars", "wrap_dataloader"),
    "paddleslim.common.load_model": _from("qslim.paddleslim.common", "get_model_dir", "load_inference_model"),
    "paddleslim.common.log_helper": _from("qslim.paddleslim.common", "get_logger"),
    "paddleslim.common.meter": _from("qslim.paddleslim.common", "AvgrageMeter"),
    "paddleslim.dist": _from("qslim.dist", "DML", *_STATIC_DISTILL),
    "paddleslim.dist.dml": _from("qslim.dist", "DML"),
    "paddleslim.dist.single_distiller": _from("qslim.dist", *_STATIC_DISTILL),
    "paddleslim.dygraph": Module(("qslim.dygraph",), {**_QAT, **_PTQ, **_DISTILL}),
    "paddleslim.dygraph.dist": Module(names=_DISTILL),
    "paddleslim.dygraph.dist.distill": Module(names={"Distill": _DISTILL["Distill"]}),
    "paddleslim.dygraph.dist.distill_helpers": _from("qslim.dist", "config2yaml", "yaml2config"),
    "paddleslim.dygraph.prune": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.filter_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.fpgm_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.l1norm_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.l2norm_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.pruning_plan": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.prune.unstructured_pruner": Module(("qslim.dygraph",)),
    "paddleslim.dygraph.quant": Module(names={**_QAT, **_PTQ}),
    "paddleslim.dygraph.quant.ptq": Module(names=_PTQ),
    "paddleslim.dygraph.quant.qat": Module(names=_QAT),
    "paddleslim.models": Module(("qslim.models",)),
    "paddleslim.core": Module(("qslim.paddleslim.graph_wrapper",)),
    "paddleslim.core.graph_wrapper": Module(("qslim.paddleslim.graph_wrapper",)),
    "paddleslim.prune": Module(("qslim.prune",), _COLLECTIONS),
    "paddleslim.prune.collections": Module(names=_COLLECTIONS),
    "paddleslim.prune.prune_io": _from("qslim.prune", "load_model", "save_model"),
    "paddleslim.prune.pruner": Module(("qslim.prune",)),
    "paddleslim.prune.sensitive": Module(("qslim.prune",)),
    "paddleslim.prune.unstructured_pruner": Module(("qslim.prune",)),
    "paddleslim.quant": Module(
        ("qslim.quant",),
        {
            "get_logger": "qslim.paddleslim.common:get_logger",
            "quant_embedding": "qslim.quant:quant_embedding",
        },
    ),
    "paddleslim.quant.analysis": Module(("qslim.quant.analysis",)),
    "paddleslim.quant.analysis_ptq": _from("qslim.quant.analysis", "AnalysisPTQ"),
    "paddleslim.quant.analysis_qat": _from("qslim.quant.analysis", "AnalysisQAT"),
    "paddleslim.quant.config": _from("qslim.quant", "SlimQuantConfig"),
    "paddleslim.quant.constraints": Module(("qslim.quant.constraints",)),
    "paddleslim.quant.constraints.constraint": _from("qslim.quant.constraints", "Constraint"),
    "paddleslim.quant.constraints.conv_bn_constraints": _from(
        "qslim.quant.constraints", "FreezedConvBNConstraint"
    ),
    "paddleslim.quant.observers": Module(("qslim.quant.observers",)),
    "paddleslim.quant.observers.abs_max": _from(_ACTIVATIONS, "AbsmaxObserver", "AbsmaxObserverLayer"),
    "paddleslim.quant.observers.abs_max_weight": _from(
        _WEIGHTS, "AbsMaxChannelWiseWeightObserver", "AbsMaxChannelWiseWeightObserverLayer"
    ),
    "paddleslim.quant.observers.avg": _from(_ACTIVATIONS, "AVGObserver", "AVGObserverLayer"),
    "paddleslim.quant.observers.emd": _from(_ACTIVATIONS, "EMDObserver", "EMDObserverLayer"),
    "paddleslim.quant.observers.groupwise": _from(
        _WEIGHTS, "GroupWiseWeightObserver", "GroupWiseWeightObserverLayer"
    ),
    "paddleslim.quant.observers.hist": _from(_ACTIVATIONS, "HistObserver", "PercentHistObserverLayer"),
    "paddleslim.quant.observers.kl": _from(_ACTIVATIONS, "KLObserver", "KLObserverLayer"),
    "paddleslim.quant.observers.mse": _from(_ACTIVATIONS, "MSEObserver", "MSEObserverLayer"),
    "paddleslim.quant.observers.mse_weight": _from(
        _WEIGHTS, "MSEChannelWiseWeightObserver", "MSEChannelWiseWeightObserverLayer"
    ),
    "paddleslim.quant.post_quant_hpo": _from("qslim.quant", "quant_post_hpo"),
    "paddleslim.quant.qat": _from("qslim.quant", "SlimQAT"),
    "paddleslim.quant.quant_embedding": _from("qslim.quant", "quant_embedding"),
    "paddleslim.quant.quanter": Module(("qslim.quant",)),
    "paddleslim.quant.quanters": Module(("qslim.quant.quanters",)),
    "paddleslim.quant.quanters.channel_wise_abs_max": _from(
        _ABS_MAX, "FakeQuanterChannelWiseAbsMaxObserver", "FakeQuanterChannelWiseAbsMaxObserverLayer"
    ),
    "paddleslim.quant.quanters.lsq_act": _from(_LEARNED, "ActLSQplusQuanter", "ActLSQplusQuanterLayer"),
    "paddleslim.quant.quanters.lsq_weight": _from(
        _LEARNED, "WeightLSQplusQuanter", "WeightLSQplusQuanterLayer"
    ),
    "paddleslim.quant.quanters.pact": _from(_LEARNED, "PACTQuanter", "PACTQuanterLayer"),
    "paddleslim.quant.reconstruction_quantization": _from("qslim.quant", "quant_recon_static"),
}
