# SPDX-License-Identifier: Apache-2.0
"""Pruning of a saved inference model: Paddle's files in, Paddle's files out."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from qslim.exporters.paddle import export_program
from qslim.files.staging import output_path
from qslim.importers.paddle import ModelFiles, PaddleProgram, find_model_files, load_float_program
from qslim.prune.report import PruningReport, Snapshot, time_together
from qslim.prune.static import Criterion, Pruner
from qslim.runtime import TensorSpec
from qslim.runtime.example_feeds import ones_for

__all__ = ["PrunedModel", "cut_filters", "prune_saved_model"]


@dataclass(frozen=True)
class PrunedModel:
    """The model that was written. ``print`` shows what it gained.

    Attributes
    ----------
    files : ModelFiles
    parameters : dict of parameter to its shape before and after
    report : PruningReport
    """

    files: ModelFiles
    parameters: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    report: PruningReport

    def to_dict(self) -> dict[str, Any]:
        return {
            "files": self.files.paths,
            "parameters": self.parameters,
            "report": self.report.to_dict(),
        }

    def __str__(self) -> str:
        lines = [
            f"{name}: {list(before)} -> {list(after)}" for name, (before, after) in self.parameters.items()
        ]
        return "\n".join([*lines, str(self.report), f"wrote {' and '.join(self.files.paths)}"])


def prune_saved_model(
    model_dir: str,
    save_dir: str,
    ratios: Mapping[str, float],
    *,
    criterion: str = "l1_norm",
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
) -> PrunedModel:
    """Cut filters out of a saved float model, and of what depends on them, and save what is left.

    The accuracy falls until the network is trained on; measure it before you use the result.

    Parameters
    ----------
    model_dir, model_filename, params_filename : as for ``quant_post_static``
    save_dir : str
        Written whole or not at all, in the form of the source.
    ratios : dict of parameter to ratio in [0, 1)
        Weights of convolutions by name, or by shell patterns ("conv2d_*"), which take those that they fit.
    criterion : str, as for ``Pruner``

    Raises
    ------
    ValueError : a model that will not do; a name that no weight has; a ratio out of range.

    Examples
    --------
    >>> import os, tempfile
    >>> import paddle
    >>> work = tempfile.mkdtemp()
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 4, 3))
    >>> image = paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")
    >>> paddle.jit.save(net, os.path.join(work, "fp32"), input_spec=[image])
    >>> pruned = prune_saved_model(work, os.path.join(work, "pruned"), {net[0].weight.name: 0.5})
    >>> [after for before, after in pruned.parameters.values()]
    [(4,), (4, 3, 3, 3), (4, 4, 3, 3)]
    """
    save_dir = output_path(save_dir, "save_dir")
    program = load_float_program(find_model_files(model_dir, model_filename, params_filename))
    before = _snapshot(program)
    shapes = {name: program.parameter(name).shape for name in program.parameter_names}
    cut_filters(program, ratios, criterion)
    files = export_program(program, save_dir, model_filename=model_filename, params_filename=params_filename)
    after = {name: program.parameter(name).shape for name in sorted(shapes)}
    changed = {name: (shapes[name], shape) for name, shape in after.items() if shapes[name] != shape}
    return PrunedModel(files, changed, time_together(before, _snapshot(program)))


def cut_filters(
    program: PaddleProgram, ratios: Mapping[str, float], criterion: Criterion = "l1_norm"
) -> None:
    """Cut filters out of a loaded program, in place, and out of what depends on them.

    Parameters
    ----------
    program : PaddleProgram
    ratios : dict of a convolution's weight, or a shell pattern of such names, to a ratio in [0, 1)
    criterion : as for ``Pruner``
    """
    wanted = _ratios(program, ratios)
    with program.active():
        cut, _, _ = Pruner(criterion).prune(
            program.program, program.scope, list(wanted), list(wanted.values())
        )
        program.program = cut
        block = cut.global_block()
        if program.is_legacy:
            program.fetches = [block.var(variable.name) for variable in program.fetches]
        else:
            program.fetches = [op.operand_source(0) for op in block.ops if op.name() == "pd_op.fetch"]
    program.read_graph()


def _ratios(program: PaddleProgram, ratios: Mapping[str, float]) -> dict[str, float]:
    """Return the ratio of each weight that a name or a pattern of `ratios` fits; the first one wins."""
    graph = program.graph
    weights = [node.inputs[1] for node in graph.nodes if node.op_type == "Conv"]
    known = [name for name in dict.fromkeys(weights) if name in program.parameter_names]
    if not ratios:
        raise ValueError(f"ratios: give a ratio for one weight at least; the model has {', '.join(known)}")
    found: dict[str, float] = {}
    for pattern, ratio in ratios.items():
        names = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        # Pruner knows other parameters, and names the nearest one of what it does not know.
        for name in names or [pattern]:
            found.setdefault(name, ratio)
    return found


def _snapshot(program: PaddleProgram) -> Snapshot:
    specs = [TensorSpec(feed.name, str(feed.dtype), feed.shape) for feed in program.feeds]
    return Snapshot(program.graph, program.parameter_names, ones_for(specs, {}))
