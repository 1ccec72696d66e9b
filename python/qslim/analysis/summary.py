# SPDX-License-Identifier: Apache-2.0
"""A network as a table: a row for each operator that has parameters or multiply-adds, its bias included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from qslim.analysis.model_graph import Dtypes, graph_of
from qslim.graph import Graph, Node
from qslim.graph.flops import count, parameters_of
from qslim.graph.shape_inference import infer_shapes

__all__ = ["LayerSummary", "Summary", "summary"]


@dataclass(frozen=True)
class LayerSummary:
    """One row. ``output_shape`` is empty where it is unknown; ``macs`` are those of one sample."""

    name: str
    operator: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """The rows, in the order in which the network computes them; ``print`` shows the table.

    Attributes
    ----------
    rows : tuple of LayerSummary
    parameters, macs : int
        Totals. A parameter that several operators read counts once.
    """

    rows: tuple[LayerSummary, ...]
    parameters: int
    macs: int

    def __iter__(self) -> Iterator[LayerSummary]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        header = ("layer", "operator", "output shape", "parameters", "multiply-adds", "share")
        body = [
            (
                row.name,
                row.operator,
                str(list(row.output_shape)) if row.output_shape else "?",
                f"{row.parameters:,}",
                f"{row.macs:,}",
                f"{row.macs / self.macs:.1%}" if self.macs else "-",
            )
            for row in self.rows
        ]
        total = ("total", "", "", f"{self.parameters:,}", f"{self.macs:,}", "")
        widths = [max(len(line[i]) for line in (header, total, *body)) for i in range(len(header))]
        lines = [_line(line, widths) for line in (header, *body, total)]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    __repr__ = __str__


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Format one line: text to the left, numbers to the right."""
    parts = [
        cell.ljust(width) if i < 3 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths))
    ]
    return "  ".join(parts).rstrip()


def summary(model: Any, inputs: Any = None, dtypes: Dtypes = None, only_conv: bool = False) -> Summary:
    """Return a table of the layers of `model`.

    Parameters
    ----------
    model, inputs, dtypes, only_conv : as for ``flops``

    Returns
    -------
    Summary

    Examples
    --------
    >>> import paddle
    >>> from qslim.analysis import summary
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(1, 4, 3), paddle.nn.ReLU())
    >>> print(summary(net, [1, 1, 6, 6]))
    layer   operator  output shape  parameters  multiply-adds  share
    ----------------------------------------------------------------
    0       conv2d    [1, 4, 4, 4]          40            576  90.0%
    relu_0  relu      [1, 4, 4, 4]           0             64  10.0%
    ----------------------------------------------------------------
    total                                   40            640
    """
    found = graph_of(model, inputs, dtypes, "summary")
    graph = found.graph
    shapes = infer_shapes(graph, found.input_shapes)
    macs = count(graph, only_conv=only_conv, shapes=shapes)
    rows: list[LayerSummary] = []
    row_of: dict[str, int] = {}  # output of a row's operator to the row
    counted: set[str] = set()
    for node in graph.nodes:
        weights = [name for name in parameters_of(graph, node) if _is_parameter(graph, name)]
        new = [name for name in dict.fromkeys(weights) if name not in counted]
        counted.update(new)
        work = macs.get(node.outputs[0], 0) if node.outputs else 0
        size = sum(_size(graph, name) for name in new)
        products = [row_of[name] for name in node.inputs if name in row_of]
        if node.op_type == "Add" and weights and products:  # a bias belongs to its product
            at = products[0]
            rows[at] = replace(rows[at], parameters=rows[at].parameters + size)
        elif weights or work:
            if work:
                row_of[node.outputs[0]] = len(rows)
            name = _row_name(node, weights, found.layer_names)
            operator = node.source_op or node.op_type
            rows.append(LayerSummary(name, operator, shapes.get(node.outputs[0], ()), size, work))
    return Summary(tuple(rows), sum(row.parameters for row in rows), sum(macs.values()))


def _is_parameter(graph: Graph, name: str) -> bool:
    value = graph.constant(name)
    return value is not None and value.ndim > 0 and value.dtype.kind == "f"


def _size(graph: Graph, name: str) -> int:
    value = graph.constant(name)
    return 0 if value is None else int(value.size)


def _row_name(node: Node, weights: list[str], layer_names: dict[str, str]) -> str:
    """Return the name of a node's row: its Layer's, else that of its parameter or of its output."""
    for weight in weights:
        if weight in layer_names:
            return layer_names[weight].rpartition(".")[0] or layer_names[weight]
    if weights:
        return weights[0].rpartition(".")[0] or weights[0]
    return node.outputs[0]
