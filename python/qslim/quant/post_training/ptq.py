# SPDX-License-Identifier: Apache-2.0
"""Post-training quantization of a ``paddle.nn.Layer``, calibrated by its own forward passes."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Sequence
from typing import Any, Optional, Union

import paddle
from paddle import nn
from paddle.quantization import QuantConfig

from qslim.logger import logger
from qslim.quant.observers.activations import Observer
from qslim.quant.observers.weights import AbsMaxChannelWiseWeightObserver
from qslim.quant.options import choose
from qslim.quant.quantizers.observed_quantizers import ObservedActivation
from qslim.quant.training.assign import quantize_by_config
from qslim.quant.training.batch_norm import fold_behind_convolutions, fold_named
from qslim.quant.training.convert import convert, finish_calibration
from qslim.quant.training.export import save_quantized
from qslim.quant.training.qat_report import QATReport

__all__ = ["PTQ", "AbsmaxQuantizer", "HistQuantizer", "KLQuantizer", "PerChannelAbsmaxQuantizer"]

_NOT_EVALUATING = (
    "Post-Training Quantization should not work on training models. "
    "Please set evaluation mode by model.eval()."
)


class AbsmaxQuantizer(Observer):
    """The largest magnitude of all batches, or of a weight."""

    algo = "abs_max"

    def __init__(self, quant_bits: int = 8) -> None:
        super().__init__(quant_bits)


class PerChannelAbsmaxQuantizer(AbsMaxChannelWiseWeightObserver):
    """The largest magnitude of each output channel of a weight."""


class HistQuantizer(Observer):
    """The threshold that keeps ``hist_percent`` of the elements.

    ``upsample_bins`` is accepted as Paddle's: our histograms grow without being sampled again.
    """

    algo = "hist"

    def __init__(
        self, quant_bits: int = 8, bins: int = 1024, upsample_bins: int = 64, hist_percent: float = 0.99999
    ) -> None:
        super().__init__(quant_bits, bins=bins, hist_percent=hist_percent)


class KLQuantizer(Observer):
    """The threshold with the least Kullback-Leibler divergence. ``upsample_bins`` as in HistQuantizer."""

    algo = "KL"

    def __init__(self, quant_bits: int = 8, bins: int = 1024, upsample_bins: int = 64) -> None:
        super().__init__(quant_bits, bins=bins)


_ACTIVATION_QUANTIZERS = {kind.__name__: kind for kind in (KLQuantizer, HistQuantizer, AbsmaxQuantizer)}
_WEIGHT_QUANTIZERS: dict[str, Any] = {
    kind.__name__: kind for kind in (AbsmaxQuantizer, PerChannelAbsmaxQuantizer)
}


class PTQ:
    """Quantize a trained network: prepare it, run some batches through it, save it.

    Parameters
    ----------
    activation_quantizer : {"KLQuantizer", "HistQuantizer", "AbsmaxQuantizer"} or QuantConfig
        How thresholds of inputs follow from the batches. A ``paddle.quantization.QuantConfig``, here or as
        ``config=``, says it layer by layer, for weights too.
    weight_quantizer : {"PerChannelAbsmaxQuantizer", "AbsmaxQuantizer"}
    **kwargs : arguments of the activation quantizer
        ``quant_bits``, ``bins``, ``upsample_bins``, ``hist_percent``.

    Raises
    ------
    ValueError : an unknown name or argument; the nearest is suggested.

    References
    ----------
    paddleslim 2.6.0, dygraph/quant/ptq.py, and paddle.quantization.PTQ (signatures, defaults).

    Examples
    --------
    >>> import os, tempfile
    >>> import paddle
    >>> import qslim as slim
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(1, 8, 3), paddle.nn.ReLU(), paddle.nn.Flatten(),
    ...                            paddle.nn.Linear(8 * 36, 10))
    >>> _ = net.eval()
    >>> ptq = slim.PTQ(activation_quantizer="HistQuantizer", hist_percent=0.9999)
    >>> quantized = ptq.quantize(net)
    >>> for _ in range(2):
    ...     _ = quantized(paddle.randn([4, 1, 8, 8]))
    >>> path = os.path.join(tempfile.mkdtemp(), "model")
    >>> image = paddle.static.InputSpec([None, 1, 8, 8], "float32", "image")
    >>> report = ptq.save_quantized_model(quantized, path, input_spec=[image])
    >>> sorted(os.listdir(os.path.dirname(path)))
    ['model.json', 'model.pdiparams', 'model.qslim']
    """

    def __init__(
        self,
        activation_quantizer: Union[str, Any] = "KLQuantizer",
        weight_quantizer: str = "PerChannelAbsmaxQuantizer",
        **kwargs: Any,
    ) -> None:
        config = kwargs.pop("config", None)
        if isinstance(activation_quantizer, QuantConfig):
            config = activation_quantizer
        self._is_by_config = config is not None
        if config is None:
            config = QuantConfig(
                activation=_activation_factory(activation_quantizer, kwargs),
                weight=_WEIGHT_QUANTIZERS[choose("weight_quantizer", weight_quantizer, _WEIGHT_QUANTIZERS)](),
            )
        elif not isinstance(config, QuantConfig):
            raise ValueError(f"config: expected a paddle.quantization.QuantConfig, got {config!r}")
        elif kwargs:
            raise ValueError(
                f"PTQ: {next(iter(kwargs))!r} goes with names of quantizers, not with a QuantConfig"
            )
        self.q_config = copy.deepcopy(config)

    def quantize(
        self,
        model: Any,
        inplace: bool = False,
        fuse: bool = False,
        fuse_list: Optional[Sequence[Sequence[str]]] = None,
    ) -> Any:
        """Prepare `model` for calibration, by forward passes in evaluation mode.

        Parameters
        ----------
        model : paddle.nn.Layer
            In evaluation mode if the quantizers came in a QuantConfig.
        inplace : bool, default=False
            False works on a deep copy.
        fuse : bool, default=False
            Quantize a convolution's weight as it is with the normalization behind it folded in. Puts the
            model into evaluation mode.
        fuse_list : list of [convolution, normalization], optional
            Names of the pairs, as in ``named_sublayers()``; None finds them.

        Returns
        -------
        The model. It computes in float and remembers statistics until `convert` or `save_quantized_model`.

        Raises
        ------
        ValueError : not a Layer, in training mode, quantized already, or nothing to quantize.
        """
        if not isinstance(model, nn.Layer):
            raise ValueError(f"PTQ.quantize: expected a paddle.nn.Layer, got {type(model).__name__}")
        if self._is_by_config and model.training:
            raise ValueError(_NOT_EVALUATING)
        if not inplace:
            model = copy.deepcopy(model)
        count = quantize_by_config(model, self.q_config, "PTQ.quantize")
        for layer in model.sublayers():
            if isinstance(layer, ObservedActivation):
                layer.may_see_training = False
        if fuse:
            model.eval()
            if fuse_list is None:
                fold_behind_convolutions(model)
            else:
                fold_named(model, fuse_list)
        logger.info("%d layers observe their calibration", count)
        return model

    def convert(self, model: Any, inplace: bool = False, remain_weight: bool = False) -> Any:
        """End the calibration of `model`; it then computes as it will be deployed.

        Parameters
        ----------
        model : paddle.nn.Layer
            What `quantize` returned, after some forward passes.
        inplace : bool, default=False
            False works on a deep copy, and `model` can be calibrated further.
        remain_weight : bool, default=False
            True leaves the weights' float values; False stores integers in float32, which is what whoever
            reads ``layer.weight`` besides the layer gets: a network that does so needs True.

        Returns
        -------
        The model, in evaluation mode; ``paddle.jit.save`` and `save_quantized_model` take it.

        Raises
        ------
        ValueError : no quantized layer, or no forward pass has reached any.
        """
        return convert(model, inplace, remain_weight, "PTQ.convert")

    def save_quantized_model(
        self,
        model: Any,
        path: Union[str, os.PathLike[str]],
        input_spec: Optional[Sequence[Any]] = None,
        **kwargs: Any,
    ) -> QATReport:
        """End the calibration of `model`, in place, and write a Paddle inference model and a ``.qslim`` file.

        Parameters
        ----------
        model : paddle.nn.Layer
            What `quantize` or `convert` returned.
        path : str
            Prefix of the files, as for ``QAT.save_quantized_model``.
        input_spec : list of paddle.static.InputSpec or Tensors
        legacy : bool, default=False
            Write the legacy IR (.pdmodel) in place of PIR; the default follows FLAGS_enable_pir_api.
        onnx_path : str, optional
            Also write the network as ONNX, with QuantizeLinear and DequantizeLinear, to this path.

        Returns
        -------
        QATReport

        Raises
        ------
        ValueError : not calibrated, no `input_spec`, a path that cannot be written.
        """
        legacy, onnx_path = kwargs.pop("legacy", None), kwargs.pop("onnx_path", None)
        if kwargs:
            choose("save_quantized_model", next(iter(kwargs)), ("legacy", "onnx_path"))
        layer = model._layers if isinstance(model, paddle.DataParallel) else model
        if isinstance(layer, nn.Layer):
            finish_calibration(layer, "PTQ.save_quantized_model")
        return save_quantized(model, path, input_spec, legacy=legacy, onnx_path=onnx_path)


def _activation_factory(name: Any, arguments: dict[str, Any]) -> Observer:
    kind = _ACTIVATION_QUANTIZERS[choose("activation_quantizer", name, _ACTIVATION_QUANTIZERS)]
    known = [argument for argument in inspect.signature(kind).parameters]
    for argument in arguments:
        choose(f"PTQ: argument of {name}", argument, known)
    return kind(**arguments)
