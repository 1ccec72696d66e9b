# SPDX-License-Identifier: Apache-2.0
"""A model's inputs, outputs, operators and sizes, as the engine runs them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from numpy.typing import NDArray

from qslim.deployment.models import kind_of, read_graph
from qslim.exporters.engine_file import missing_operators
from qslim.graph import Graph
from qslim.graph.passes import prepare_for_runtime
from qslim.reports import table
from qslim.runtime import Session, TensorSpec
from qslim.runtime.example_feeds import ones_for

__all__ = ["ModelContents", "OperatorRow", "inspect_model"]


@dataclass(frozen=True)
class OperatorRow:
    """One operator as it runs: `type` is "int8", "float32" or a conversion, `reason` why it is not int8."""

    name: str
    op: str
    type: str
    reason: str = ""
    kernel: str = ""
    macs: int = 0


@dataclass(frozen=True)
class ModelContents:
    """The contents of a model. ``print`` shows them as tables.

    Attributes
    ----------
    path : str
    kind : str
        "Paddle model (PIR)", "Paddle model (legacy IR)", "engine's file" or "ONNX model".
    inputs, outputs : list of TensorSpec
    operators : list of OperatorRow
        In the order in which the engine runs them, fused; as they stand in the model where it cannot.
    files : dict of path to bytes
    parameters : elements of all weights
    weight_bytes : dict of type to bytes, as the engine's file stores them
    notes : what else there is to say
    """

    path: str
    kind: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    operators: list[OperatorRow]
    files: dict[str, int]
    parameters: int
    weight_bytes: dict[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def int8_macs(self) -> float:
        """The share of the multiply-adds that are computed in int8."""
        total = sum(row.macs for row in self.operators)
        return sum(row.macs for row in self.operators if row.type == "int8") / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "int8_macs": self.int8_macs}

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.kind}"]
        lines += [f"  file    {path}: {size:,} bytes" for path, size in self.files.items()]
        for what, specs in (("input ", self.inputs), ("output", self.outputs)):
            lines += [f"  {what}  {spec.name}: {spec.dtype} {_shape(spec.shape)}" for spec in specs]
        stored = ", ".join(f"{size:,} bytes of {name}" for name, size in sorted(self.weight_bytes.items()))
        lines.append(f"  weights {self.parameters:,} in {stored or 'no bytes'}")
        counts = Counter(row.type for row in self.operators)
        lines.append("  operators " + ", ".join(f"{count} {name}" for name, count in counts.most_common()))
        if any(row.macs for row in self.operators):
            lines.append(f"  {self.int8_macs:.1%} of the multiply-adds in int8")
        lines += [f"  note: {note}" for note in self.notes]
        head = ("operator", "op", "runs in", "kernel", "why not int8")
        rows = [(row.name, row.op, row.type, row.kernel, row.reason) for row in self.operators]
        return "\n".join([*lines, table([head, *rows])])


def inspect_model(
    path: str,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
    *,
    shapes: Optional[Mapping[str, Sequence[int]]] = None,
) -> ModelContents:
    """Read a Paddle model of either IR, float or quantized, or a .qslim file, and list what it is made of.

    Parameters
    ----------
    path, model_filename, params_filename : as for ``read_graph``
    shapes : dict of input name to extents, optional
        For inputs that leave extents open; the batch is 1 and all others 224 otherwise.

    Raises
    ------
    ValueError : nothing is there, the model is damaged, or a shape of an input that there is not.

    Examples
    --------
    >>> import os, tempfile
    >>> from qslim.exporters import save_qslim
    >>> from qslim.graph import Graph, Node, Tensor
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> for name in "xy":
    ...     _ = graph.add_tensor(Tensor(name, "float32", (None, 3)))
    >>> graph.add_node(Node("Relu", ["x"], ["y"]))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.qslim")
    >>> save_qslim(graph, path)
    >>> contents = inspect_model(path)
    >>> [(row.op, row.type) for row in contents.operators], contents.inputs[0].shape
    ([('Relu', 'float32'), ('Output', 'float32')], (None, 3))
    """
    graph = read_graph(path, model_filename, params_filename)
    specs = [[_spec(graph, name) for name in names] for names in (graph.inputs, graph.outputs)]
    feeds = ones_for(specs[0], shapes or {})
    kind, files = _files(path, model_filename, params_filename)
    prepared = prepare_for_runtime(graph)
    operators, notes = _operators(graph, prepared, feeds)
    parameters, stored = _weights(prepared)
    return ModelContents(path, kind, specs[0], specs[1], operators, files, parameters, stored, notes)


def _operators(
    graph: Graph, prepared: Graph, feeds: Mapping[str, NDArray[Any]]
) -> tuple[list[OperatorRow], list[str]]:
    """Return the rows of a run of one image, and what there is to say where there can be none."""
    try:
        profile = Session(graph).profile(feeds, runs=1)
    except ValueError as error:
        missing = {name for output in prepared.outputs for name in missing_operators(prepared, output)}
        why = f"the engine has no kernel for {', '.join(sorted(missing))}" if missing else str(error)
        rows = [OperatorRow(node.label, node.op_type, "float32", why) for node in prepared.nodes]
        return rows, [f"the engine does not run this model: {why}"]
    return [
        OperatorRow(layer.name, layer.op, layer.type, layer.reason, layer.kernel, layer.macs)
        for layer in profile
    ], []


def _weights(prepared: Graph) -> tuple[int, dict[str, int]]:
    """Return elements and bytes by type of the constants, as the engine's file stores them."""
    elements, stored = 0, Counter[str]()
    for tensor in prepared.tensors.values():
        if tensor.value is None or tensor.value.dtype.kind != "f":
            continue
        elements += tensor.value.size
        params = tensor.quantization
        if params is None or params.dtype.itemsize > 1:
            stored[str(tensor.value.dtype)] += tensor.value.nbytes
        elif params.fits_half_a_byte and tensor.value.ndim == 2:
            stored["int4"] += -(-tensor.value.size // 2)
        else:
            stored[str(params.dtype)] += tensor.value.size
    return elements, dict(stored)


def _files(
    path: str, model_filename: Optional[str], params_filename: Optional[str]
) -> tuple[str, dict[str, int]]:
    kind_of_path = kind_of(path)
    if kind_of_path != "paddle":
        names = {"qslim": "engine's file", "onnx": "ONNX model"}
        return names[kind_of_path], {path: os.path.getsize(path)}
    from qslim.importers.paddle import find_model_files

    files = find_model_files(path, model_filename, params_filename)
    kind = f"Paddle model ({'PIR' if files.is_pir else 'legacy IR'})"
    return kind, {name: os.path.getsize(name) for name in files.paths}


def _spec(graph: Graph, name: str) -> TensorSpec:
    tensor = graph.tensors[name]
    return TensorSpec(name, tensor.dtype, tensor.shape)


def _shape(shape: Optional[Sequence[Optional[int]]]) -> str:
    return "of any shape" if shape is None else str(["any" if extent is None else extent for extent in shape])
