# SPDX-License-Identifier: Apache-2.0
"""Pruning by the scales of batch normalization."""

from __future__ import annotations

from typing import Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Node
from qslim.prune.model_edit import floats_of, named_tensors
from qslim.prune.operators import is_product
from qslim.prune.pruners.base import FilterPruner

__all__ = ["BNScaleFilterPruner", "following_scale"]

# Views that keep the axis of channels. Paddle computes convolutions over one axis as images of one row.
_VIEWS = ("Identity", "Squeeze", "Unsqueeze")


class BNScaleFilterPruner(FilterPruner):
    """Prune the filters whose batch normalization scales them least, abs(gamma).

    Parameters and methods are those of ``FilterPruner``. A layer that no batch normalization follows cannot
    be pruned so: ``ValueError``.

    References
    ----------
    Liu et al. 2017, Learning efficient convolutional networks through network slimming (arXiv:1708.06519).
    """

    def saliency(self, var_name: str, axis: int) -> NDArray[np.float32]:
        scale = following_scale(self.graph, var_name)
        if scale is None:
            raise ValueError(
                f"BNScaleFilterPruner: no batch normalization follows {var_name!r}; prune it by "
                "another criterion"
            )
        return np.asarray(np.abs(floats_of(named_tensors(self.model)[scale])))


def following_scale(graph: Graph, parameter: str) -> Optional[str]:
    """Return the scale of the batch normalization behind the product with `parameter`, past a bias."""
    node = _product(graph, parameter)
    while node is not None:
        following = graph.consumers(node.outputs[0])
        norm = next((other for other in following if other.op_type == "BatchNormalization"), None)
        if norm is not None:
            return norm.inputs[1]
        node = next(
            (
                other
                for other in following
                if other.op_type in _VIEWS or (other.op_type == "Add" and _adds_bias(graph, other))
            ),
            None,
        )
    return None


def _product(graph: Graph, name: str) -> Optional[Node]:
    """Return the product that reads `name`, itself or through views of it."""
    for node in graph.consumers(name):
        if is_product(node):
            return node
        product = _product(graph, node.outputs[0]) if node.op_type in _VIEWS else None
        if product is not None:
            return product
    return None


def _adds_bias(graph: Graph, node: Node) -> bool:
    return any(graph.constant(name) is not None for name in node.inputs)
