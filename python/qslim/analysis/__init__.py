# SPDX-License-Identifier: Apache-2.0
"""Size and cost of a network: parameters and multiply-adds, layer by layer.

``paddleslim.analysis``' functions, for Layers, programs of either IR and qslim's own Graph. Everything is
counted on the Graph (``qslim.graph.flops``), so the three agree.
"""

from qslim.analysis.flops import dygraph_flops, flops, model_size
from qslim.analysis.summary import LayerSummary, Summary, summary

__all__ = ["LayerSummary", "Summary", "dygraph_flops", "flops", "model_size", "summary"]
