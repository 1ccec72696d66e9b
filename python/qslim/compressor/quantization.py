# SPDX-License-Identifier: Apache-2.0
"""QuantizationStrategy: quantization-aware training, and the models that it saves.

    float_model_save_path/model, weights    float32 weights that hold integers
    int8_model_save_path/model, weights     int8 weights
    mobile_model_save_path/model, weights   the same as int8: paddle-mobile's own operators are in no Paddle

In PIR the program is called model.json, the name by which Paddle finds it.
Source: the options of paddle.fluid 1.6, contrib/slim/quantization/quantization_strategy.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from qslim.compressor.context import Context
from qslim.compressor.network import Network, active
from qslim.compressor.strategy import Strategy
from qslim.files.staging import output_path, staged_directory
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.model_files import find_model_files
from qslim.paddle.program import check_model_files
from qslim.quant.options import choose
from qslim.quant.programs import StaticQATConfig, convert

__all__ = ["QuantizationStrategy"]

_PATHS = ("float_model_save_path", "int8_model_save_path", "mobile_model_save_path")
# Every name that the directory of a model may have, of either IR.
_NAMES = ("model", "model.json", "weights")


@dataclass
class QuantizationStrategy(Strategy):
    """Train with fake quantizers from ``start_epoch`` on, and save models after ``end_epoch``.

    Training goes on until the compressor's last epoch.

    Attributes
    ----------
    start_epoch, end_epoch : int
    float_model_save_path, int8_model_save_path, mobile_model_save_path : str, optional
        Directories to write; None writes none. Each is written whole or not at all.
    weight_bits, activation_bits : int, 2 to 16; int8 models hold at most 8 bits
    weight_quantize_type : {"abs_max", "channel_wise_abs_max"}
    activation_quantize_type : {"abs_max", "range_abs_max", "moving_average_abs_max"}
    save_in_nodes, save_out_nodes : list of str, optional
        The inputs and outputs of the saved models, by names of the evaluation program: variables of a legacy
        program, keys of ``eval_fetch_list`` or names of the Graph ("softmax_0") in PIR. Default: what
        is fed and fetched in evaluation.
    """

    start_epoch: int = 0
    end_epoch: int = 0
    float_model_save_path: Optional[str] = None
    mobile_model_save_path: Optional[str] = None
    int8_model_save_path: Optional[str] = None
    activation_bits: int = 8
    weight_bits: int = 8
    activation_quantize_type: str = "abs_max"
    weight_quantize_type: str = "abs_max"
    save_in_nodes: Optional[Sequence[str]] = None
    save_out_nodes: Optional[Sequence[str]] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        StaticQATConfig.from_dict(self._config)
        for key in _PATHS:
            if getattr(self, key) is not None:
                output_path(getattr(self, key), key)
        for key in _PATHS[1:]:
            if getattr(self, key) is not None and self.weight_bits > 8:
                raise ValueError(
                    f"{key}: int8 weights have at most 8 bits, but weight_bits={self.weight_bits}"
                )
        for key in ("save_in_nodes", "save_out_nodes"):
            value = getattr(self, key)
            is_list = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
            if value is not None and not (is_list and value):
                raise ValueError(f"{key}: expected a list of names, got {value!r}")

    @property
    def _config(self) -> dict[str, Any]:
        return {
            "weight_quantize_type": self.weight_quantize_type,
            "activation_quantize_type": self.activation_quantize_type,
            "weight_bits": self.weight_bits,
            "activation_bits": self.activation_bits,
            "onnx_format": False,
            # Paddle-Lite, for which the models are written, knows symmetric integers only.
            "deploy_backend": "arm",
        }

    def check(self, context: Context) -> None:
        if any(getattr(self, key) is not None for key in _PATHS):
            if context.evaluation is None:
                raise ValueError("Compressor: eval_program is missing; the saved models are made of it")
            self._ends(context.evaluation)

    def on_epoch_begin(self, context: Context) -> None:
        if context.epoch_id == self.start_epoch:
            context.quantize(self._config)

    def restore(self, context: Context, state: Mapping[str, Any]) -> None:
        if context.epoch_id > self.start_epoch:
            context.quantize(self._config)

    def on_epoch_end(self, context: Context) -> None:
        if context.epoch_id != self.end_epoch:
            return
        for key in _PATHS:
            directory = getattr(self, key)
            if directory is not None:
                self._save(context, directory, is_int8=key != _PATHS[0])
                logger.info("%s: the quantized model is saved in %s", key, directory)

    def _ends(self, network: Network) -> tuple[list[str], list[Any]]:
        """Return the names that saved models feed, and what they fetch."""
        fed = [spec.name for spec in network.feeds]
        feeds = fed if self.save_in_nodes is None else list(self.save_in_nodes)
        for name in feeds:
            choose("Compressor: save_in_nodes", name, fed)
        if self.save_out_nodes is None:
            return feeds, list(network.fetches.values())
        return feeds, [network.find(name, "save_out_nodes") for name in self.save_out_nodes]

    def _save(self, context: Context, directory: str, is_int8: bool) -> None:
        assert context.evaluated is not None
        assert context.evaluation is not None
        paddle = framework.paddle_module()
        # Names are those of the program before quantization; a copy is converted, and training goes on.
        feeds, fetches = self._ends(context.evaluation)
        named = context.evaluation.with_fetches(fetches)
        network = named.clone()
        with active(network.is_pir, context.scope):
            program = context.quantized(network, for_test=True)
            config = {**self._config, "onnx_format": is_int8}
            program = convert(program, context.place, config, context.scope)
            saved = Network(program, network.feeds, network.fetches)
            with staged_directory(directory, _NAMES) as staging:
                paddle.static.save_inference_model(
                    os.path.join(staging, "model"),
                    [saved.feed_variable(name) for name in feeds],
                    [saved.variable(target) for target in saved.fetches.values()],
                    context.executor,
                    program=program,
                )
                check_model_files(find_model_files(staging, "model"))
                if not network.is_pir:
                    os.replace(os.path.join(staging, "model.pdmodel"), os.path.join(staging, "model"))
                os.replace(os.path.join(staging, "model.pdiparams"), os.path.join(staging, "weights"))
