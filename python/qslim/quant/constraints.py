# SPDX-License-Identifier: Apache-2.0
"""Constraints of a SlimQuantConfig on groups of layers. Importing it imports Paddle."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import paddle

from qslim.logger import logger
from qslim.quant.quantizers.recompute import is_recomputed
from qslim.quant.quantizers.tensors import array_of
from qslim.quant.training.batch_norm import fold_behind_convolutions, set_batch_norm_frozen

__all__ = ["Constraint", "FreezedConvBNConstraint"]


class Constraint(abc.ABC):
    """A change that ``SlimQAT.quantize`` makes to the quantized model."""

    @abc.abstractmethod
    def apply(self, model: Any) -> None:
        """Change `model`, a quantized paddle.nn.Layer, in place."""


class FreezedConvBNConstraint(Constraint):
    """Quantize a convolution's weight with the normalization behind it folded in, and freeze that.

    Weights are quantized as w * gamma / sqrt(variance + epsilon), what deployment folds; the weight itself
    stays as it is. (PaddleSlim divided by the variance, and wrote the product into the weight in each step.)

    Parameters
    ----------
    freeze_bn_delay : int >= 0
        Training batches after which the normalizations compute with their running statistics and stop
        updating them. The count is saved with the model.

    References
    ----------
    Krishnamoorthi 2018 (arXiv:1806.08342), section 3.2.2.
    """

    def __init__(self, freeze_bn_delay: int = 0) -> None:
        is_int = isinstance(freeze_bn_delay, int) and not isinstance(freeze_bn_delay, bool)
        if not is_int or freeze_bn_delay < 0:
            raise ValueError(
                f"FreezedConvBNConstraint: freeze_bn_delay must be an int >= 0, got {freeze_bn_delay!r}"
            )
        self.freeze_bn_delay = freeze_bn_delay

    def apply(self, model: Any) -> None:
        pairs = fold_behind_convolutions(model)
        logger.info("%d convolutions are quantized with the normalization behind them", pairs)
        model.register_buffer("_batches_until_frozen", paddle.to_tensor([self.freeze_bn_delay], "float32"))
        model.register_forward_pre_hook(_freeze_when_due)


def _freeze_when_due(model: Any, inputs: Any) -> None:
    if not model.training or not paddle.in_dynamic_mode() or is_recomputed():
        return
    left = array_of(model._batches_until_frozen)
    if left[0] <= 0:
        set_batch_norm_frozen(model, True)
    else:
        model._batches_until_frozen.set_value(np.maximum(left - 1, np.float32(0)))
