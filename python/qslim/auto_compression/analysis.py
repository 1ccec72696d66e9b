# SPDX-License-Identifier: Apache-2.0
"""``analysis_prune``: what pruning each convolution of a saved model alone costs.

Source: paddleslim 2.6.0, auto_compression/analysis.py (signature).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional

from qslim.importers.paddle import load_float_program
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.model_files import find_model_files
from qslim.prune import get_ratios_by_loss, sensitivity
from qslim.quant.analysis.metrics import checked_metric

__all__ = ["analysis_prune"]


def analysis_prune(
    eval_function: Callable[..., float],
    model_dir: str,
    model_filename: Optional[str],
    params_filename: Optional[str],
    analysis_file: str,
    pruned_ratios: Sequence[float],
    target_loss: Optional[float] = None,
    criterion: Any = "l1_norm",
) -> dict[str, float]:
    """Measure the loss that pruning each convolution of one group alone brings.

    Parameters
    ----------
    eval_function : callable
        ``f(program, executor, feed names, fetch targets) -> float``, larger is better. The order is not
        that of ``eval_callback``.
    model_dir, model_filename, params_filename : as for ``AutoCompression``
    analysis_file : str
        Written whole after every point: dict of parameter to dict of ratio to loss. A run that was stopped
        goes on from it.
    pruned_ratios : list of float in [0, 1)
    target_loss : float, optional; share of the metric that each parameter may cost
    criterion : as for ``prune.Pruner``

    Returns
    -------
    dict of parameter to the largest ratio below `target_loss`, for ``ChannelPrune``; {} without it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, paddle
    >>> from qslim.auto_compression import analysis_prune
    >>> work = tempfile.mkdtemp()
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(4, 2, 3))
    >>> image = paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")
    >>> paddle.jit.save(net, os.path.join(work, "inference"), input_spec=[image])
    >>> def evaluate(program, executor, feeds, fetches):
    ...     images = np.ones((2, 3, 8, 8), "float32")
    ...     (out,) = executor.run(program, feed={feeds[0]: images}, fetch_list=fetches)
    ...     return 1 / (1 + float((out**2).sum()))
    >>> path = os.path.join(work, "sensitivity.data")
    >>> ratios = analysis_prune(evaluate, work, None, None, path, [0.25, 0.5], target_loss=2.0)
    >>> set(ratios) <= {net[0].weight.name, net[2].weight.name}
    True
    """
    program = load_float_program(find_model_files(model_dir, model_filename, params_filename))
    nodes = [node for node in program.graph.nodes if node.op_type == "Conv"]
    weights = [node.inputs[1] for node in nodes if node.attributes.get("group", 1) == 1]
    names = [name for name in dict.fromkeys(weights) if name in program.parameter_names]

    def evaluate(pruned: Any) -> float:
        block = pruned.global_block()
        if program.is_legacy:
            fetches = [block.var(variable.name) for variable in program.fetches]
        else:
            fetches = [op.operand_source(0) for op in block.ops if op.name() == "pd_op.fetch"]
        # An executor remembers programs by address, and would take a new one for a dead one.
        arguments = pruned, framework.executor(), list(program.feed_names), fetches
        return checked_metric(lambda: eval_function(*arguments), "a pruned network")

    with program.active():
        place = framework.paddle_module().CPUPlace()
        losses = sensitivity(
            program.program, place, names, evaluate, analysis_file, pruned_ratios, criterion=criterion
        )
    if target_loss is None:
        return {}
    ratios: dict[str, float] = get_ratios_by_loss(losses, target_loss)
    logger.info("prune_params_name: %s", list(ratios))
    logger.info("pruned_ratio: %s", list(ratios.values()))
    return ratios
