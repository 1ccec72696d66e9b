# SPDX-License-Identifier: Apache-2.0
"""Run models in the engine; no Paddle needed."""

from qslim.runtime.inference_config import Config, DataType, PlaceType, PrecisionType, XpuConfig
from qslim.runtime.predictor import (
    Predictor,
    PredictorPool,
    Tensor,
    convert_to_mixed_precision,
    create_predictor,
    get_num_bytes_of_data_type,
    get_trt_compile_version,
    get_trt_runtime_version,
    get_version,
)
from qslim.runtime.profile import Layer, Profile
from qslim.runtime.session import Session, TensorSpec

__all__ = [
    "Config",
    "DataType",
    "Layer",
    "PlaceType",
    "PrecisionType",
    "Predictor",
    "PredictorPool",
    "Profile",
    "Session",
    "Tensor",
    "TensorSpec",
    "XpuConfig",
    "convert_to_mixed_precision",
    "create_predictor",
    "get_num_bytes_of_data_type",
    "get_trt_compile_version",
    "get_trt_runtime_version",
    "get_version",
]
