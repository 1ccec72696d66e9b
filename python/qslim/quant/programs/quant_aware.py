# SPDX-License-Identifier: Apache-2.0
"""``quant_aware`` and ``convert``: quantization-aware training of static programs, of either IR.

Source: paddleslim 2.6.0, quant/quanter.py (signatures and defaults).

Examples
--------
>>> import paddle
>>> import qslim as slim
>>> paddle.enable_static()
>>> main, startup = paddle.static.Program(), paddle.static.Program()
>>> with paddle.static.program_guard(main, startup):
...     image = paddle.static.data("image", [None, 3, 8, 8])
...     loss = paddle.mean(paddle.nn.Conv2D(3, 4, 3)(image))
...     _ = paddle.optimizer.SGD(0.1).minimize(loss)
>>> executor = paddle.static.Executor(paddle.CPUPlace())
>>> _ = executor.run(startup)
>>> trained = slim.quant.quant_aware(main, paddle.CPUPlace(), {"weight_bits": 4}, return_program=True)
>>> sum("fake_" in op.name() for op in trained.global_block().ops)
2
>>> paddle.disable_static()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from qslim.logger import logger
from qslim.paddle import framework
from qslim.quant.options import choose
from qslim.quant.programs.config import StaticQATConfig
from qslim.quant.programs.functions import OptimizerFunction, QuantFunctions, TensorFunction
from qslim.quant.programs.initial import initial_thresholds
from qslim.quant.programs.legacy import quantize_legacy
from qslim.quant.programs.legacy_convert import convert_legacy
from qslim.quant.programs.pir import convert_pir, quantize_pir

__all__ = ["convert", "quant_aware"]


def quant_aware(
    program: Any,
    place: Any,
    config: Optional[Mapping[str, Any]] = None,
    scope: Any = None,
    for_test: bool = False,
    weight_quantize_func: Optional[TensorFunction] = None,
    act_quantize_func: Optional[TensorFunction] = None,
    weight_preprocess_func: Optional[TensorFunction] = None,
    act_preprocess_func: Optional[TensorFunction] = None,
    optimizer_func: Optional[OptimizerFunction] = None,
    executor: Any = None,
    return_program: bool = False,
    calib_config: Mapping[str, Any] = {},
    draw_graph: bool = False,
    return_scale_dict: bool = False,
    scale_dict: Optional[Mapping[str, float]] = None,
    model_type: Optional[str] = None,
    pattern_ops: Any = None,
) -> Any:
    """Put fake quantizers in front of the products of a program, to train or to evaluate it.

    Parameters
    ----------
    program : paddle.static.Program
        For training, before or after ``minimize``, or for evaluation. A legacy program is copied, a PIR
        program is changed in place and returned, so that what you fetch stays valid.
    place : paddle.CPUPlace, paddle.CUDAPlace, ...
    config : dict, optional; see ``StaticQATConfig``
    scope : paddle.static.Scope, optional
        Where the parameters are and the quantizers' state goes; ``paddle.static.global_scope()`` by default.
        State that it holds is kept: programs for training and for evaluation share it by name.
    for_test : bool; True for a program for evaluation: thresholds are read and not updated
    weight_preprocess_func, act_preprocess_func : callable, optional
        Variable in, Variable out, before the tensor is quantized: ``pact`` is one. Legacy IR only.
    weight_quantize_func, act_quantize_func : callable, optional
        The same in place of our quantizer; they return dequantized values. Legacy IR only.
    optimizer_func : callable, optional
        Returns an optimizer for what these functions create, where `program` is minimized already. Its
        learning rate is a number.
    executor : paddle.static.Executor, optional; runs initializers and calibration
    return_program : bool; False returns a CompiledProgram for legacy programs for training, as PaddleSlim
    calib_config : dict, optional; for ``quant_post_first``, see ``programs.initial.initial_thresholds``
    draw_graph : ignored
    return_scale_dict : bool; True returns (program, thresholds, model_type, pattern_ops)
    scale_dict : dict of tensor name, as `return_scale_dict` gives, to an activation's first threshold
    model_type, pattern_ops : None or "non-transformer"; patterns for transformers are not known here

    Returns
    -------
    paddle.static.Program or CompiledProgram, or the tuple that `return_scale_dict` asks for.

    Raises
    ------
    ValueError : an option; a program that is quantized already, holds nothing to quantize, or does not fit
        `for_test`. A pattern of ``not_quant_pattern`` that matches nothing is no error.
    """
    del draw_graph
    options = StaticQATConfig.from_dict(config)
    is_pir = _is_pir(program, "quant_aware")
    choose("model_type", model_type, (None, "non-transformer"))
    paddle = framework.paddle_module()
    executor = framework.executor(place) if executor is None else executor
    scope = paddle.static.global_scope() if scope is None else scope
    functions = QuantFunctions(
        weight_preprocess_func, act_preprocess_func, weight_quantize_func, act_quantize_func, optimizer_func
    )
    _check_functions(functions, is_pir)
    thresholds = {str(name): float(value) for name, value in (scale_dict or {}).items()}
    if options.quant_post_first and for_test:
        thresholds.update(initial_thresholds(program, options, dict(calib_config), scope, executor))
    if is_pir:
        result = quantize_pir(program, options, scope, place, for_test, thresholds)
    else:
        result = quantize_legacy(program, options, scope, executor, for_test, functions, thresholds)
    found = _thresholds(result, scope, is_pir)
    _warn_if_unused(thresholds, found)
    if not (for_test or return_program or is_pir):
        result = paddle.static.CompiledProgram(result)
    return (result, found, model_type, pattern_ops) if return_scale_dict else result


def _check_functions(functions: QuantFunctions, is_pir: bool) -> None:
    """Raise ValueError if there are functions for a PIR program."""
    if is_pir and not functions.is_empty:
        raise ValueError(
            "quant_aware: functions for preprocessing and quantization need a program of the legacy IR; "
            "start the process with FLAGS_enable_pir_api=0, or train the network as a Layer with qslim.QAT, "
            "which has PACT and LSQ"
        )


def _warn_if_unused(thresholds: Mapping[str, float], found: Mapping[str, float]) -> None:
    if thresholds and not thresholds.keys() & found.keys():
        logger.warning(
            "quant_aware: scale_dict names no quantized activation; those are %s", ", ".join(found)
        )


def convert(
    program: Any,
    place: Any,
    config: Optional[Mapping[str, Any]] = None,
    scope: Any = None,
    save_int8: bool = False,
) -> Any:
    """Convert a trained program for deployment: integer weights, quantize and dequantize operators.

    What is computed stays the same. ``paddle.static.save_inference_model`` saves the result, and
    ``qslim.runtime.Session`` runs what was saved in int8.

    Parameters
    ----------
    program : paddle.static.Program
        What ``quant_aware(..., for_test=True)`` returned. A legacy program is copied, a PIR program changed
        in place.
    place : paddle.CPUPlace, ...
    config : dict, optional
        That of ``quant_aware``.
    scope : paddle.static.Scope, optional
        The one that was trained in. It keeps the float weights; integers get names of their own.
    save_int8 : bool
        Return two programs of the legacy IR, one with weights as float32 that holds integers and one with
        int8; ``onnx_format=True`` has int8 anyway.

    Returns
    -------
    paddle.static.Program, or two with `save_int8`.

    Raises
    ------
    ValueError : the program is for training or holds no quantizers; a weight or threshold is not finite.
    """
    options = StaticQATConfig.from_dict(config)
    is_pir = _is_pir(program, "convert")
    paddle = framework.paddle_module()
    scope = paddle.static.global_scope() if scope is None else scope
    kinds = [op.name() if is_pir else op.type for op in program.global_block().ops]
    if any(kind.rstrip("_").endswith("_grad") for kind in kinds):
        raise ValueError(
            "convert: expected the program for evaluation, quant_aware(..., for_test=True), but this one "
            "holds gradients"
        )
    if not any("quantize_dequantize" in kind for kind in kinds):
        raise ValueError(
            "convert: the program holds no quantizers; call quant_aware(..., for_test=True) before"
        )
    if save_int8 and (options.onnx_format or is_pir):
        raise ValueError(
            "convert: save_int8=True gives a second program with int8 weights, which onnx_format=True has "
            "anyway; leave it out"
            if options.onnx_format
            else "convert: save_int8=True makes two programs of one, but a PIR program is changed in place; "
            "set onnx_format=True for int8 weights"
        )
    storage = "int8" if options.onnx_format else "float32"
    if is_pir:
        return convert_pir(program, options, scope, storage)
    converted = convert_legacy(program, options, scope, place, storage)
    return (converted, convert_legacy(program, options, scope, place, "int8")) if save_int8 else converted


def _is_pir(program: Any, function: str) -> bool:
    if framework.is_pir_program(program):
        return True
    if framework.is_legacy_program(program):
        return False
    raise ValueError(f"{function}: program must be a paddle.static.Program, got {type(program).__name__}")


def _thresholds(program: Any, scope: Any, is_pir: bool) -> dict[str, float]:
    """Return the activations' thresholds as they stand, by the names that `scale_dict` takes."""
    if is_pir:
        parameters = (
            op.attrs()["parameter_name"]
            for op in program.global_block().ops
            if op.name() == "builtin.parameter"
        )
        ending = ".scale"
        names = [name for name in parameters if name.endswith(ending) and ".input" in name]
    else:
        ending = ".quantized.dequantized@scale"
        fakes = [op for op in program.global_block().ops if op.type.endswith("moving_average_abs_max")]
        names = [op.output("Out")[0] + "@scale" for op in fakes]
    return {name[: -len(ending)]: float(np.array(scope.find_var(name).get_tensor())[0]) for name in names}
