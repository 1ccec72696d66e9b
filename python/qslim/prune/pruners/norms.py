# SPDX-License-Identifier: Apache-2.0
"""Pruners that look at the weights alone."""

from __future__ import annotations

from typing import Any, Optional

from qslim.prune.pruners.base import FilterPruner

__all__ = ["FPGMFilterPruner", "L1NormFilterPruner", "L2NormFilterPruner"]


class L1NormFilterPruner(FilterPruner):
    """Prune the filters whose weights are small on average.

    Parameters and methods are those of ``FilterPruner``. A filter's score is mean(abs(w)).

    References
    ----------
    Li et al. 2017, Pruning filters for efficient ConvNets (arXiv:1608.08710).

    Examples
    --------
    >>> import paddle
    >>> net = paddle.nn.Sequential(
    ...     paddle.nn.Conv2D(3, 8, 3), paddle.nn.BatchNorm2D(8), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 4, 3)
    ... )
    >>> pruner = L1NormFilterPruner(net, [1, 3, 16, 16])
    >>> plan = pruner.prune_vars({net[0].weight.name: 0.5}, axis=0)
    >>> list(net[0].weight.shape), net[1]._num_features, list(net[3].weight.shape)
    ([4, 3, 3, 3], 4, [4, 4, 3, 3])
    """

    criterion = "l1_norm"


class L2NormFilterPruner(FilterPruner):
    """Prune the filters of the smallest Euclidean norm, sqrt(sum(w * w)).

    Parameters and methods are those of ``FilterPruner``.
    """

    criterion = "l2_norm"


class FPGMFilterPruner(FilterPruner):
    """Prune the filters that the others can stand in for: those nearest to the filters' geometric median.

    A filter's score is the sum of its Euclidean distances to all filters of the layer. Methods are those of
    ``FilterPruner``.

    References
    ----------
    He et al. 2019, Filter pruning via geometric median (arXiv:1811.00250).
    """

    criterion = "fpgm"

    def __init__(
        self,
        model: Any,
        inputs: Any,
        sen_file: Optional[str] = None,
        opt: Any = None,
        skip_leaves: bool = True,
    ) -> None:
        super().__init__(model, inputs, sen_file=sen_file, opt=opt, skip_leaves=skip_leaves)
