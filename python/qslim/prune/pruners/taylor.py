# SPDX-License-Identifier: Apache-2.0
"""Pruning by the change of the loss: a first-order Taylor expansion."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from qslim.prune.model_edit import floats_of, named_tensors
from qslim.prune.pruners.base import FilterPruner

__all__ = ["TaylorFilterPruner"]


class TaylorFilterPruner(FilterPruner):
    """Prune the filters without which the loss changes least, to first order: sum(w * gradient)**2.

    The gradients are those that ``backward`` left in the parameters. ``accumulate()`` after each of several
    batches adds them up; without it the present ``.grad`` is taken. Parameters and methods else are those of
    ``FilterPruner``.

    References
    ----------
    Molchanov et al. 2019, Importance estimation for neural network pruning (arXiv:1906.10771).

    Examples
    --------
    >>> import paddle
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 4, 3))
    >>> pruner = TaylorFilterPruner(net, [1, 3, 16, 16])
    >>> net(paddle.ones([2, 3, 16, 16])).square().mean().backward()
    >>> pruner.accumulate()
    >>> plan = pruner.prune_vars({net[0].weight.name: 0.25}, axis=0)
    >>> list(net[0].weight.shape)
    [6, 3, 3, 3]
    """

    criterion = "taylor"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gradients: dict[str, NDArray[Any]] = {}

    def accumulate(self) -> None:
        """Add the parameters' present gradients to those that were accumulated since the last cut."""
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                gradient = floats_of(parameter.grad)
                self._gradients[parameter.name] = self._gradients.get(parameter.name, 0) + gradient

    def gradient(self, var_name: str) -> NDArray[Any]:
        tensor = named_tensors(self.model)[var_name]
        gradient = self._gradients.get(var_name)
        if gradient is None or gradient.shape != tuple(tensor.shape):  # a cut made those of before useless
            if tensor.grad is None:
                raise ValueError(
                    f"TaylorFilterPruner: {var_name!r} has no gradient; call backward() on a loss before "
                    "pruning"
                )
            gradient = floats_of(tensor.grad)
        return gradient
