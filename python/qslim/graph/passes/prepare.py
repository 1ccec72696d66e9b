# SPDX-License-Identifier: Apache-2.0
"""Preparation of a Graph for a runtime: done once, before it is written to a .qslim file.

Fusion, layouts and kernels are the runtime's business. What is done here changes what is computed, if only
in the last bit: the simulation and every runtime start from the same prepared graph.
"""

from __future__ import annotations

from typing import Callable

from qslim.graph.graph import Graph
from qslim.graph.passes.clean import drop_identities, remove_dead
from qslim.graph.passes.fold_affine import fold_affine, split_batch_norm
from qslim.graph.passes.fold_constants import fold_constants
from qslim.graph.passes.spread_params import spread_params

__all__ = ["QUANTIZER_READERS", "prepare_for_runtime"]

# Each turns the quantizing operators of a framework into annotations, in place; importers add theirs.
QUANTIZER_READERS: list[Callable[[Graph], None]] = []


def prepare_for_runtime(graph: Graph) -> Graph:
    """Return a copy of `graph` without the work that a runtime need not do.

    In order: quantizers become annotations, identities go, constants are folded, normalizations and other
    affine operators fold into the product before them (weights may be quantized already, their integers stay)
    or become Mul and Add, what no output needs is removed, and moved data is annotated as its source is.

    Parameters
    ----------
    graph : Graph
        Quantized or not. It is left as it is.

    Returns
    -------
    Graph, with the names of its inputs and outputs unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.graph import Node, Tensor
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> for name, value in (("w", np.ones((1, 1, 1, 1))), ("b", np.full((1, 1, 1), 3))):
    ...     _ = graph.add_tensor(Tensor(name, "float32", value.shape, value.astype(np.float32)))
    >>> for name in ("x", "c", "d", "y"):
    ...     _ = graph.add_tensor(Tensor(name, "float32", (None, 1, 4, 4)))
    >>> graph.add_node(Node("Conv", ["x", "w"], ["c"]))
    >>> graph.add_node(Node("Add", ["c", "b"], ["d"]))
    >>> graph.add_node(Node("Identity", ["d"], ["y"]))
    >>> [(node.op_type, node.outputs) for node in prepare_for_runtime(graph).nodes]
    [('Conv', ['y'])]
    """
    prepared = graph.copy()
    for read_quantizers in QUANTIZER_READERS:
        read_quantizers(prepared)
    drop_identities(prepared)
    fold_constants(prepared)
    remove_dead(prepared)
    fold_affine(prepared)
    split_batch_norm(prepared)
    remove_dead(prepared)
    spread_params(prepared)
    return prepared
