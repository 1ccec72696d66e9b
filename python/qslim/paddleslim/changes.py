# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's names that do another thing here than in PaddleSlim 2.6.0, one sentence each.

Calls and arguments are PaddleSlim's; these are differences of results. A name stands for itself in every
module that offers it. The guides have the details, and are named where there is one.
"""

from __future__ import annotations

__all__ = ["CHANGED"]

_OBSERVER = "the formula is mended and weighs all batches together; post_training_quantization.md"
_OUTPUT_CHANNELS = "also for the weights of Linear and Conv2DTranspose, whose output channels lie on axis 1"
_LEARNED = "starts from calibrated values; factors on the learning rate are relative to that start"
_PRUNER = "finds by itself what is cut together; unknown parameters and a ratio of 1 are errors"
_STATIC = "both IRs; what cannot be pruned is named with its reason"
_POST_STATIC = (
    "all three sources of data, models of both IRs, activations with a zero point where it pays, "
    "`algo='auto'`, `accuracy_drop=`; errors for unknown options; a report; post_training_quantization.md"
)
_FLOPS = "transposed convolutions count, and products of rank 3 are counted right"
_WEIGHTS = "the result runs in Paddle itself and in the engine; also int4 in groups; linear_layers.md"
_PROGRAMS = "both IRs; what cannot be negative is unsigned; quantization_aware_training.md"

CHANGED = {
    "AbsMaxChannelWiseWeightObserver": _OUTPUT_CHANNELS,
    "ActLSQplusQuanter": _LEARNED,
    "Analysis": "two passes in place of one evaluation a layer; analysis.md",
    "AutoCompression": (
        "both IRs, resumable; `TransformerPrune`, `target_speedup` are refused; auto_compression.md"
    ),
    "EMDObserver": _OBSERVER,
    "FPGMFilterPruner": _PRUNER,
    "FilterPruner": _PRUNER,
    "FreezedConvBNConstraint": "folds by the square root of the variance, and leaves the float weight alone",
    "HistObserver": _OBSERVER,
    "KLObserver": _OBSERVER,
    "L1NormFilterPruner": _PRUNER,
    "L2NormFilterPruner": _PRUNER,
    "MSEChannelWiseWeightObserver": _OUTPUT_CHANNELS,
    "MSEObserver": _OBSERVER,
    "PACTQuanter": "the clipping value is the threshold of deployment; it starts calibrated",
    "PTQ": "what it saves runs in the engine as well; its quantizers are named by strings",
    "Pruner": _STATIC,
    "QAT": "saves what was trained, to the bit; keys of checkpoints stay; quantization_aware_training.md",
    "SlimQAT": "as QAT",
    "WeightLSQplusQuanter": _LEARNED,
    "convert": _PROGRAMS,
    "dygraph_flops": _FLOPS,
    "flops": _FLOPS,
    "quant_aware": _PROGRAMS,
    "quant_embedding": "both IRs, and the engine; `quantize_type='log'` is refused; linear_layers.md",
    "quant_post": _POST_STATIC,
    "quant_post_dynamic": _WEIGHTS,
    "quant_post_hpo": "searches without the package smac, goes on after a kill, returns a report",
    "quant_post_only_weight": _WEIGHTS,
    "quant_post_static": _POST_STATIC,
    "quant_recon_static": "solves each layer in closed steps; PaddleSlim's learning crashes on Paddle 3",
    "sensitivity": "a score of 0 is an error, because losses are shares of it",
}
