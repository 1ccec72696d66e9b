# SPDX-License-Identifier: Apache-2.0
"""Passes over a Graph: foldings, and facts about its tensors."""

from qslim.graph.passes.dynamic_quantization import quantize_dynamically
from qslim.graph.passes.float_outputs import with_float_outputs
from qslim.graph.passes.fold_batch_norm import FoldedBatchNorm, fold_batch_norm
from qslim.graph.passes.prepare import prepare_for_runtime
from qslim.graph.passes.sign import non_negative_tensors

__all__ = [
    "FoldedBatchNorm",
    "fold_batch_norm",
    "non_negative_tensors",
    "prepare_for_runtime",
    "quantize_dynamically",
    "with_float_outputs",
]
