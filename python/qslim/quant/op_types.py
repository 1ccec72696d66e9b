# SPDX-License-Identifier: Apache-2.0
"""PaddleSlim's operator names (the legacy IR's) and the names that PIR has for them.

Source: paddleslim 2.6.0 with paddle.static.quantization, SUPPORT_QUANTIZATION_OP_DICT; the PIR names are
those of paddle/phi/ops/yaml/op_compat.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence

from qslim.quant.options import choose

__all__ = [
    "CONVOLUTIONS",
    "DEFAULT_OP_TYPES",
    "EMBEDDINGS",
    "MATRIX_PRODUCTS",
    "ONNXRUNTIME_FUSED",
    "ONNXRUNTIME_OP_TYPES",
    "TENSORRT_OP_TYPES",
    "all_op_types",
    "pir_names",
]

CONVOLUTIONS = frozenset(
    {"conv2d", "conv3d", "depthwise_conv2d", "conv2d_transpose", "depthwise_conv2d_transpose"}
)
MATRIX_PRODUCTS = frozenset({"matmul", "matmul_with_flatten"})

DEFAULT_OP_TYPES = ("conv2d", "depthwise_conv2d", "conv2d_transpose", "conv3d", "mul", "matmul", "matmul_v2")

# Linear is `mul` in Paddle 1, `matmul_v2` in Paddle 2 and `matmul` in PIR: a list that names one means all.
_MATMUL = ("matmul", "matmul_with_flatten")
_ALIASES: dict[str, tuple[str, ...]] = {
    "mul": _MATMUL,
    "matmul": _MATMUL,
    "matmul_v2": _MATMUL,
    "elementwise_add": ("add",),
    "elementwise_sub": ("subtract",),
    "elementwise_mul": ("multiply",),
    "elementwise_pow": ("elementwise_pow",),
    "transpose2": ("transpose",),
    "reshape2": ("reshape",),
    "squeeze2": ("squeeze",),
    "unsqueeze2": ("unsqueeze",),
    "flatten2": ("flatten",),
    "flatten_contiguous_range": ("flatten",),
    "hard_swish": ("hardswish",),
    "hard_sigmoid": ("hardsigmoid",),
    "nearest_interp_v2": ("nearest_interp",),
    "bilinear_interp_v2": ("bilinear_interp",),
    "reduce_mean": ("mean",),
    "reduce_sum": ("sum",),
    "reduce_max": ("max",),
    "expand_v2": ("expand",),
    "top_k_v2": ("topk",),
    "conv2d_transpose": ("conv2d_transpose", "depthwise_conv2d_transpose"),
}
_PLAIN = (
    "conv2d", "conv3d", "depthwise_conv2d", "depthwise_conv2d_transpose", "pool2d", "concat", "softmax",
    "transpose", "mean", "reshape", "nearest_interp", "trilinear_interp", "bilinear_interp", "slice",
    "strided_slice", "squeeze", "relu", "relu6", "leaky_relu", "prelu", "tanh", "swish", "dropout",
    "batch_norm", "layer_norm",
    "instance_norm", "group_norm", "sigmoid", "gather", "pad2d", "pad3d", "flatten", "split", "abs", "assign",
    "cast", "clip", "expand", "gelu", "norm", "p_norm", "pow", "stack", "where", "grid_sampler", "tile",
    "square", "softplus", "shuffle_channel", "scale", "add", "subtract", "multiply", "unsqueeze", "hardswish",
    "hardsigmoid", "sum", "max", "silu",
)  # fmt: skip

# PIR's name and PaddleSlim's, those of the legacy IR.
EMBEDDINGS = ("embedding", "lookup_table", "lookup_table_v2")

# Operators whose inputs TensorRT wants quantized too.
TENSORRT_OP_TYPES = (
    "pool2d", "elementwise_add", "elementwise_sub", "elementwise_mul", "elementwise_pow", "concat", "softmax",
    "relu", "relu6", "leaky_relu", "tanh", "swish", "sigmoid", "gelu", "hard_swish", "hard_sigmoid",
    "layer_norm", "matmul_v2", "split", "nearest_interp_v2", "bilinear_interp_v2", "clip", "reduce_mean",
    "reduce_max", "squeeze2", "unsqueeze2", "reshape2", "transpose2", "flatten_contiguous_range",
)  # fmt: skip
# Operators that ONNX Runtime computes in int8 where their operands and results are quantized, and those that
# it takes into the step before.
ONNXRUNTIME_OP_TYPES = (
    "elementwise_add", "elementwise_mul", "pool2d", "concat", "sigmoid", "leaky_relu", "reduce_mean", "relu",
    "relu6",
)  # fmt: skip
ONNXRUNTIME_FUSED = frozenset({"relu", "relu6"})


def all_op_types() -> list[str]:
    """Return every name that ``quantizable_op_type`` takes."""
    return sorted({*_ALIASES, *_PLAIN})


def pir_names(op_types: Sequence[str], *, takes_embeddings: bool = False) -> set[str]:
    """Return the PIR operators that `op_types` mean; an unknown name is an error that names the nearest."""
    names: set[str] = set()
    for op_type in op_types:
        if op_type in EMBEDDINGS and takes_embeddings:
            names.add("embedding")
            continue
        if op_type in EMBEDDINGS:
            raise ValueError(
                f"quantizable_op_type: {op_type!r} is an embedding, which these functions do not quantize; "
                "its table stays in float32. Take it off the list; quant_post_dynamic and quant_embedding "
                "quantize it"
            )
        choose("quantizable_op_type", op_type, all_op_types())
        names.update(_ALIASES.get(op_type, (op_type,)))
    return names
