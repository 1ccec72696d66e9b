# SPDX-License-Identifier: Apache-2.0
"""Static post-training quantization: a trained model and a few batches in, a quantized model out.

In several processes rank r calibrates on the batches r, r + world, r + 2 * world, ..., or on what a
``DistributedBatchSampler`` gives it. Statistics merge without rounding, so the model is that of a single
process, to the bit. Rank 0 writes it.

Source: paddleslim 2.6.0, quant/quanter.py (signature and defaults).

Examples
--------
>>> import os, tempfile
>>> import numpy as np
>>> import paddle
>>> import qslim as slim
>>> work = tempfile.mkdtemp()
>>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 4, 3))
>>> image = paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")
>>> paddle.jit.save(net, os.path.join(work, "fp32"), input_spec=[image])
>>> executor = paddle.static.Executor(paddle.CPUPlace())
>>> batches = [np.random.rand(2, 3, 16, 16).astype("float32")]
>>> report = slim.quant.quant_post_static(
...     executor, work, os.path.join(work, "int8"), data_loader=batches
... )
>>> [(activation.name, activation.dtype) for activation in report.activations]
[('image', 'uint8'), ('relu_0', 'uint8')]
>>> sorted(os.listdir(os.path.join(work, "int8")))
['model.json', 'model.pdiparams', 'model.qslim']

As many layers stay in fp32 as it takes to lose no more than 0.5 percent of the outputs' energy:

>>> report = slim.quant.quant_post_static(
...     executor, work, os.path.join(work, "mixed"), data_loader=batches, accuracy_drop=0.5
... )
>>> report.mixed_precision.is_reached, report.mixed_precision.in_float
(True, [])
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Callable, Optional, TypeVar

from qslim.files.staging import output_path
from qslim.graph.passes import fold_batch_norm
from qslim.logger import logger
from qslim.quant import distributed
from qslim.quant.mixed_precision.judges import EvalFunction
from qslim.quant.mixed_precision.post_training import check_search, quantize_mixed
from qslim.quant.op_types import DEFAULT_OP_TYPES
from qslim.quant.options import PostTrainingAlgo, PostTrainingOptions, SearchOptions
from qslim.quant.post_training.calibration import Calibration
from qslim.quant.post_training.data_source import calibration_batches, expected_batches
from qslim.quant.post_training.operator_selection import Selection
from qslim.quant.post_training.post_training_report import QuantizationReport
from qslim.quant.post_training.quantize_graph import calibrate, quantize_graph, select_operators
from qslim.quant.post_training.write_quantized import Target, Written, report_of, write_program
from qslim.quant.source_models import SourceModel, find_source, is_onnx, load_source

__all__ = ["load_float_model", "quant_post", "quant_post_static"]

_Generator = Callable[[], Iterable[Any]]
_T = TypeVar("_T")


def quant_post_static(
    executor: Any,
    model_dir: str,
    quantize_model_path: str,
    batch_generator: Optional[_Generator] = None,
    sample_generator: Optional[_Generator] = None,
    data_loader: Any = None,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
    save_model_filename: Optional[str] = "model.pdmodel",
    save_params_filename: Optional[str] = "model.pdiparams",
    batch_size: int = 1,
    batch_nums: Optional[int] = None,
    scope: Any = None,
    algo: PostTrainingAlgo = "hist",
    round_type: str = "round",
    hist_percent: float = 0.9999,
    bias_correction: bool = False,
    quantizable_op_type: Sequence[str] = DEFAULT_OP_TYPES,
    is_full_quantize: bool = False,
    weight_bits: int = 8,
    activation_bits: int = 8,
    activation_quantize_type: str = "range_abs_max",
    weight_quantize_type: str = "channel_wise_abs_max",
    optimize_model: bool = False,
    onnx_format: bool = True,
    skip_tensor_list: Optional[Sequence[Any]] = None,
    deploy_backend: Optional[str] = None,
    activation_scheme: str = "auto",
    equalize: bool = False,
    accuracy_drop: Optional[float] = None,
    eval_function: Optional[EvalFunction] = None,
    time_budget: Optional[float] = None,
    max_memory: Optional[int] = None,
    save_onnx: bool = False,
) -> QuantizationReport:
    """Quantize a saved inference model with the statistics of a few batches; nothing is trained.

    In several processes (``python -m paddle.distributed.launch``, ``paddle.distributed.init_parallel_env()``
    before ``paddle.enable_static()``) every rank makes this call with the same data; docs/
    post_training_quantization.md says how it is shared. Examples are in the module's docstring.

    Parameters
    ----------
    executor : paddle.static.Executor
        Its place is where the float model runs. None will do for an ONNX file, which the engine runs.
    model_dir, model_filename, params_filename : str
        What ``save_inference_model`` or ``jit.save`` wrote; ``find_model_files`` says how files are found.
        Or the path of a float ONNX file, which needs no Paddle.
    quantize_model_path, save_model_filename, save_params_filename : str
        Output directory and file names. Written whole or not at all, in the form of the source (of an ONNX
        file one with QuantizeLinear and DequantizeLinear), with a ``.qslim`` file beside it, which
        ``qslim.runtime.Session`` runs in int8.
    sample_generator, batch_generator, data_loader
        One of them; ``calibration_batches`` says what they may be.
    scope : ignored
        The model is loaded into a scope of its own; yours is left alone.
    batch_size, batch_nums, algo, ..., equalize, max_memory : see ``PostTrainingOptions``
    accuracy_drop, eval_function, time_budget : see ``SearchOptions``
    save_onnx : bool, default=False
        Also write the model as ONNX, with QuantizeLinear and DequantizeLinear, which ONNX Runtime and
        OpenVINO run in int8. Needs the package ``onnx``.

    Returns
    -------
    QuantizationReport
        ``print`` it for the table of operators; PaddleSlim returned None.

    Raises
    ------
    ModelFileError, UnsupportedModelError : both are ValueErrors.
    ValueError : an option or the calibration data; nothing is written then. What one rank raises ends all.
        `eval_function` raised or returned no number: what was written before is kept, with a journal.
    """
    return _quantize(dict(locals()), time.monotonic())


quant_post = quant_post_static


_WHAT = "quant_post_static"


def _quantize(given: Mapping[str, Any], began: float) -> QuantizationReport:
    """Do what ``quant_post_static`` does with the arguments `given`, called at `began`."""
    with distributed.together(_WHAT):
        options, search = _options(PostTrainingOptions, given), _options(SearchOptions, given)
        path = output_path(given["quantize_model_path"], "quantize_model_path")
        names = (given["save_model_filename"], given["save_params_filename"])
        target = Target(path, *names, given["save_onnx"])
        check_search(search)
        program = load_float_model(
            given["executor"], given["model_dir"], given["model_filename"], given["params_filename"]
        )
        selection = select_operators(program, options)
        batches = calibration_batches(
            program.feeds,
            sample_generator=given["sample_generator"],
            batch_generator=given["batch_generator"],
            data_loader=given["data_loader"],
            batch_size=options.batch_size,
            batch_nums=options.batch_nums,
        )
    total = expected_batches(given["data_loader"], options.batch_nums)
    if search.accuracy_drop is not None:
        report = quantize_mixed(program, selection, batches, total, options, search, target, began)
    else:
        calibration = calibrate(program, selection, batches, total, options)
        report = _finish(program, selection, calibration, options, target)
    if distributed.rank() == 0:
        logger.info("%s", report.written)
    return report


def _options(cls: type[_T], arguments: Mapping[str, Any]) -> _T:
    """Return a `cls`, a dataclass, of the arguments of ``quant_post_static``, which have the same names."""
    return cls(**{field.name: arguments[field.name] for field in fields(cls)})  # type: ignore[arg-type]


def load_float_model(
    executor: Any, model_dir: str, model_filename: Optional[str], params_filename: Optional[str]
) -> SourceModel:
    """Load the float model that `executor` is to run, its computed weights folded."""
    distributed.warn_if_not_initialized(_WHAT)
    place = None if is_onnx(model_dir, model_filename) else _place(executor)
    return load_source(find_source(model_dir, model_filename, params_filename), place)


def _finish(
    program: SourceModel,
    selection: Selection,
    calibration: Calibration,
    options: PostTrainingOptions,
    target: Target,
) -> QuantizationReport:
    """Quantize the program's Graph, write it on rank 0 and report it on every rank."""
    with distributed.together(_WHAT) as exchange:
        folded = fold_batch_norm(program.graph) if options.optimize_model else []
        activations, weights = quantize_graph(program, selection, calibration, options, folded)
        if distributed.rank() == 0:
            exchange.own = write_program(program, target, options, folded).to_json()
    written = Written.from_json(exchange.all[0])
    return report_of(
        program, options, calibration, selection.decisions, activations, weights, len(folded), written
    )


def _place(executor: Any) -> Any:
    if executor is None or not hasattr(executor, "place"):
        raise ValueError(f"executor: expected a paddle.static.Executor, got {type(executor).__name__}")
    return executor.place
