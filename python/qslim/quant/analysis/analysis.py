# SPDX-License-Identifier: Apache-2.0
"""Find the layers that quantization harms, and the fewest of them to leave in fp32.

Two passes over some data replace PaddleSlim's one evaluation for each layer: calibration, which keeps its
first samples, and the measurement of every layer alone on these (``layer_errors``, ``output_errors``). An
`eval_function` sees the layers at the top of the ranking only, unless it shall see all.

Source: paddleslim 2.6.0, quant/analysis.py (arguments, methods, files); 2.4, quant/analysis_ptq.py and
analysis_qat.py.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from qslim.files.pickled import load_pickled
from qslim.files.staging import output_path, staged_directory, staged_file
from qslim.importers.paddle import ModelFiles, find_model_files
from qslim.logger import logger
from qslim.quant.analysis.analysis_report import AnalysisReport, LayerReport, TargetModel, write_report
from qslim.quant.analysis.layer_errors import layer_errors
from qslim.quant.analysis.layers import Layer
from qslim.quant.analysis.metrics import ProgramMetric, checked_metric, fewest, is_number, program_metric
from qslim.quant.analysis.output_errors import OutputErrors
from qslim.quant.analysis.quantization import Quantization, options_of, quantization_of_model, quantize
from qslim.quant.analysis.tensor_statistics import TensorRow, tensor_rows
from qslim.quant.options import check_int
from qslim.quant.source_models import find_source

__all__ = ["Analysis"]

CHECKPOINT = "analysis_checkpoint.pkl"
# Layers with so large a share and own error stay in fp32 in any case, for little is left of them. Others do
# if the outputs' error is large: so many that it falls to a part, of those that lower it noticeably.
_LARGE_SHARE, _LARGE_OWN_ERROR, _LARGE_OUTPUT_ERROR = 0.1, 5e-2, 1e-3
_MENDED, _NOTICED, _MOST_SKIPPED = 0.25, 0.75, 16


class Analysis:
    """Rank the layers of a network by the harm that their quantization does.

    Parameters
    ----------
    float_model_dir : str
        Directory of a float inference model.
    quant_model_dir : str, optional
        A quantized model of the same network, whose quantization is analysed; by default the one that
        ``quant_post_static`` computes with `quant_config`.
    model_filename, params_filename : str, optional
        As for ``quant_post_static``; in both directories.
    data_loader : iterable, or function that returns one
        Batches, as for ``quant_post_static``. They are read once.
    eval_function : function of (executor, program, feed names, fetch targets), optional
        Returns the metric of a program; larger is better.
    resume : bool, default=False
        Go on from ``analysis_checkpoint.pkl`` in `save_dir`, with the metrics that are there.
    save_dir : str, default="analysis_results"
    quant_config : dict, optional
        Arguments of ``quant_post_static`` by name: ``algo``, ``batch_nums``, ``quantizable_op_type``, ...

    Attributes
    ----------
    layer_metrics : dict of layer name to its sensitivity
        With `eval_function` what the metric loses if this layer alone is quantized (of a `quant_model_dir`:
        what it gains if this layer alone is not), for the layers that were evaluated; otherwise
        the layer's share of the errors, as ``LayerReport`` says.
    sensitivity_ranklist : list of str, the most harmful layer first
    base_metric, quant_metric : float or None
        Of the float model and with every layer quantized.

    Raises
    ------
    ValueError : an unknown option; a model that cannot be found; `save_dir` cannot be written to.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import paddle
    >>> from qslim.quant.analysis import Analysis
    >>> work = tempfile.mkdtemp()
    >>> net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 4, 3))
    >>> image = paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")
    >>> paddle.jit.save(net, os.path.join(work, "fp32"), input_spec=[image])
    >>> batches = [np.random.rand(4, 3, 16, 16).astype("float32")]
    >>> analysis = Analysis(work, data_loader=batches, save_dir=os.path.join(work, "analysis"))
    >>> report = analysis.analysis()
    >>> len(analysis.sensitivity_ranklist), report.layers[0].output_error < 1e-3
    (2, True)
    >>> sorted(os.listdir(os.path.join(work, "analysis")))
    ['analysis.csv', 'analysis.html', 'analysis.json', 'analysis.txt', 'statistic.csv']
    """

    def __init__(
        self,
        float_model_dir: str,
        quant_model_dir: Optional[str] = None,
        model_filename: Optional[str] = None,
        params_filename: Optional[str] = None,
        data_loader: Any = None,
        eval_function: Optional[ProgramMetric] = None,
        resume: bool = False,
        save_dir: str = "analysis_results",
        quant_config: Optional[Mapping[str, Any]] = None,
    ) -> None:
        if eval_function is not None and not callable(eval_function):
            raise ValueError(f"eval_function: expected a function or None, got {eval_function!r}")
        self._options = options_of(quant_config)
        self._files = find_source(float_model_dir, model_filename, params_filename)
        self._quantized_files: Optional[ModelFiles] = None
        if quant_model_dir is not None:
            self._quantized_files = find_model_files(quant_model_dir, model_filename, params_filename)
        self.data_loader = data_loader
        self.eval_function = eval_function
        self.save_dir = output_path(save_dir, "save_dir")
        self.checkpoint_name = os.path.join(self.save_dir, CHECKPOINT)
        with staged_directory(self.save_dir):  # it can be written to, which is known before hours of work
            pass
        self.base_metric: Optional[float] = None
        self.quant_metric: Optional[float] = None
        self.layer_metrics: dict[str, float] = {}
        self._evaluated: dict[str, float] = {}
        self.sensitivity_ranklist: list[str] = []
        self._found: Optional[Quantization] = None
        self._report: Optional[AnalysisReport] = None
        self._rows: list[TensorRow] = []
        if resume:
            self.load_checkpoint()

    @property
    def _removes_layers(self) -> bool:
        """True if a layer is judged by leaving it in float, False if by quantizing it alone."""
        return self._quantized_files is not None

    def analysis(self) -> AnalysisReport:
        """Measure everything and write all files; see `metric_error_analyse` and `statistical_analyse`."""
        self.statistical_analyse()
        return self.metric_error_analyse()

    def statistical_analyse(self, analysis_axis: Optional[int] = None) -> None:
        """Write ``statistic.csv``: range, mean and deviation of each quantized tensor, and of it in float.

        With `analysis_axis` those of the largest magnitude in each slice along that axis.
        """
        self._rows = tensor_rows(self._quantization(), analysis_axis)
        self._write()

    def metric_error_analyse(self, num_evaluated: Optional[int] = 8) -> AnalysisReport:
        """Rank the layers and write ``analysis.txt``, ``.csv``, ``.json`` and ``.html``.

        Parameters
        ----------
        num_evaluated : int, optional
            With an `eval_function`: so many layers, those with the largest errors, are evaluated. None: all.

        Returns
        -------
        AnalysisReport
            ``print`` it for the table.

        Raises
        ------
        ValueError : no data; `eval_function` raised or returned no number. Metrics so far are kept in
            ``analysis_checkpoint.pkl``.
        """
        if num_evaluated is not None:
            check_int("num_evaluated", num_evaluated, 0)
        quantization = self._quantization()
        own = layer_errors(quantization)
        outputs = OutputErrors(quantization)
        layers = sorted(quantization.layers, key=lambda layer: own[layer.name].both, reverse=True)
        reports = []
        for number, layer in enumerate(layers):
            is_measured = number < outputs.most_layers
            reports.append(LayerReport(layer, own[layer.name], outputs.of([layer]) if is_measured else None))
        _set_shares(reports)
        self.layer_metrics = {each.name: each.share for each in reports}
        self._report = self._ranked(reports, outputs)
        self._write()  # an eval_function may raise
        if self.eval_function is not None:
            self._evaluate_layers(reports, len(reports) if num_evaluated is None else num_evaluated)
            self._report = self._ranked(reports, outputs)
            self._write()
        logger.info("%s", self._report.summary)
        return self._report

    def _ranked(self, reports: list[LayerReport], outputs: OutputErrors) -> AnalysisReport:
        """Sort `reports` and return the report of them."""
        reports.sort(key=lambda each: each.rank_key, reverse=True)
        self.sensitivity_ranklist = [each.name for each in reports]
        quantization = self._quantization()
        error = outputs.of(quantization.layers)
        skipped, error_without = _mend(reports, outputs, error)
        return AnalysisReport(
            reports,
            skipped,
            error,
            error_without,
            self.base_metric,
            self.quant_metric,
            quantization.calibration.batches,
            quantization.calibration.samples,
        )

    def get_target_quant_model(self, target_metric: float) -> TargetModel:
        """Leave the fewest of the most harmful layers in fp32 that let the metric reach `target_metric`.

        The metric counts as growing with each layer: after 0, 1, 2, 4, ... layers the number is bisected.
        The model is written to ``save_dir/target_quant_model``; where no number reaches the target, the best
        that was found.

        Returns
        -------
        TargetModel : its files, metric and skip_tensor_list, and whether the target is reached.

        Raises
        ------
        ValueError : there is no `eval_function`, or it raised or returned no number.
        """
        if self.eval_function is None:
            raise ValueError("get_target_quant_model: needs an eval_function, which measures the target")
        if not is_number(target_metric):
            raise ValueError(f"target_metric: expected a number, got {target_metric!r}")
        if self._report is None:
            self.metric_error_analyse()
        assert self._report is not None
        ranked = [each.layer for each in self._report.layers]
        metrics: dict[int, float] = {}
        if self.quant_metric is not None and not self._removes_layers:
            metrics[0] = self.quant_metric

        def reaches(count: int) -> bool:
            if count not in metrics:
                metrics[count] = self._metric_of(ranked[count:], f"the first {count} layers in fp32")
                logger.info("%d of %d layers in fp32: metric %g", count, len(ranked), metrics[count])
            return metrics[count] >= target_metric

        best = fewest(len(ranked), reaches)
        is_reached = best is not None
        if best is None:
            best = max(metrics, key=lambda count: (metrics[count], -count))
        directory = os.path.join(self.save_dir, "target_quant_model")
        files, _, _ = self._quantization().write(ranked[best:], directory)
        target = TargetModel(
            files, [layer.name for layer in ranked[:best]], metrics[best], float(target_metric), is_reached
        )
        logger.info("%s", target)
        return target

    def save_checkpoint(self) -> None:
        """Write the sensitivities that `eval_function` gave to ``analysis_checkpoint.pkl`` in `save_dir`."""
        with staged_file(self.checkpoint_name) as path, open(path, "wb") as file:
            pickle.dump(self._evaluated, file, protocol=2)

    def load_checkpoint(self) -> bool:
        """Read ``analysis_checkpoint.pkl``, if it is there; its layers are not evaluated again.

        Raises
        ------
        ValueError : the file is no dict of layers to numbers.
        """
        if not os.path.exists(self.checkpoint_name):
            return False
        try:
            loaded = load_pickled(self.checkpoint_name)
            self._evaluated = {str(name): float(metric) for name, metric in loaded.items()}
        except Exception as error:  # unpickling damaged bytes raises almost anything
            raise ValueError(f"{self.checkpoint_name!r} is no checkpoint of an analysis: {error}") from error
        self.layer_metrics = dict(self._evaluated)
        return True

    def _quantization(self) -> Quantization:
        if self._found is None:
            options = self._options
            self._found = (
                quantize(self._files, self.data_loader, options)
                if self._quantized_files is None
                else quantization_of_model(
                    self._files,
                    self._quantized_files,
                    self.data_loader,
                    options.quantizable_op_type,
                    options.batch_nums,
                )
            )
        return self._found

    def _evaluate_layers(self, reports: Sequence[LayerReport], count: int) -> None:
        """Set the sensitivities of the first `count` layers and of those that a checkpoint has."""
        every = [each.layer for each in reports]
        if self.base_metric is None:
            self.base_metric = self._metric_of_files(self._files, "the float model")
        if self.quant_metric is None:
            what = "every layer quantized"
            self.quant_metric = (
                self._metric_of(every, what)
                if self._quantized_files is None
                else self._metric_of_files(self._quantized_files, what)
            )
        for number, each in enumerate(reports):
            if each.name not in self._evaluated and number < count:
                if self._removes_layers:
                    others = [layer for layer in every if layer is not each.layer]
                    metric = self._metric_of(others, f"layer {each.name!r} in fp32")
                    self._evaluated[each.name] = metric - self.quant_metric
                else:
                    metric = self._metric_of([each.layer], f"layer {each.name!r} alone quantized")
                    self._evaluated[each.name] = self.base_metric - metric
                self.save_checkpoint()
                logger.info("layer %r: sensitivity %g", each.name, self._evaluated[each.name])
            each.sensitivity = self._evaluated.get(each.name)
        self.layer_metrics = {each.name: each.sensitivity for each in reports if each.sensitivity is not None}

    def _metric_of(self, layers: Sequence[Layer], what: str) -> float:
        """Return the metric with `layers` quantized."""
        with tempfile.TemporaryDirectory(prefix="qslim-") as directory:
            return self._metric_of_files(self._quantization().write(layers, directory)[0], what)

    def _metric_of_files(self, files: ModelFiles, what: str) -> float:
        assert self.eval_function is not None
        kept = "" if not self._evaluated else f"; {self.checkpoint_name!r} keeps what was measured before"
        return checked_metric(lambda: program_metric(self.eval_function, files), what, kept)

    def _metrics(self) -> dict[str, float]:
        """Return `layer_metrics` in the order of the ranking."""
        names = [name for name in self.sensitivity_ranklist if name in self.layer_metrics]
        return {name: self.layer_metrics[name] for name in names}

    def _write(self) -> None:
        """Write the files of what is known so far, all of them or none."""
        with staged_directory(self.save_dir) as directory:
            write_report(directory, self._quantization(), self._report, self._metrics(), self._rows)


def _set_shares(reports: Sequence[LayerReport]) -> None:
    """Set each layer's share of the sums of all own errors and of all output errors."""
    own = sum(each.own.both for each in reports)
    output = sum(each.output_error or 0.0 for each in reports)
    for each in reports:
        shares = [each.own.both / own] if own > 0 else [0.0]
        if output > 0:
            shares.append((each.output_error or 0.0) / output)
        each.share = sum(shares) / len(shares)


def _mend(
    reports: Sequence[LayerReport], outputs: OutputErrors, error: Optional[float]
) -> tuple[list[str], Optional[float]]:
    """Return names of layers that mend the network in fp32, and the error of its outputs then.

    They are the layers of which little is left and, where that is not enough, the first of the ranking.
    """
    best = [each for each in reports if each.share >= _LARGE_SHARE and each.own.both >= _LARGE_OWN_ERROR]

    def error_without(skipped: Sequence[LayerReport]) -> Optional[float]:
        return outputs.of([each.layer for each in reports if each not in skipped])

    least = error_without(best) if best else error
    if error is not None and least is not None and error >= _LARGE_OUTPUT_ERROR:
        count = 1
        while least > _MENDED * error and count <= min(_MOST_SKIPPED, len(reports) // 2):
            tried = [each for index, each in enumerate(reports) if index < count or each in best]
            found = error_without(tried)
            if found is not None and found < min(least, _NOTICED * error):
                best, least = tried, found
            count *= 2
    return [each.name for each in best], least if best else None
