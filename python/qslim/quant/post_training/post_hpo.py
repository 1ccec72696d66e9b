# SPDX-License-Identifier: Apache-2.0
"""Search of the options of static post-training quantization, under PaddleSlim's name.

Each setting is judged in the engine; nothing is written but the best so far. The data is read once for each
number of batches, and all settings share its statistics. PaddleSlim searches with the package smac; here
settings are drawn from the same space with a fixed seed, none twice.

Source: paddleslim 2.6.0, quant/post_quant_hpo.py (signature, defaults, space, objective with a metric).

Examples
--------
>>> import os, tempfile
>>> import numpy as np
>>> import paddle
>>> import qslim as slim
>>> work, place = tempfile.mkdtemp(), paddle.CPUPlace()
>>> net = paddle.nn.Sequential(paddle.nn.Linear(8, 16), paddle.nn.ReLU(), paddle.nn.Linear(16, 4))
>>> feed = paddle.static.InputSpec([None, 8], "float32", "x")
>>> paddle.jit.save(net, os.path.join(work, "fp32"), input_spec=[feed])
>>> report = slim.quant.quant_post_hpo(
...     paddle.static.Executor(place), place, work, os.path.join(work, "int8"),
...     train_dataloader=[np.random.rand(4, 8).astype("float32")], batch_num=1, runcount_limit=4,
... )
>>> report.notes[-1].startswith("the best of 4 settings")
True
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional, Union

from qslim.files.staging import output_path
from qslim.logger import logger
from qslim.quant import distributed
from qslim.quant.analysis.quantization import KeptSamples, Quantization, quantize_calibrated
from qslim.quant.mixed_precision.judges import Agreement, EvalFunction, Judge, UserMetric, takes_program
from qslim.quant.mixed_precision.network import Network
from qslim.quant.options import PostTrainingOptions, check_int
from qslim.quant.post_training.calibration import Calibration
from qslim.quant.post_training.data_source import Feed, calibration_batches, expected_batches
from qslim.quant.post_training.operator_selection import Selection
from qslim.quant.post_training.post_static import load_float_model
from qslim.quant.post_training.post_training_report import QuantizationReport
from qslim.quant.post_training.quantize_graph import calibrate, select_operators
from qslim.quant.post_training.write_quantized import Target, Written, report_of
from qslim.quant.source_models import SourceModel

__all__ = ["quant_post_hpo"]

_SEED = 42
# Samples that settings are judged on: so many, or so many bytes.
_MOST_SAMPLES, _MOST_BYTES = 200, 64 << 20
# PaddleSlim's default, with its comma, means this name.
_COMMA_NAME = "model,pdmodel"


def quant_post_hpo(
    executor: Any,
    place: Any,
    model_dir: str,
    quantize_model_path: str,
    train_sample_generator: Optional[Callable[[], Any]] = None,
    eval_sample_generator: Optional[Callable[[], Any]] = None,
    train_dataloader: Any = None,
    eval_dataloader: Any = None,
    eval_function: Optional[EvalFunction] = None,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
    save_model_filename: str = _COMMA_NAME,
    save_params_filename: str = "model.pdiparams",
    scope: Any = None,
    quantizable_op_type: Sequence[str] = ("conv2d", "depthwise_conv2d", "mul"),
    is_full_quantize: bool = False,
    weight_bits: int = 8,
    activation_bits: int = 8,
    weight_quantize_type: Union[str, Sequence[str]] = ("channel_wise_abs_max",),
    algo: Union[str, Sequence[str]] = ("KL", "hist", "avg", "mse"),
    bias_correct: Union[bool, Sequence[bool]] = (True, False),
    hist_percent: Union[float, Sequence[float]] = (0.98, 0.999),
    batch_size: Union[int, Sequence[int]] = (10, 30),
    batch_num: Union[int, Sequence[int]] = (10, 30),
    optimize_model: bool = False,
    onnx_format: bool = True,
    is_use_cache_file: bool = False,
    cache_dir: str = "./temp_post_training",
    runcount_limit: int = 30,
) -> QuantizationReport:
    """Try options of ``quant_post_static`` and write the best model; see the module's docstring.

    Parameters
    ----------
    executor, model_dir, ..., onnx_format : as for ``quant_post_static``
    train_sample_generator, train_dataloader : one of them
        Calibration data; if it can be read once only, `batch_num` is its largest value.
    eval_sample_generator, eval_dataloader : optional
        Data to judge on, where there is no `eval_function`; by default the calibration data.
    eval_function : callable, optional
        Of (executor, program, feed names, fetch targets), or of a network as for ``quant_post_static``. The
        setting with the least ``|float - quantized| / |float|`` wins; without it that with the least error of
        the outputs.
    weight_quantize_type, algo, bias_correct : one value or several
    hist_percent : one number, or two that "hist" takes numbers between
    batch_size, batch_num : one number, or two, both of which are tried; `batch_size` is that of samples
    runcount_limit : int
        At most so many settings.
    place, scope, is_use_cache_file, cache_dir : ignored

    Returns
    -------
    QuantizationReport
        Its notes have the setting; PaddleSlim returned None.

    Raises
    ------
    ValueError : as ``quant_post_static``; `eval_function` raised or returned no number.
    """
    return _search(dict(locals()))


@dataclass(frozen=True)
class _Setting:
    """Options that are judged together."""

    algo: str
    bias_correct: bool
    weight_quantize_type: str
    hist_percent: float
    batch_size: int
    batch_num: int

    def __str__(self) -> str:
        words = [f"algo={self.algo!r}", f"bias_correct={self.bias_correct}", self.weight_quantize_type]
        if self.algo == "hist":
            words.insert(1, f"hist_percent={self.hist_percent:.4f}")
        return ", ".join([*words, f"batch_num={self.batch_num}"])


def _search(given: Mapping[str, Any]) -> QuantizationReport:
    """Do what ``quant_post_hpo`` does with the arguments `given`."""
    if distributed.world_size() > 1:
        raise ValueError(
            f"quant_post_hpo: searches in one process, and this is one of {distributed.world_size()}; "
            "call it in a single process, then quant_post_static in several with what it has found"
        )
    check_int("runcount_limit", given["runcount_limit"], 1)
    if given["eval_function"] is not None:
        takes_program(given["eval_function"])
    settings = list(_settings(given))
    for setting in settings:
        _options(given, setting)  # a wrong name is found before any work
    program = load_float_model(*(given[name] for name in _LOADED))
    model_filename = given["save_model_filename"]
    target = Target(
        output_path(given["quantize_model_path"], "quantize_model_path"),
        "model.pdmodel" if model_filename == _COMMA_NAME else model_filename,
        given["save_params_filename"],
    )
    trials = _Trials(program, given, settings)
    best: Optional[tuple[float, Quantization, _Setting, Written]] = None
    for setting in settings:
        quantization = trials.quantization(setting)
        loss = trials.loss(quantization, setting)
        logger.info("%s: loss %.6g", setting, loss)
        if best is None or loss < best[0]:
            layers = quantization.layers
            files, engine, _ = quantization.write(
                layers, target.directory, target.model_filename, target.own_params_filename
            )
            best = (loss, quantization, setting, Written.of(files, engine, target))
    assert best is not None
    loss, quantization, setting, written = best
    report = report_of(
        program,
        _options(given, setting),
        quantization.calibration,
        quantization.decisions,
        quantization.activations,
        quantization.weights,
        quantization.folded,
        written,
    )
    note = f"the best of {len(settings)} settings, with a loss of {loss:.6g} ({trials.measure}): {setting}"
    report = replace(report, notes=[*report.notes, note])
    logger.info("%s", report.summary)
    return report


_LOADED = ("executor", "model_dir", "model_filename", "params_filename")
_KEPT_OPTIONS = (
    "quantizable_op_type",
    "is_full_quantize",
    "weight_bits",
    "activation_bits",
    "optimize_model",
    "onnx_format",
)


def _options(given: Mapping[str, Any], setting: _Setting) -> PostTrainingOptions:
    return PostTrainingOptions(
        algo=setting.algo,  # type: ignore[arg-type]
        bias_correction=setting.bias_correct,
        weight_quantize_type=setting.weight_quantize_type,
        hist_percent=setting.hist_percent,
        batch_size=setting.batch_size,
        batch_nums=setting.batch_num,
        **{name: given[name] for name in _KEPT_OPTIONS},
    )


def _settings(given: Mapping[str, Any]) -> Iterator[_Setting]:
    """Yield settings to try, first PaddleSlim's default, the first value of each; none twice."""
    values = {
        name: _several(name, given[name])
        for name in (
            "algo",
            "bias_correct",
            "weight_quantize_type",
            "hist_percent",
            "batch_size",
            "batch_num",
        )
    }
    if given["train_sample_generator"] is None:
        values["batch_size"] = values["batch_size"][:1]  # the loader's batches are what they are
    source = given["train_dataloader"]
    if source is not None and hasattr(source, "__next__"):
        values["batch_num"] = [max(values["batch_num"])]
    rng = random.Random(_SEED)
    seen = set()
    drawn = {name: each[0] for name, each in values.items()}
    for _ in range(100 * given["runcount_limit"]):
        if drawn["algo"] != "hist":
            drawn["hist_percent"] = values["hist_percent"][-1]  # what it does not use
        setting = _Setting(**drawn)
        if setting not in seen:
            seen.add(setting)
            yield setting
        if len(seen) == given["runcount_limit"]:
            return
        drawn = {name: rng.choice(each) for name, each in values.items()}
        low, high = values["hist_percent"][0], values["hist_percent"][-1]
        drawn["hist_percent"] = rng.uniform(low, high)


def _several(name: str, value: Any) -> list[Any]:
    """Return the values of an argument that may be one value or several."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise ValueError(f"{name}: expected one value or several, got none")
    return values


class _Trials:
    """Quantizations of one network with several settings, and what they are judged by."""

    def __init__(self, program: SourceModel, given: Mapping[str, Any], settings: Sequence[_Setting]) -> None:
        self._program, self._given, self._settings = program, given, settings
        self._graph = program.graph.copy()
        self._calibrations: dict[tuple[int, int], tuple[Selection, Calibration, list[Feed]]] = {}
        self._judge: Optional[Judge] = None
        self._float_metric = 0.0

    @property
    def measure(self) -> str:
        has_metric = self._given["eval_function"] is not None
        return "|float - quantized| / |float|" if has_metric else "error of the outputs, |dy|^2 / |y|^2"

    def quantization(self, setting: _Setting) -> Quantization:
        """Return the network quantized with `setting`."""
        options = _options(self._given, setting)
        selection, calibration, samples = self._calibrated(setting)
        if not options.corrects_biases:
            calibration = replace(calibration, layers=[])
        self._program.graph = self._graph.copy()
        return quantize_calibrated(self._program, selection, calibration, options, samples)

    def loss(self, quantization: Quantization, setting: _Setting) -> float:
        """Return what the quantized network loses against the float one."""
        metric = self._given["eval_function"] is not None
        if self._judge is None:
            self._judge = (
                UserMetric(self._given["eval_function"])
                if metric
                else Agreement(quantization, by_class=False)
            )
            if metric:
                names = [layer.name for layer in quantization.layers]
                self._float_metric = self._judge.of(Network(quantization, names), "the float model")
        found = self._judge.of(Network(quantization, ()), str(setting))
        if not metric:
            return 1.0 - found / 100.0
        return abs(self._float_metric - found) / (abs(self._float_metric) or 1.0)

    def _calibrated(self, setting: _Setting) -> tuple[Selection, Calibration, list[Feed]]:
        """Return the statistics for the numbers of `setting`, and the samples that are judged on."""
        key = (setting.batch_size, setting.batch_num)
        if key not in self._calibrations:
            every = [each for each in self._settings if (each.batch_size, each.batch_num) == key]
            options = [_options(self._given, each) for each in every]
            widest = next((each for each in options if each.corrects_biases), options[0])
            self._program.graph = self._graph.copy()
            selection = select_operators(self._program, widest)
            kept = KeptSamples(self._program, _MOST_SAMPLES, _MOST_BYTES)
            batches = kept.of(self._batches("train", setting))
            total = expected_batches(self._given["train_dataloader"], setting.batch_num)
            calibration = calibrate(self._program, selection, batches, total, widest)
            self._calibrations[key] = (selection, calibration, self._judged(kept.samples, setting))
        return self._calibrations[key]

    def _judged(self, samples: list[Feed], setting: _Setting) -> list[Feed]:
        """Return the samples of the data that was given to judge on, `samples` if none was."""
        given = self._given
        if given["eval_function"] is not None or (
            given["eval_dataloader"] is None and given["eval_sample_generator"] is None
        ):
            return samples
        kept = KeptSamples(self._program, _MOST_SAMPLES, _MOST_BYTES)
        for _ in kept.of(self._batches("eval", replace(setting, batch_num=_MOST_SAMPLES))):
            pass
        return kept.samples

    def _batches(self, part: str, setting: _Setting) -> Iterator[Feed]:
        return calibration_batches(
            self._program.feeds,
            sample_generator=self._given[f"{part}_sample_generator"],
            data_loader=self._given[f"{part}_dataloader"],
            batch_size=setting.batch_size,
            batch_nums=setting.batch_num,
        )
