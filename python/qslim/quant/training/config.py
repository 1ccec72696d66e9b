# SPDX-License-Identifier: Apache-2.0
"""The configuration of quantization-aware training: keys, defaults and values.

Keys and defaults are paddleslim 2.6.0's (dygraph/quant/qat.py); those that it does not know stand below a
comment of their own. A key that nobody knows is an error: PaddleSlim trained on with the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from qslim.quant.options import check_int, check_part, choose, from_mapping

__all__ = ["QATConfig"]

_PREPROCESS = (None, "PACT")
_ACTIVATION_TYPES = ("moving_average_abs_max", "range_abs_max", "abs_max", "lsq_act", "lsqplus_act")
_WEIGHT_TYPES = (
    "channel_wise_abs_max",
    "abs_max",
    "range_abs_max",
    "moving_average_abs_max",
    "lsq_weight",
    "channel_wise_lsq_weight",
)
_LAYER_TYPES = ("Conv2D", "Linear", "Conv2DTranspose", "ColumnParallelLinear", "RowParallelLinear")


@dataclass(frozen=True)
class QATConfig(Mapping[str, Any]):
    """The options of ``QAT``: ``config.weight_bits``, or ``config["weight_bits"]`` as in PaddleSlim.

    Attributes
    ----------
    weight_preprocess_type, activation_preprocess_type : {None, "PACT"}
        "PACT" learns where to clip; for activations the clipping value is the quantizer's threshold.
    weight_quantize_type : str
        "channel_wise_abs_max", "abs_max", "lsq_weight", "channel_wise_lsq_weight",
        "moving_average_abs_max" or "range_abs_max".
    activation_quantize_type : str
        "moving_average_abs_max", "range_abs_max", "abs_max", "lsq_act" or "lsqplus_act".
    weight_bits, activation_bits : int, 2 to 16
        More than 8 are simulated in float; no int8 kernel runs them.
    dtype : {"int8"}
    window_size : int
        Batches that "range_abs_max" looks back on.
    moving_rate : float in [0, 1)
    quantizable_layer_type : list of layer types, by name or as classes
    fuse_conv_bn : bool
        Quantize a convolution's weight as it will be once the normalization behind it is folded in.
    onnx_format : bool
        True stores weights as int8; False as float32 that holds integers.
    activation_is_signed : bool or None
        True keeps activations to symmetric int8, as TensorRT and Paddle Lite need; None (the default) gives
        inputs that were never negative in training unsigned integers, twice as fine.
    calibration_batches : int
        Training batches from which PACT and LSQ take their starting values before they learn.
    learned_scale_learning_rate : float
        Factor on the optimizer's learning rate for clipping values (PACT) and scales (LSQ), which are learned
        relative to their starting values.
    learned_scale_weight_decay : float
        L2 decay of the same, in place of the optimizer's own.
    """

    weight_preprocess_type: Optional[str] = None
    activation_preprocess_type: Optional[str] = None
    weight_quantize_type: str = "channel_wise_abs_max"
    activation_quantize_type: str = "moving_average_abs_max"
    weight_bits: int = 8
    activation_bits: int = 8
    dtype: str = "int8"
    window_size: int = 10000
    moving_rate: float = 0.9
    quantizable_layer_type: Sequence[Any] = ("Conv2D", "Linear")
    fuse_conv_bn: bool = False
    onnx_format: bool = True
    # Not PaddleSlim's.
    activation_is_signed: Optional[bool] = None
    calibration_batches: int = 4
    learned_scale_learning_rate: float = 1.0
    learned_scale_weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        choose("weight_preprocess_type", self.weight_preprocess_type, _PREPROCESS)
        choose("activation_preprocess_type", self.activation_preprocess_type, _PREPROCESS)
        choose("weight_quantize_type", self.weight_quantize_type, _WEIGHT_TYPES)
        choose("activation_quantize_type", self.activation_quantize_type, _ACTIVATION_TYPES)
        for key in ("weight_bits", "activation_bits"):
            check_int(key, getattr(self, key), 2, 16)
        choose("dtype", self.dtype, ("int8",))
        check_int("window_size", self.window_size, 1)
        check_int("calibration_batches", self.calibration_batches, 1)
        check_part("moving_rate", self.moving_rate)
        for key in ("fuse_conv_bn", "onnx_format"):
            if not isinstance(getattr(self, key), bool):
                raise ValueError(f"{key}: expected True or False, got {getattr(self, key)!r}")
        choose("activation_is_signed", self.activation_is_signed, (None, True))
        for key in ("learned_scale_learning_rate", "learned_scale_weight_decay"):
            value = getattr(self, key)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not 0 <= value < float("inf")
            ):
                raise ValueError(f"{key}: expected a number >= 0, got {value!r}")
        if isinstance(self.quantizable_layer_type, str) or not isinstance(
            self.quantizable_layer_type, Sequence
        ):
            raise ValueError(
                f"quantizable_layer_type: expected a list of layer types, got {self.quantizable_layer_type!r}"
            )
        names = [kind.__name__ if isinstance(kind, type) else kind for kind in self.quantizable_layer_type]
        for name in names:
            choose("quantizable_layer_type", name, _LAYER_TYPES)
        object.__setattr__(self, "quantizable_layer_type", tuple(names))
        if "PACT" in (self.weight_preprocess_type,) and self.weight_quantize_type.endswith("lsq_weight"):
            raise ValueError(
                "weight_preprocess_type 'PACT' and an LSQ weight_quantize_type both learn the scale"
            )
        if self.activation_preprocess_type == "PACT" and self.activation_quantize_type.startswith("lsq"):
            raise ValueError(
                "activation_preprocess_type 'PACT' and an LSQ activation_quantize_type both learn the scale"
            )

    def __getitem__(self, key: str) -> Any:
        if key not in self.__dataclass_fields__:
            raise KeyError(key)
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dataclass_fields__)

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)

    @classmethod
    def from_dict(cls, config: Optional[Mapping[str, Any]]) -> QATConfig:
        """Return the configuration for `config`, PaddleSlim's dict, or None for the defaults."""
        return from_mapping(cls, config)
