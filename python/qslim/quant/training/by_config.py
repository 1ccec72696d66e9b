# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training by a ``paddle.quantization.QuantConfig``."""

from __future__ import annotations

import copy
from typing import Any

from paddle import nn
from paddle.quantization import QuantConfig

from qslim.logger import logger
from qslim.quant.training.assign import quantize_by_config
from qslim.quant.training.config import QATConfig
from qslim.quant.training.convert import convert, finish_calibration

__all__ = ["ConfigStrategy"]

_NOT_TRAINING = (
    "Quantization-Aware Training should work on training models. Please set training mode by model.train()."
)


class ConfigStrategy:
    """Quantize each layer with the factories that a QuantConfig gives it.

    Parameters
    ----------
    config : paddle.quantization.QuantConfig
        With factories of qslim.quant.quanters, of Paddle or of your own. Later changes to it do not matter.

    Examples
    --------
    >>> import paddle
    >>> from paddle.quantization import QuantConfig
    >>> import qslim as slim
    >>> from qslim.quant.quanters import FakeQuanterChannelWiseAbsMaxObserver, FakeQuanterWithAbsMaxObserver
    >>> net = paddle.nn.Sequential(paddle.nn.Linear(4, 4), paddle.nn.ReLU(), paddle.nn.Linear(4, 2))
    >>> config = QuantConfig(
    ...     activation=FakeQuanterWithAbsMaxObserver(), weight=FakeQuanterChannelWiseAbsMaxObserver()
    ... )
    >>> qat = slim.QAT(config)
    >>> trained = qat.quantize(net)
    >>> _ = trained(paddle.randn([8, 4]))
    >>> converted = qat.convert(trained)
    >>> float(converted[0].weight.abs().max())
    127.0
    """

    works_in_place = False  # unless the caller says otherwise

    def __init__(self, config: QuantConfig) -> None:
        self.config = QATConfig()
        self.q_config = copy.deepcopy(config)

    def quantize(self, model: Any, inplace: bool) -> Any:
        """Give the layers of `model`, in training mode, or of a copy their quantizers, and return it."""
        if not isinstance(model, nn.Layer):
            raise ValueError(f"QAT.quantize: expected a paddle.nn.Layer, got {type(model).__name__}")
        if not model.training:
            raise ValueError(_NOT_TRAINING)
        if not inplace:
            model = copy.deepcopy(model)
        count = quantize_by_config(model, self.q_config, "QAT.quantize")
        logger.info("quantized %d layers for training", count)
        return model

    def convert(self, model: Any, inplace: bool = False, remain_weight: bool = False) -> Any:
        """Convert `model` for deployment: quantization parameters are fixed, weights integers in float32.

        Parameters
        ----------
        model : paddle.nn.Layer
            What `quantize` returned.
        inplace : bool, default=False
            False works on a deep copy.
        remain_weight : bool, default=False
            True leaves the weights' float values, and rounds them in each forward pass. False stores integers
            in float32, which is what whoever reads ``layer.weight`` besides the layer gets: a network that
            does so needs True.

        Returns
        -------
        The model, in evaluation mode; ``paddle.jit.save`` and `save_quantized_model` take it.

        Raises
        ------
        ValueError : no quantized layer, or observers that no batch has reached.
        """
        return convert(model, inplace, remain_weight, "QAT.convert")

    def end_calibration(self, model: Any) -> None:
        """End the calibration of the observers in `model`, in place."""
        if isinstance(model, nn.Layer):
            finish_calibration(model, "QAT.save_quantized_model")
