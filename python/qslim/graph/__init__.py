# SPDX-License-Identifier: Apache-2.0
"""The network in the middle: what importers make, passes change and exporters write. Knows NumPy only."""

from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.quantization import QuantParams

__all__ = ["Graph", "Node", "QuantParams", "Tensor"]
