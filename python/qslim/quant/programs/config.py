# SPDX-License-Identifier: Apache-2.0
"""The configuration of ``quant_aware`` and ``convert``: keys, defaults and values.

Keys and defaults are paddleslim 2.6.0's (quant/quanter.py). A key that nobody knows is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from qslim.quant.op_types import all_op_types, pir_names
from qslim.quant.options import check_int, check_part, choose, from_mapping

__all__ = ["StaticQATConfig"]

_ACTIVATION_TYPES = ("moving_average_abs_max", "range_abs_max", "abs_max")
_WEIGHT_TYPES = ("channel_wise_abs_max", "abs_max")
_BACKENDS = (None, "tensorrt", "arm", "onednn", "mkldnn")
_TENSORRT_OP_TYPES = ("mul", "conv2d", "pool2d", "depthwise_conv2d", "elementwise_add", "leaky_relu")


@dataclass(frozen=True)
class StaticQATConfig:
    """The options of ``quant_aware``.

    Attributes
    ----------
    weight_quantize_type : {"channel_wise_abs_max", "abs_max"}
    activation_quantize_type : {"moving_average_abs_max", "range_abs_max", "abs_max"}
    weight_bits, activation_bits : int, 2 to 16
        More than 8 are simulated in float; no int8 kernel runs them.
    not_quant_pattern : str or list of str
        Operators whose ``paddle.static.name_scope`` (legacy IR) or layer path (PIR) holds one of these stay
        in float, and so do those that read a parameter of that name.
    quantize_op_types : list of str
        Operators by PaddleSlim's names. "mul", "matmul" and "matmul_v2" all mean matrix products.
    dtype : {"int8"}
    window_size : int
        Batches that "range_abs_max" looks back on.
    moving_rate : float in [0, 1)
    for_tensorrt : bool
        The operators that TensorRT runs in int8, in place of `quantize_op_types`; symmetric int8.
    is_full_quantize : bool
        Every operator that PaddleSlim knows.
    onnx_format : bool
        True stores weights as int8; False as float32 that holds integers.
    quant_post_first : bool
        Start from the thresholds of post-training quantization on the data of ``calib_config``.
    scale_trainable : bool
        False keeps the activations' thresholds as they are in training.
    deploy_backend : {None, "tensorrt", "arm", "onednn"}
        None lets tensors that cannot be negative use uint8; the others keep to symmetric int8.
    """

    weight_quantize_type: str = "channel_wise_abs_max"
    activation_quantize_type: str = "moving_average_abs_max"
    weight_bits: int = 8
    activation_bits: int = 8
    not_quant_pattern: Union[str, Sequence[str]] = ("skip_quant",)
    quantize_op_types: Sequence[str] = ("conv2d", "depthwise_conv2d", "mul")
    dtype: str = "int8"
    window_size: int = 10000
    moving_rate: float = 0.9
    for_tensorrt: bool = False
    is_full_quantize: bool = False
    onnx_format: bool = True
    quant_post_first: bool = False
    scale_trainable: bool = True
    deploy_backend: Optional[str] = None

    def __post_init__(self) -> None:
        choose("weight_quantize_type", self.weight_quantize_type, _WEIGHT_TYPES)
        choose("activation_quantize_type", self.activation_quantize_type, _ACTIVATION_TYPES)
        choose("dtype", self.dtype, ("int8",))
        for key in ("weight_bits", "activation_bits"):
            check_int(key, getattr(self, key), 2, 16)
        check_int("window_size", self.window_size, 1)
        check_part("moving_rate", self.moving_rate)
        for key in ("for_tensorrt", "is_full_quantize", "onnx_format", "quant_post_first", "scale_trainable"):
            if not isinstance(getattr(self, key), bool):
                raise ValueError(f"{key}: expected True or False, got {getattr(self, key)!r}")
        backend = self.deploy_backend.lower() if isinstance(self.deploy_backend, str) else self.deploy_backend
        object.__setattr__(self, "deploy_backend", choose("deploy_backend", backend, _BACKENDS))
        patterns = self.not_quant_pattern
        for key, value in (
            ("not_quant_pattern", (patterns,) if isinstance(patterns, str) else patterns),
            ("quantize_op_types", self.quantize_op_types),
        ):
            if isinstance(value, str) or not all(isinstance(item, str) and item for item in value or ()):
                raise ValueError(f"{key}: expected a list of strings, got {value!r}")
            object.__setattr__(self, key, tuple(value or ()))
        self.op_types  # noqa: B018  names an unknown operator

    @property
    def op_types(self) -> set[str]:
        """The operators to quantize, by their PIR names."""
        if self.is_full_quantize:
            return pir_names(all_op_types())
        return pir_names(_TENSORRT_OP_TYPES if self.for_tensorrt else self.quantize_op_types)

    @property
    def uses_unsigned_grid(self) -> bool:
        return self.deploy_backend is None and not self.for_tensorrt

    @classmethod
    def from_dict(cls, config: Optional[Mapping[str, Any]]) -> StaticQATConfig:
        """Return the configuration for `config`, PaddleSlim's dict, or None for the defaults."""
        return from_mapping(cls, config)
