# SPDX-License-Identifier: Apache-2.0
"""QAT: PaddleSlim's quantization-aware training of a ``paddle.nn.Layer``."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional, Union

import paddle
from paddle import nn

from qslim.logger import logger
from qslim.paddle.tracing import forget_programs
from qslim.quant.options import choose
from qslim.quant.qat.batch_norm import fold_behind_convolutions, set_batch_norm_frozen
from qslim.quant.qat.checkpoint import quiet_set_state_dict
from qslim.quant.qat.config import QATConfig
from qslim.quant.qat.evaluation import fold_norms_in_evaluation
from qslim.quant.qat.export import save_quantized
from qslim.quant.qat.factory import activation_quantizer, weight_quantizer
from qslim.quant.qat.layers import (
    QuantizedLayer,
    QuantizedOutput,
    give_quantizers,
    is_quantized,
    output_channel_axis,
)
from qslim.quant.qat.report import QATReport

__all__ = ["QAT"]


class QAT:
    """Train a network with the rounding of its deployment.

    Parameters
    ----------
    config : dict, optional
        PaddleSlim's keys; ``QATConfig`` lists them with their defaults. An unknown key is an error.
        A ``paddle.quantization.QuantConfig`` makes this a ``QuantConfigQAT``, which also has ``convert``.
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
        if isinstance(config, paddle.quantization.QuantConfig):
            from qslim.quant.config_style.qat import become_configured

            become_configured(self, config)
        self.config = QATConfig() if hasattr(self, "q_config") else QATConfig.from_dict(config)
        for name, given in (
            ("weight_preprocess", weight_preprocess),
            ("act_preprocess", act_preprocess),
            ("weight_quantize", weight_quantize),
            ("act_quantize", act_quantize),
        ):
            if given is not None and not (isinstance(given, type) and issubclass(given, nn.Layer)):
                raise ValueError(f"{name}: expected a subclass of paddle.nn.Layer (the class), got {given!r}")
            if given is not None and hasattr(self, "q_config"):
                raise ValueError(f"{name}: goes with a dict of options; a QuantConfig says it with a factory")
        # A preprocessing layer of the user's takes the place of PACT.
        self._activations = (
            replace(self.config, activation_preprocess_type=None) if act_preprocess else self.config
        )
        self._weights = (
            replace(self.config, weight_preprocess_type=None) if weight_preprocess else self.config
        )
        self._weight_preprocess = weight_preprocess
        self._act_preprocess = act_preprocess
        self._weight_quantize = weight_quantize
        self._act_quantize = act_quantize

    def quantize(self, model: Any, inplace: bool = True) -> Any:
        """Let the layers of `model` compute with quantized inputs and weights.

        Parameters
        ----------
        model : paddle.nn.Layer
            Also a bare Conv2D or Linear. Layers with ``layer.skip_quant = True`` are left alone.
        inplace : bool, default=True
            False works on a deep copy.

        Returns
        -------
        The model. Its parameters keep their names and ``state_dict`` keys; what the quantizers keep is added.

        Raises
        ------
        ValueError : not a Layer, quantized already, or nothing in it to quantize.
        """
        if not isinstance(model, nn.Layer):
            raise ValueError(f"QAT.quantize: expected a paddle.nn.Layer, got {type(model).__name__}")
        if not paddle.in_dynamic_mode():
            raise ValueError(
                "QAT.quantize: the process is in static-graph mode; call paddle.disable_static() before"
            )
        layers = dict(model.named_sublayers(include_self=True))
        if any(is_quantized(layer) for layer in layers.values()):
            raise ValueError(
                "QAT.quantize: the model is quantized already; to change its configuration, quantize a new "
                "model and load this one's state_dict into it"
            )
        kinds = self._layer_types()
        chosen = [name for name, layer in layers.items() if _is_chosen(layer, kinds)]
        if not chosen and "TranslatedLayer" in type(model).__name__:
            raise ValueError(
                "QAT.quantize: the network was loaded by paddle.jit.load, which gives a program and no "
                "Layers to quantize; build it from its code and load its weights, or quantize the saved "
                "model by quant.quant_post_static"
            )
        if not chosen:
            raise ValueError(
                f"QAT.quantize: {type(model).__name__} has no layer of the types "
                f"{', '.join(self.config.quantizable_layer_type)} without skip_quant"
            )
        if not inplace:
            model = copy.deepcopy(model)
            layers = dict(model.named_sublayers(include_self=True))
        for name in chosen:
            self._quantize_layer(name, layers[name])
        fold_norms_in_evaluation(model)
        outputs = [item for item in layers.items() if isinstance(item[1], _functional_layers())]
        for name, layer in outputs:
            self._quantize_output(name, layer)
        quiet_set_state_dict(model)
        forget_programs(model)
        pairs = fold_behind_convolutions(model) if self.config.fuse_conv_bn else 0
        logger.info(
            "quantized %d layers for training%s%s",
            len(chosen),
            f" and the outputs of {len(outputs)}" if outputs else "",
            f", {pairs} with the normalization behind them" if pairs else "",
        )
        return model

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
            What `quantize` returned, or that in a ``paddle.DataParallel``. Its training flag is left alone.
        path : str
            Prefix of the files: ``path``.json (PIR) or .pdmodel (legacy), .pdiparams and .qslim. They are
            written whole or not at all.
        input_spec : list of paddle.static.InputSpec or Tensors
            Shapes and dtypes of the inputs.
        legacy : bool, default=False
            Write the legacy IR (.pdmodel) in place of PIR; the default follows FLAGS_enable_pir_api.

        Returns
        -------
        QATReport
            ``print`` it for the table of layers and their grids.

        Raises
        ------
        ValueError : no `input_spec`, shapes that the network does not take, a path that cannot be written.

        Notes
        -----
        The network in evaluation mode, the exported model and the engine's Session compute on the same grids:
        batch normalizations are folded into integers that are trained already, nothing else is quantized.
        PaddleSlim also quantized the outputs of layers, which no training had seen.

        Under paddle.distributed rank 0 writes, whether the other ranks make the call as well or not: they do
        the same work, wait for nobody and return the same report.
        """
        legacy = config.pop("legacy", None)
        if config:
            choose("save_quantized_model", next(iter(config)), ("legacy",))
        return save_quantized(
            model,
            path,
            input_spec,
            legacy=legacy,
            weight_storage="int8" if self.config.onnx_format else "float32",
        )

    def freeze_batch_norm(self, model: Any, frozen: bool = True) -> None:
        """Let batch normalizations use their running statistics in training too, and stop updating them.

        For the last epochs: the network then trains with the very normalization that it is deployed with.
        """
        count = set_batch_norm_frozen(model, frozen)
        logger.info("%s %d batch normalizations", "froze" if frozen else "released", count)

    # ---- layers ----------------------------------------------------------------------------------------

    def _layer_types(self) -> tuple[type, ...]:
        return tuple(kind for name in self.config.quantizable_layer_type for kind in _types_named(name))

    def _quantize_layer(self, name: str, layer: Any) -> None:
        activations = self._act_quantize or (lambda: activation_quantizer(self._activations))
        axis = output_channel_axis(layer)
        weights = self._weight_quantize or (lambda: weight_quantizer(self._weights, layer.weight, axis))
        give_quantizers(
            layer, name, QuantizedLayer, _fake_quant_input=activations(), _fake_quant_weight=weights()
        )
        if self._act_preprocess is not None:
            layer._act_preprocess = self._act_preprocess()
        if self._weight_preprocess is not None:
            layer._weight_preprocess = self._weight_preprocess()

    def _quantize_output(self, name: str, layer: Any) -> None:
        quantizer = activation_quantizer(self._activations)
        quantizer.role = "output"
        give_quantizers(layer, name, QuantizedOutput, _fake_quant_output=quantizer)


def _is_chosen(layer: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(layer, kinds) and getattr(layer, "skip_quant", False) is not True


def _types_named(name: str) -> tuple[type, ...]:
    if name in ("ColumnParallelLinear", "RowParallelLinear"):
        from paddle.distributed.fleet.layers.mpu import mp_layers

        return (getattr(mp_layers, name),)
    return (getattr(nn, name),)


def _functional_layers() -> tuple[type, ...]:
    """Layers that Paddle offers in place of +, -, *, / and matmul, so that their outputs can be quantized."""
    from paddle.nn import quant

    names = ("add", "subtract", "multiply", "divide", "matmul")
    return tuple(getattr(quant, name) for name in names if isinstance(getattr(quant, name, None), type))
