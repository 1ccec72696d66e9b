# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training by a ``paddle.quantization.QuantConfig``."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, Optional, Union

from paddle import nn
from paddle.quantization import QuantConfig

from qslim.logger import logger
from qslim.quant.config_style.assign import quantize_by_config
from qslim.quant.config_style.convert import convert, finish_calibration
from qslim.quant.qat.qat import QAT
from qslim.quant.qat.report import QATReport

__all__ = ["QuantConfigQAT", "become_configured"]

_NOT_TRAINING = (
    "Quantization-Aware Training should work on training models. Please set training mode by model.train()."
)


def become_configured(qat: QAT, config: QuantConfig) -> None:
    """Make `qat`, which was given `config`, a QuantConfigQAT if it is none yet.

    Another class for the object, as for quantized layers: a ``__new__`` would hide the signature of QAT.
    """
    if not isinstance(qat, QuantConfigQAT):
        qat.__class__ = QuantConfigQAT
    vars(qat)["q_config"] = copy.deepcopy(config)


class QuantConfigQAT(QAT):
    """What ``QAT(q_config)`` makes. See ``QAT`` for ``save_quantized_model`` and ``freeze_batch_norm``.

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

    q_config: Any

    def __init__(self, config: Any) -> None:
        if not isinstance(config, QuantConfig):
            raise ValueError(
                f"{type(self).__name__}: expected a paddle.quantization.QuantConfig, "
                f"got {type(config).__name__}"
            )
        super().__init__(config)

    def quantize(self, model: Any, inplace: bool = False) -> Any:
        """Let the layers of `model` that the configuration names compute with quantized inputs and weights.

        Parameters
        ----------
        model : paddle.nn.Layer, in training mode
        inplace : bool, default=False
            False works on a deep copy.

        Returns
        -------
        The model. Its parameters keep their ``state_dict`` keys.

        Raises
        ------
        ValueError : not a Layer, not in training mode, quantized already, or nothing to quantize.
        """
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
        """`model` for deployment: its grids stand, its weights are integers in float32.

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

    def save_quantized_model(
        self,
        model: Any,
        path: Union[str, os.PathLike[str]],
        input_spec: Optional[Sequence[Any]] = None,
        **config: Any,
    ) -> QATReport:
        """As ``QAT.save_quantized_model``; observers in `model` end their calibration, in place."""
        if isinstance(model, nn.Layer):
            finish_calibration(model, "QAT.save_quantized_model")
        return super().save_quantized_model(model, path, input_spec, **config)
