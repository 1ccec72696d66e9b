# SPDX-License-Identifier: Apache-2.0
"""The arguments of post-training quantization, checked before any work, and checks that all options share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Callable, Literal, Optional, TypeVar, get_args

import numpy as np

from qslim.functional.statistics import ThresholdAlgo

__all__ = [
    "ALGORITHMS",
    "PostTrainingAlgo",
    "PostTrainingOptions",
    "SearchOptions",
    "check_int",
    "check_part",
    "choose",
    "from_mapping",
]

PostTrainingAlgo = Literal[ThresholdAlgo, "auto"]
_Options = TypeVar("_Options")

ALGORITHMS: tuple[ThresholdAlgo, ...] = get_args(ThresholdAlgo)
_POST_TRAINING_ALGORITHMS = (*ALGORITHMS, "auto")
_SCHEMES = ("auto", "symmetric")
_ROUND_TYPES = ("round", "adaround")
_ACTIVATION_TYPES = ("range_abs_max", "moving_average_abs_max", "abs_max")
_WEIGHT_TYPES = ("channel_wise_abs_max", "abs_max")
_BACKENDS = (None, "tensorrt", "arm", "onednn", "mkldnn", "onnxruntime")


def choose(argument: str, value: Any, known: Iterable[Any]) -> Any:
    """Return `value` if it is among `known`, else raise a ValueError that names the nearest."""
    options = list(known)
    if value in options:
        return value
    names = [str(option) for option in options]
    near = difflib.get_close_matches(str(value), names, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, options[:12])) + (", ..." if len(options) > 12 else "")
    raise ValueError(f"{argument}: expected one of {listed}, got {value!r}{hint}")


def from_mapping(cls: type[_Options], config: Optional[Mapping[str, Any]]) -> _Options:
    """Return a `cls`, a dataclass, with the values of `config`, PaddleSlim's dict or None."""
    if config is None:
        return cls()
    if not isinstance(config, Mapping):
        raise ValueError(f"config: expected a dict of QAT options or None, got {type(config).__name__}")
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ValueError(f"config: unknown key {key!r}; {hint}")
    return cls(**config)


def check_int(key: str, value: Any, least: int, most: Optional[int] = None) -> None:
    """Refuse what is no int, or none from `least` to `most`."""
    is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_int or value < least or (most and value > most):
        wanted = f"an int from {least} to {most}" if most else f"an int >= {least}"
        raise ValueError(f"{key}: expected {wanted}, got {value!r}")


def check_part(key: str, value: Any) -> None:
    """Refuse what is no number in [0, 1)."""
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1:
        raise ValueError(f"{key}: expected a float in [0, 1), got {value!r}")


@dataclass(frozen=True)
class PostTrainingOptions:
    """The options of ``quant_post_static``.

    Attributes
    ----------
    batch_size : int, default=1
        Samples a batch, for `sample_generator` and for arrays.
    batch_nums : int, optional
        At most so many batches, of all ranks together; None takes all.
    algo : {"hist", "KL", "avg", "mse", "emd", "abs_max", "min_max", "ptf", "auto"}
        How activations' thresholds follow from their statistics; see ``qslim.functional.find_threshold``.
        "auto" takes for each tensor what serves the layers that read it best, rounds weights of up to 25
        factors (depthwise convolutions) adaptively and corrects biases; the report says what it chose.
    round_type : {"round", "adaround"}
        "adaround" rounds each weight up or down so that its layer's output changes least on the calibration
        data; see qslim.quant.post_training.adaptive_rounding. It gains most with weights of 4 bits or fewer.
    hist_percent : float, default=0.9999
        Share of the values that "hist" keeps.
    bias_correction : bool
        Take what quantization adds to the mean of a layer's output off its bias; see
        ``qslim.quant.post_training.bias_correction``. A weight with no bias behind it keeps the mean and the
        spread of its channels instead.
    quantizable_op_type : list of str
        Operators by PaddleSlim's names. "mul", "matmul" and "matmul_v2" all mean matrix products.
    is_full_quantize : bool
        Quantize every operator that PaddleSlim knows, inputs and outputs.
    weight_bits, activation_bits : int, 2 to 16
        More than 8 are simulated in float; no int8 kernel runs them.
    activation_quantize_type : {"range_abs_max", "moving_average_abs_max", "abs_max"}
        Accepted for old scripts; the calibrated threshold is stored in each case.
    weight_quantize_type : {"channel_wise_abs_max", "abs_max"}
    optimize_model : bool
        Fold batch normalization into the convolution before it first.
    onnx_format : bool
        True stores weights as int8; False as float32 that holds integers, as older tutorials describe.
    skip_tensor_list : list of str, Layer or parameter, optional
        Operators that stay in fp32: by their inputs, parameters or paths (shell patterns), or by the Layers
        of the network that was saved (``[net.head]``). A legacy model's files also tell the names of its
        attributes ("backbone.conv1"). One that matches nothing is an error.
    deploy_backend : {None, "tensorrt", "arm", "onednn", "onnxruntime"}
        None and "onnxruntime" let tensors be uint8 that cannot be negative, or that gain by a zero point; the
        others keep to symmetric int8. "tensorrt" also quantizes the inputs of the operators that TensorRT
        runs in int8. "onnxruntime" quantizes what products, additions and the like write, which ONNX Runtime
        needs to compute them in int8, but for a Relu behind them; every engine rounds more often then.
    activation_scheme : {"auto", "symmetric"}
        "auto" gives a tensor that may be negative a zero point where that lowers its mean squared error by a
        fifth; "symmetric" never does.
    equalize : bool
        Move ranges that differ from channel to channel from an activation behind a normalization into the
        weights that read it, where that lowers the error of their outputs; see
        ``qslim.quant.post_training.channel_scaling``.
    max_memory : int, optional
        Bytes that the engine may take for the float model's weights and activations while it calibrates. A
        batch that needs more is an error, and so is a model that only Paddle's executor can run.
    """

    algo: PostTrainingAlgo = "hist"
    round_type: str = "round"
    hist_percent: float = 0.9999
    bias_correction: bool = False
    quantizable_op_type: Sequence[str] = ()
    is_full_quantize: bool = False
    weight_bits: int = 8
    activation_bits: int = 8
    activation_quantize_type: str = "range_abs_max"
    weight_quantize_type: str = "channel_wise_abs_max"
    optimize_model: bool = False
    onnx_format: bool = True
    skip_tensor_list: Sequence[str] = ()
    deploy_backend: Optional[str] = None
    activation_scheme: str = "auto"
    equalize: bool = False
    batch_size: int = 1
    batch_nums: Optional[int] = None
    max_memory: Optional[int] = None

    def __post_init__(self) -> None:
        choose("algo", self.algo, _POST_TRAINING_ALGORITHMS)
        choose("activation_scheme", self.activation_scheme, _SCHEMES)
        choose("round_type", self.round_type, _ROUND_TYPES)
        choose("activation_quantize_type", self.activation_quantize_type, _ACTIVATION_TYPES)
        choose("weight_quantize_type", self.weight_quantize_type, _WEIGHT_TYPES)
        backend = self.deploy_backend.lower() if isinstance(self.deploy_backend, str) else self.deploy_backend
        object.__setattr__(self, "deploy_backend", choose("deploy_backend", backend, _BACKENDS))
        for argument in ("weight_bits", "activation_bits"):
            check_int(argument, getattr(self, argument), 2, 16)
        if not 0 < self.hist_percent <= 1:
            raise ValueError(f"hist_percent: expected a number in (0, 1], got {self.hist_percent!r}")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size: expected an int > 0, got {self.batch_size!r}")
        if self.batch_nums is not None and (not isinstance(self.batch_nums, int) or self.batch_nums < 1):
            raise ValueError(
                f"batch_nums: expected an int > 0 or None (all batches), got {self.batch_nums!r}"
            )
        if self.max_memory is not None:
            check_int("max_memory", self.max_memory, 1)
        object.__setattr__(self, "skip_tensor_list", _names_of(self.skip_tensor_list))
        for argument in ("quantizable_op_type", "skip_tensor_list"):
            value = getattr(self, argument)
            if isinstance(value, str) or not all(isinstance(item, str) for item in value or ()):
                raise ValueError(f"{argument}: expected a list of strings, got {value!r}")
            object.__setattr__(self, argument, tuple(value or ()))

    @property
    def uses_unsigned_grid(self) -> bool:
        """True if tensors that cannot be negative become uint8; other engines know only int8."""
        return self.deploy_backend in (None, "onnxruntime")

    @property
    def allows_zero_points(self) -> bool:
        """True if activations may have a zero point."""
        is_small = self.activation_bits <= 8  # wider ones are simulated, and gain nothing
        return self.activation_scheme == "auto" and self.uses_unsigned_grid and is_small

    @property
    def corrects_biases(self) -> bool:
        """True if biases are corrected."""
        return self.bias_correction or self.algo == "auto"


@dataclass(frozen=True)
class SearchOptions:
    """The options of ``quant_post_static`` for mixed precision.

    Attributes
    ----------
    accuracy_drop : float, optional
        What the metric may lose against the float network; as many layers as that takes stay in fp32. In the
        unit of `eval_function` or, without one, in percent of agreement with the float network.
    eval_function : callable, optional
        Takes a network, ``network(array, ...)`` returns its outputs, and returns its metric; or PaddleSlim's
        form, of (executor, program, feed names, fetch targets). Larger is better.
    time_budget : float, optional
        Seconds from the call on after which no network is tried any more; the best so far is the result.
    """

    accuracy_drop: Optional[float] = None
    eval_function: Optional[Callable[..., Any]] = None
    time_budget: Optional[float] = None

    def __post_init__(self) -> None:
        for argument in ("accuracy_drop", "time_budget"):
            value = getattr(self, argument)
            is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 <= value < float("inf")):
                raise ValueError(f"{argument}: expected a number >= 0 or None, got {value!r}")
        given = [name for name in ("eval_function", "time_budget") if getattr(self, name) is not None]
        if given and self.accuracy_drop is None:
            raise ValueError(
                f"{given[0]}: is for mixed precision, which accuracy_drop asks for; give accuracy_drop, what "
                "the metric may lose, or leave both out"
            )


def _names_of(skipped: Any) -> Any:
    """Return `skipped` with the names of their weights in place of Layers and parameters."""
    if isinstance(skipped, str) or not isinstance(skipped, Sequence):
        return skipped  # the check of lists of strings says what is wrong with it
    names: list[Any] = []
    for item in skipped:
        if hasattr(item, "parameters") and hasattr(item, "forward"):
            # Layer.parameters() does not work in static mode.
            layers = item.sublayers(include_self=True)
            parameters = [each for layer in layers for each in layer._parameters.values() if each is not None]
            weights = [each for each in parameters if len(each.shape) > 1] or parameters
            if not weights:
                raise ValueError(f"skip_tensor_list: the Layer {type(item).__name__} has no parameters")
            names += [each.name for each in weights]
        else:
            names.append(item if isinstance(item, str) else getattr(item, "name", item))
    return names
