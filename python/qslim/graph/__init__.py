# SPDX-License-Identifier: Apache-2.0
"""The network in the middle: importers make it, passes change it, exporters write it. Knows no framework."""

from qslim.graph.evaluate import evaluate
from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.quantization import QuantParams

__all__ = ["Graph", "Node", "QuantParams", "Tensor", "evaluate"]
