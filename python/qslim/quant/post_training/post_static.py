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
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Callable, Optional

from qslim.exporters.paddle import export_with_engine_file
from qslim.files.staging import output_path
from qslim.graph.passes import FoldedBatchNorm, fold_batch_norm
from qslim.importers.paddle import (
    ModelFiles,
    PaddleProgram,
    find_model_files,
    fold_weights,
    load_float_program,
)
from qslim.logger import logger
from qslim.quant import distributed
from qslim.quant.op_types import DEFAULT_OP_TYPES
from qslim.quant.options import PostTrainingAlgo, PostTrainingOptions
from qslim.quant.post_training.calibration import Calibration
from qslim.quant.post_training.data_source import calibration_batches, expected_batches
from qslim.quant.post_training.operator_selection import Selection
from qslim.quant.post_training.post_training_report import (
    ActivationReport,
    QuantizationReport,
    WeightReport,
    operator_reports,
)
from qslim.quant.post_training.quantize_graph import calibrate, quantize_graph, select_operators

__all__ = ["quant_post", "quant_post_static"]

_Generator = Callable[[], Iterable[Any]]


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
) -> QuantizationReport:
    """Quantize a saved inference model with the statistics of a few batches; nothing is trained.

    In several processes (``python -m paddle.distributed.launch``, ``paddle.distributed.init_parallel_env()``
    before ``paddle.enable_static()``) every rank makes this call with the same data; docs/
    post_training_quantization.md says how it is shared. Examples are in the module's docstring.

    Parameters
    ----------
    executor : paddle.static.Executor
        Its place is where the float model runs.
    model_dir, model_filename, params_filename : str
        What ``save_inference_model`` or ``jit.save`` wrote; ``find_model_files`` says how files are found.
    quantize_model_path, save_model_filename, save_params_filename : str
        Output directory and file names. Written whole or not at all, in the form of the source, with a
        ``.qslim`` file beside it, which ``qslim.runtime.Session`` runs in int8.
    sample_generator, batch_generator, data_loader
        One of them; ``calibration_batches`` says what they may be.
    scope : ignored
        The model is loaded into a scope of its own; yours is left alone.
    batch_size, batch_nums, algo, round_type, ..., equalize : see ``PostTrainingOptions``

    Returns
    -------
    QuantizationReport
        ``print`` it for the table of operators; PaddleSlim returned None.

    Raises
    ------
    ModelFileError, UnsupportedModelError : both are ValueErrors.
    ValueError : an option or the calibration data; nothing is written then. What one rank raises ends all.
    """
    options_given = dict(locals())
    with distributed.together(_WHAT):
        options = _options(options_given)
        path = output_path(quantize_model_path, "quantize_model_path")
        program = _load(executor, model_dir, model_filename, params_filename)
        selection = select_operators(program, options)
        batches = calibration_batches(
            program.feeds,
            sample_generator=sample_generator,
            batch_generator=batch_generator,
            data_loader=data_loader,
            batch_size=batch_size,
            batch_nums=batch_nums,
        )
    total = expected_batches(data_loader, batch_nums)
    calibration = calibrate(program, selection, batches, total, options)
    return _finish(
        program, selection, calibration, options, _Target(path, save_model_filename, save_params_filename)
    )


quant_post = quant_post_static


_WHAT = "quant_post_static"


@dataclass(frozen=True)
class _Target:
    """The directory to write to, and the user's names for the files."""

    directory: str
    model_filename: Optional[str]
    params_filename: Optional[str]


def _options(arguments: Mapping[str, Any]) -> PostTrainingOptions:
    """Return the options among the arguments of ``quant_post_static``, which have the same names."""
    return PostTrainingOptions(**{field.name: arguments[field.name] for field in fields(PostTrainingOptions)})


def _load(
    executor: Any, model_dir: str, model_filename: Optional[str], params_filename: Optional[str]
) -> PaddleProgram:
    """Load the float model, its computed weights folded."""
    distributed.warn_if_not_initialized(_WHAT)
    files = find_model_files(model_dir, model_filename, params_filename)
    program = load_float_program(files, _place(executor))
    fold_weights(program)
    return program


def _finish(
    program: PaddleProgram,
    selection: Selection,
    calibration: Calibration,
    options: PostTrainingOptions,
    target: _Target,
) -> QuantizationReport:
    """Quantize the program's Graph, write it on rank 0 and report it on every rank."""
    with distributed.together(_WHAT) as exchange:
        folded = fold_batch_norm(program.graph) if options.optimize_model else []
        activations, weights = quantize_graph(program, selection, calibration, options, folded)
        if distributed.rank() == 0:
            exchange.own = _write(program, target, options, folded).to_json()
    written = _Written.from_json(exchange.all[0])
    report = QuantizationReport(
        algo=options.algo,
        operators=operator_reports(selection.decisions, options.weight_bits),
        activations=activations,
        weights=weights,
        files=ModelFiles(written.program, written.params),
        bytes_before=program.files.bytes,
        bytes_after=written.size,
        batches=calibration.batches,
        samples=calibration.samples,
        notes=[
            *([f"{len(folded)} batch normalizations folded"] if folded else []),
            *_choices(activations, weights, options),
            *_constant_tensors(activations),
            *written.notes,
        ],
        engine_file=written.engine_file,
    )
    if distributed.rank() == 0:
        logger.info("%s", report.summary)
    return report


@dataclass(frozen=True)
class _Written:
    """The files that rank 0 wrote, for the report on every rank; they need not share a disk."""

    program: str
    params: Optional[str]
    size: int
    engine_file: Optional[str]
    notes: list[str]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> _Written:
        return cls(**json.loads(data))


def _write(
    program: PaddleProgram,
    target: _Target,
    options: PostTrainingOptions,
    folded: Sequence[FoldedBatchNorm],
) -> _Written:
    files, engine = export_with_engine_file(
        program,
        target.directory,
        program.graph,
        model_filename=target.model_filename,
        params_filename=None if target.params_filename == "model.pdiparams" else target.params_filename,
        weight_storage="int8" if options.onnx_format else "float32",
        folded=folded,
    )
    return _Written(files.program, files.params, files.bytes, engine.path, list(engine.notes))


def _place(executor: Any) -> Any:
    if executor is None or not hasattr(executor, "place"):
        raise ValueError(f"executor: expected a paddle.static.Executor, got {type(executor).__name__}")
    return executor.place


def _constant_tensors(activations: Sequence[ActivationReport]) -> list[str]:
    """Return a note for each tensor that never changed during calibration."""
    notes = []
    for activation in activations:
        statistics = activation.statistics
        if statistics.min == statistics.max:
            notes.append(
                f"tensor {activation.name!r} was {statistics.min:g} everywhere during calibration: its "
                f"threshold {activation.threshold:g} may clip what other data brings"
            )
    return notes


def _choices(
    activations: Sequence[ActivationReport], weights: Sequence[WeightReport], options: PostTrainingOptions
) -> list[str]:
    """Return notes on what was chosen for single tensors and layers."""
    notes = []
    affine = sum(report.params.zero_point > 0 for report in activations)
    if affine:
        notes.append(f"{affine} of {len(activations)} activations have a zero point")
    if options.algo == "auto":
        rules = Counter(report.rule for report in activations).most_common()
        notes.append("thresholds by " + ", ".join(f"{rule} ({count})" for rule, count in rules))
    methods = Counter(method for report in weights for method in report.methods)
    notes += [f"{count} of {len(weights)} layers {method}" for method, count in methods.items()]
    return notes
