# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's names that qslim does not offer: one sentence each, with what to use instead.

A name stands for all that is below it; of several that fit, the longest is meant.
"""

from __future__ import annotations

from typing import Optional

__all__ = ["REFUSED", "refusal"]

_SEARCH = (
    "qslim has no search for architectures; take a smaller network (qslim.models.MobileNetV2_x0_25, ...) or "
    "prune a large one (qslim.dygraph.FPGMFilterPruner)"
)
_LATENCY = (
    "qslim has no tables of latencies; measure with qslim.runtime.Session(model).profile(feeds), and count "
    "with qslim.analysis.flops"
)
_GRAPHS = (
    "qslim works on its own Graph; qslim.importers.paddle.import_model reads one, and qslim.analysis and "
    "qslim.prune.Pruner take programs as they are"
)
_CONTROLLERS = f"it serves the search for architectures: {_SEARCH}"
_GROUPS = (
    "qslim finds what is cut together by itself; qslim.prune.Pruner and qslim.dygraph.FilterPruner prune by "
    "parameter names"
)
_LANGUAGE = (
    "qslim quantizes linear layers by quant.quant_post_static(round_type='adaround', equalize=True) and "
    "quant.quant_post_dynamic(weight_bits=4)"
)
_VALUES = "fetch the variables by executor.run, or give qslim.quant.analysis.Analysis the model"
_AUTOMATIC = (
    "AutoCompression.compress runs the strategies of a configuration whole; qslim.auto_compression has "
    "the classes of its sections, all but TransformerPrune (use qslim.dygraph.FilterPruner on the Layer)"
)
_CRITERION = "prune.Pruner takes a criterion by name, or a function of weight and axis"
_RATIOS = "use prune.sensitivity and prune.get_ratios_by_loss, which find ratios without a search"
_INTERNAL = "it is internal to PaddleSlim; its tasks are done inside of the calls that PaddleSlim documents"
_DISTANCES = "use dist.l2, dist.soft_label or dist.fsp, or a function of your own with dist.loss"
_FEATURES = "Distill takes its losses by name (loss_function), and any sublayer by layers_name"
_BRANCHES = "qslim trains no networks of parallel branches; it folds normalizations when a model is quantized"
_BY_NAME = "qslim.PTQ takes its quantizers by name: PTQ(activation_quantizer='HistQuantizer')"
_FUSED = (
    "qslim's quantized convolutions keep their class; fold normalizations by quant.constraints."
    "FreezedConvBNConstraint or QAT(config={'fuse_conv_bn': True})"
)

REFUSED = {
    "analysis._utils": _LATENCY,
    "analysis.LatencyEvaluator": _LATENCY,
    "analysis.LatencyPredictor": _LATENCY,
    "analysis.TableLatencyEvaluator": _LATENCY,
    "analysis.TableLatencyPredictor": _LATENCY,
    "analysis.extract_features": _LATENCY,
    "analysis.get_key_from_op": _LATENCY,
    "analysis.latency": _LATENCY,
    "analysis.latency_predictor": _LATENCY,
    "analysis.parse_ops": _LATENCY,
    "analysis.save_cls_model": _LATENCY,
    "analysis.save_det_model": _LATENCY,
    "auto_compression": _AUTOMATIC,
    "common": _INTERNAL,
    "common.ControllerClient": _CONTROLLERS,
    "common.ControllerServer": _CONTROLLERS,
    "common.EvolutionaryController": _CONTROLLERS,
    "common.RLBaseController": _CONTROLLERS,
    "common.SAController": _CONTROLLERS,
    "common.VarCollector": _VALUES,
    "common.analyze_helper": _VALUES,
    "common.cached_reader": "keep the batches in a list; all of qslim's calls take one in place of a reader",
    "common.client": _CONTROLLERS,
    "common.controller": _CONTROLLERS,
    "common.controller_client": _CONTROLLERS,
    "common.controller_server": _CONTROLLERS,
    "common.load_onnx_model": "it makes a Paddle program of ONNX; qslim.runtime.Session runs ONNX files",
    "common.patterns": _GRAPHS,
    "common.patterns_common": _GRAPHS,
    "common.recover_program": _GRAPHS,
    "common.rl_controller": _CONTROLLERS,
    "common.sa_controller": _CONTROLLERS,
    "common.server": _CONTROLLERS,
    "common.transformer_pattern": _GRAPHS,
    "core.Graph": _GRAPHS,
    "core.GraphTracer": _GRAPHS,
    "core.Registry": _INTERNAL,
    "core.dygraph": _GRAPHS,
    "core.dygraph2program": _GRAPHS,
    "core.graph": _GRAPHS,
    "core.graph_tracer": _GRAPHS,
    "core.registry": _INTERNAL,
    "dist.dkd": _DISTANCES,
    "dist.dml.DMLOptimizers": _INTERNAL,
    "dist.single_distiller": _DISTANCES,
    "dist.skd": _DISTANCES,
    "dygraph.DygraphPruningCollections": _GROUPS,
    "dygraph.Pruner": "use dygraph.FilterPruner, or one of its kinds",
    "dygraph.dist": _FEATURES,
    "dygraph.prune.pruner": "use dygraph.FilterPruner, or one of its kinds",
    "dygraph.prune.var_group": _GROUPS,
    "dygraph.rep": _BRANCHES,
    "lc": "qslim has no NF4 or FP4; quant.quant_post_dynamic(weight_bits=4) stores weights in groups of int4",
    "nas": _SEARCH,
    "prune.AutoPruner": _RATIOS,
    "prune.BLOCK_SPARSE_ACCURATE_THRESHOLD": _INTERNAL,
    "prune.CRITERION": _CRITERION,
    "prune.IDX_SELECTOR": "prune.Pruner takes idx_selector by name",
    "prune.PRUNE_WORKER": _GROUPS,
    "prune.PruningCollections": _GROUPS,
    "prune.UnsupportOpError": _GROUPS,
    "prune.auto_pruner": _RATIOS,
    "prune.cal_mxn_avg_matrix": _INTERNAL,
    "prune.collections": _GROUPS,
    "prune.conv2d": _GROUPS,
    "prune.criterion": _CRITERION,
    "prune.idx_selector": "prune.Pruner takes idx_selector by name",
    "prune.l1_norm": _CRITERION,
    "prune.prune_worker": _GROUPS,
    "prune.unstructured_pruner_utils": _INTERNAL,
    "quant.advanced": _LANGUAGE,
    "quant.analysis_utils": _INTERNAL,
    "quant.constraints.FusionConstraint": _FUSED,
    "quant.constraints.constraint.FusionConstraint": _FUSED,
    "quant.export_quant_infermodel": "use qslim.Compressor, or quant.quant_aware and quant.convert",
    "quant.layers": "column- and row-parallel Linear layers are quantized by qslim.QAT where they stand",
    "quant.nn": _FUSED,
    "quant.observers.base_hist": _INTERNAL,
    "quant.observers.channel_wise": _INTERNAL,
    "quant.observers.MSEWeightObserver": "use quant.observers.MSEChannelWiseWeightObserver",
    "quant.observers.kl": _INTERNAL,
    "quant.observers.uniform": _INTERNAL,
    "quant.post_quant_hpo": _INTERNAL,
    "quant.quant_aware_with_infermodel": "use qslim.Compressor, or quant.quant_aware and quant.convert",
    "quant.quanter": _INTERNAL,
    "quant.quanters.base_fake_quanter": _INTERNAL,
    "quant.quanters.lsq_func": _INTERNAL,
    "quant.reconstruction_quantization.ReconstructionQuantization": "use quant.quant_recon_static",
    "utils": "qslim downloads nothing",
}

# Names that PaddleSlim repeats in several modules.
_ANYWHERE = {
    name: reason
    for names, reason in (
        ("ACBRepConfig BaseRepConfig DBBRepConfig RepVGGConfig SlimRepConfig Reparameter", _BRANCHES),
        ("ACBlock DiverseBranchBlock RepVGGBlock SlimRepBlock", _BRANCHES),
        ("AbsmaxQuantizer HistQuantizer KLQuantizer PerChannelAbsmaxQuantizer", _BY_NAME),
        ("LatencyEvaluator LatencyPredictor TableLatencyEvaluator TableLatencyPredictor", _LATENCY),
        ("get_key_from_op save_cls_model save_det_model", _LATENCY),
        ("DygraphPruningCollections", _GROUPS),
        ("Pruner", "use dygraph.FilterPruner, or one of its kinds"),
    )
    for name in names.split()
}


def refusal(name: str) -> Optional[str]:
    """Return why PaddleSlim's `name` is not offered, and what to use; None if it is no name of this table.

    Examples
    --------
    >>> refusal("nas.search_space.MobileNetV1Space").split(";")[0]
    'qslim has no search for architectures'
    """
    path = name
    while path:
        if path in REFUSED:
            return REFUSED[path]
        path = path.rpartition(".")[0]
    return _ANYWHERE.get(name.rpartition(".")[2])
