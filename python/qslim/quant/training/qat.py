# SPDX-License-Identifier: Apache-2.0
"""QAT: PaddleSlim's quantization-aware training of a ``paddle.nn.Layer``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from paddle import nn
from paddle.quantization import QuantConfig

from qslim.logger import logger
from qslim.quant.options import choose
from qslim.quant.quantizers.quantizer import Quantizer
from qslim.quant.training.batch_norm import set_batch_norm_frozen
from qslim.quant.training.by_config import ConfigStrategy
from qslim.quant.training.by_options import OptionsStrategy
from qslim.quant.training.config import QATConfig
from qslim.quant.training.export import save_quantized
from qslim.quant.training.qat_report import QATReport

__all__ = ["QAT"]


class QAT:
    """Train a network with the rounding of its deployment.

    Parameters
    ----------
    config : dict, optional
        PaddleSlim's keys; ``QATConfig`` lists them with their defaults. An unknown key is an error.
        Or a ``paddle.quantization.QuantConfig`` with factories of qslim.quant.quanters, of Paddle or of
        your own (later changes to it do not matter); then there is ``convert``, too.
    weight_preprocess, act_preprocess : subclass of paddle.nn.Layer, optional
        Applied before the quantizer, in place of "PACT"; one instance for each layer, made without arguments.
    weight_quantize, act_quantize : subclass of paddle.nn.Layer, optional
        In place of the built-in quantizer, likewise.

    Raises
    ------
    ValueError : an unknown key (the nearest is suggested) or a value out of range.

    References
    ----------
    paddleslim 2.6.0, dygraph/quant/qat.py (signatures, keys, defaults).

    Examples
    --------
    >>> import os, tempfile
    >>> import paddle
    >>> import qslim as slim
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(1, 8, 3), paddle.nn.ReLU(), paddle.nn.Flatten(),
    ...                            paddle.nn.Linear(8 * 36, 10))
    >>> quanter = slim.QAT(config={"weight_bits": 8, "activation_bits": 8})
    >>> _ = quanter.quantize(net)
    >>> optimizer = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    >>> for _ in range(2):
    ...     loss = net(paddle.randn([4, 1, 8, 8])).square().mean()
    ...     loss.backward()
    ...     optimizer.step()
    ...     optimizer.clear_grad()
    >>> path = os.path.join(tempfile.mkdtemp(), "model")
    >>> image = paddle.static.InputSpec([None, 1, 8, 8], "float32", "image")
    >>> report = quanter.save_quantized_model(net, path, input_spec=[image])
    >>> sorted(os.listdir(os.path.dirname(path)))
    ['model.json', 'model.pdiparams', 'model.qslim']
    """

    def __init__(
        self,
        config: Optional[Mapping[str, Any]] = None,
        weight_preprocess: Optional[type] = None,
        act_preprocess: Optional[type] = None,
        weight_quantize: Optional[type] = None,
        act_quantize: Optional[type] = None,
    ) -> None:
        replacements = {
            "weight_preprocess": weight_preprocess,
            "act_preprocess": act_preprocess,
            "weight_quantize": weight_quantize,
            "act_quantize": act_quantize,
        }
        is_configured = isinstance(config, QuantConfig)
        options = QATConfig() if is_configured else QATConfig.from_dict(config)
        for name, given in replacements.items():
            if given is not None and not (isinstance(given, type) and issubclass(given, nn.Layer)):
                raise ValueError(f"{name}: expected a subclass of paddle.nn.Layer (the class), got {given!r}")
            if given is not None and is_configured:
                raise ValueError(f"{name}: goes with a dict of options; a QuantConfig says it with a factory")
        self._strategy: Union[OptionsStrategy, ConfigStrategy] = (
            ConfigStrategy(config) if is_configured else OptionsStrategy(options, replacements)
        )

    def __getattr__(self, name: str) -> Any:
        # A QuantConfig brings these along; PaddleSlim's options have no conversion.
        if name in ("convert", "q_config") and isinstance(vars(self).get("_strategy"), ConfigStrategy):
            return getattr(self._strategy, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def config(self) -> QATConfig:
        """The options; with a QuantConfig their defaults."""
        return self._strategy.config

    def quantize(self, model: Any, inplace: Optional[bool] = None) -> Any:
        """Let the layers of `model` compute with quantized inputs and weights.

        Parameters
        ----------
        model : paddle.nn.Layer
            Also a bare Conv2D or Linear. Layers with ``layer.skip_quant = True`` are left alone by a dict of
            options; with a QuantConfig the model must be in training mode.
        inplace : bool, optional
            False works on a deep copy. Default: True with a dict of options, False with a QuantConfig, as in
            PaddleSlim and Paddle.

        Returns
        -------
        The model. Its parameters keep their names and ``state_dict`` keys; what the quantizers keep is added.

        Raises
        ------
        ValueError : not a Layer, quantized already, nothing in it to quantize, or not in training mode.
        """
        return self._strategy.quantize(model, self._strategy.works_in_place if inplace is None else inplace)

    def save_quantized_model(
        self,
        model: Any,
        path: Union[str, os.PathLike[str]],
        input_spec: Optional[Sequence[Any]] = None,
        **config: Any,
    ) -> QATReport:
        """Write the trained network as it was trained: a Paddle inference model and a ``.qslim`` file.

        Parameters
        ----------
        model : paddle.nn.Layer
            What `quantize` returned, or that in a ``paddle.DataParallel``. Its training flag is left alone;
            observers of a QuantConfig end their calibration, in place.
        path : str
            Prefix of the files: ``path``.json (PIR) or .pdmodel (legacy), .pdiparams and .qslim. They are
            written whole or not at all.
        input_spec : list of paddle.static.InputSpec or Tensors
            Shapes and dtypes of the inputs.
        legacy : bool, default=False
            Write the legacy IR (.pdmodel) in place of PIR; the default follows FLAGS_enable_pir_api.
        onnx_path : str, optional
            Also write the network as ONNX, with QuantizeLinear and DequantizeLinear, to this path.

        Returns
        -------
        QATReport
            ``print`` it for the table of layers and their quantization parameters.

        Raises
        ------
        ValueError : no `input_spec`, shapes that the network does not take, a path that cannot be written.

        Notes
        -----
        The network in evaluation mode, the exported model and the engine's Session use the same quantization
        parameters: batch normalizations are folded into integers that are trained already, nothing else is
        quantized. PaddleSlim also quantized the outputs of layers, which no training had seen.

        Under paddle.distributed rank 0 writes, whether the other ranks make the call as well or not: they do
        the same work, wait for nobody and return the same report.
        """
        self._strategy.end_calibration(model)
        legacy, onnx_path = config.pop("legacy", None), config.pop("onnx_path", None)
        if config:
            choose("save_quantized_model", next(iter(config)), ("legacy", "onnx_path"))
        return save_quantized(
            model,
            path,
            input_spec,
            legacy=legacy,
            weight_storage="int8" if self.config.onnx_format else "float32",
            onnx_path=onnx_path,
        )

    def freeze_scales(self, model: Any, frozen: bool = True) -> None:
        """Let quantizers keep their parameters in training too; abs_max of a weight goes on following it.

        For the last epochs: the weights then settle for the scales that are deployed. A quantizer that has
        seen no batch is passed over.
        """
        found = [layer for layer in model.sublayers(include_self=True) if isinstance(layer, Quantizer)]
        seen = [layer for layer in found if layer.batches > 0 or not frozen]
        for quantizer in seen:
            quantizer.freeze(frozen)
        logger.info("%s %d quantizers", "froze" if frozen else "released", len(seen))

    def freeze_batch_norm(self, model: Any, frozen: bool = True) -> None:
        """Let batch normalizations use their running statistics in training too, and stop updating them.

        For the last epochs: the network then trains with the very normalization that it is deployed with.
        """
        count = set_batch_norm_frozen(model, frozen)
        logger.info("%s %d batch normalizations", "froze" if frozen else "released", count)
