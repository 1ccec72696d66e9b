# SPDX-License-Identifier: Apache-2.0
"""The inputs that a pruner is given: a shape, several shapes, or what ``forward`` takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from qslim.importers.paddle import PaddleProgram, import_layer
from qslim.logger import logger
from qslim.paddle import framework
from qslim.prune.model_edit import dygraph

__all__ = ["example_inputs", "input_specs", "named_inputs", "traced_in_training"]


def example_inputs(inputs: Any, dtype: str = "float32") -> list[Any]:
    """Make arguments for ``forward``.

    Parameters
    ----------
    inputs : list of int, list of lists of int, Tensor, or list of Tensors and arrays
        An open extent (None or -1) becomes 1.
    dtype : str, of inputs given by their shapes; integers are zeros, floats are random (always the same).

    Raises
    ------
    ValueError : none of these.

    Examples
    --------
    >>> [tuple(tensor.shape) for tensor in example_inputs([[1, 3, 8, 8], [None, 4]])]
    [(1, 3, 8, 8), (1, 4)]
    """
    paddle = framework.paddle_module()
    if isinstance(inputs, (paddle.Tensor, np.ndarray)):
        inputs = [inputs]
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise ValueError(
            f"inputs: expected the shape of the input, for example [1, 3, 224, 224], a list of shapes, or a "
            f"list of tensors; got {inputs!r}"
        )
    if _is_shape(inputs):
        inputs = [inputs]
    with dygraph():
        return [_example(item, dtype, seed) for seed, item in enumerate(inputs)]


def input_specs(examples: Sequence[Any]) -> list[Any]:
    """Make InputSpecs of these shapes, to trace with; tensors in dicts and lists have one each."""
    paddle = framework.paddle_module()
    names = iter(named_inputs(examples))

    def spec(item: Any) -> Any:
        if not isinstance(item, paddle.Tensor):
            return item
        return paddle.static.InputSpec(list(item.shape), str(item.dtype).rsplit(".", 1)[-1], next(names))

    return [paddle.utils.map_structure(spec, item) for item in examples]


def named_inputs(examples: Sequence[Any]) -> dict[str, Any]:
    """Return the tensors among `examples`, also in dicts and lists, by ``input_specs``'s names for them."""
    paddle = framework.paddle_module()
    tensors = [item for item in paddle.utils.flatten(list(examples)) if isinstance(item, paddle.Tensor)]
    return {f"input_{index}": tensor for index, tensor in enumerate(tensors)}


def _is_shape(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and all(
        extent is None or (isinstance(extent, (int, np.integer)) and not isinstance(extent, bool))
        for extent in item
    )


def _example(item: Any, dtype: str, seed: int) -> Any:
    paddle = framework.paddle_module()
    if isinstance(item, np.ndarray):
        return paddle.to_tensor(item)
    if not _is_shape(item):
        return item
    shape = [1 if extent is None or extent == -1 else int(extent) for extent in item]
    if min(shape, default=0) < 1:
        raise ValueError(f"inputs: expected a shape of positive extents, got {list(item)!r}")
    if "int" in dtype or dtype == "bool":
        return paddle.zeros(shape, dtype)
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return paddle.to_tensor(values).astype(dtype)


def traced_in_training(model: Any, examples: Any) -> Optional[PaddleProgram]:
    """Trace `model` as it trains; None, with a line in the log, if that cannot be done."""
    try:
        return import_layer(model, input_specs(examples), training=True)
    except Exception as error:  # whatever the network's code and Paddle raise
        logger.log(
            logging.WARNING if model.training else logging.INFO,
            "what the network computes in training mode alone is not followed; it cannot be traced: %s",
            (str(error).strip().splitlines() or [type(error).__name__])[-1],
        )
        return None
