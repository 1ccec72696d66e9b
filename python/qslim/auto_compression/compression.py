# SPDX-License-Identifier: Apache-2.0
"""AutoCompression: a saved inference model and a few lines of configuration in, a smaller model out.

Source: paddleslim 2.6.0, auto_compression/compressor.py (signature).
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict
from typing import Any, Callable, Optional

from qslim.auto_compression.distilled import DistilledTraining
from qslim.auto_compression.loading import export_onnx, wrap_dataloader
from qslim.auto_compression.plan import Strategy, read_plan
from qslim.auto_compression.report import CompressionReport, ModelState, StrategyReport
from qslim.auto_compression.strategies import ASPPrune, UnstructurePrune
from qslim.auto_compression.workspace import FINISHED, Workspace
from qslim.exporters.engine_file import EngineFile
from qslim.files.staging import output_path, staged_directory
from qslim.importers.paddle import load_program
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.model_files import ModelFiles, find_model_files
from qslim.quant import distributed
from qslim.quant.analysis.metrics import checked_metric, program_metric
from qslim.quant.options import choose
from qslim.quant.post_training.post_hpo import quant_post_hpo
from qslim.quant.post_training.post_recon import quant_recon_static
from qslim.quant.post_training.post_static import quant_post_static

__all__ = ["AutoCompression"]

# Of the metric: from origin_metric, and what post-training quantization may lose, as a share.
_FAR, _MOST_LOST = 0.05, 0.005
_HARDWARE = (None, "gpu", "cpu", "SD625", "SD710", "RK3288")


class AutoCompression:
    """Compress a saved model by the strategies of a configuration.

    Parameters
    ----------
    model_dir, model_filename, params_filename : str; ``find_model_files`` says how they are found
    train_dataloader : DataLoader, iterable, or a function that returns one
        Batches: dicts by feed name, or values in feed order. More than the model feeds (labels) is left out.
    save_dir : str, default='./output'
        Gets the model, under the name of the source, and a ``.qslim`` file; what else is there stays.
    config : dict, str, list of str or None
        Sections of strategies and ``TrainConfig``; a YAML file of them; names of sections. None chooses: the
        model is quantized after training, or trained on if that loses more than 0.5 % of the metric.
    eval_callback : callable, optional
        ``f(executor, program, feed names, fetch targets) -> float``, larger is better.
    eval_dataloader : data that HyperParameterOptimization judges on, where there is no ``eval_callback``
    deploy_hardware : accepted
    input_shapes : accepted; extents that are open stay open, as nothing here needs them fixed
    target_speedup : None; a speed is not searched for

    Raises
    ------
    ValueError : a bad configuration or model, ``save_dir`` is the model's own; nothing is written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, paddle
    >>> from qslim.auto_compression import AutoCompression
    >>> work = tempfile.mkdtemp()
    >>> net = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(12, 4))
    >>> image = paddle.static.InputSpec([None, 3, 2, 2], "float32", "image")
    >>> paddle.jit.save(net, os.path.join(work, "inference"), input_spec=[image])
    >>> batches = [{"image": np.random.rand(8, 3, 2, 2).astype("float32")} for _ in range(4)]
    >>> config = {"QuantAware": {}, "Distillation": {}, "TrainConfig": {"epochs": 2, "learning_rate": 0.01}}
    >>> compression = AutoCompression(work, batches, save_dir=os.path.join(work, "int8"), config=config)
    >>> report = compression.compress()
    >>> [(strategy.name, strategy.steps) for strategy in report.strategies]
    [('qat_dis', 8)]
    >>> sorted(os.listdir(os.path.join(work, "int8")))
    ['inference.json', 'inference.pdiparams', 'inference.qslim']
    """

    def __init__(
        self,
        model_dir: str,
        train_dataloader: Any,
        model_filename: Optional[str] = None,
        params_filename: Optional[str] = None,
        save_dir: str = "./output",
        config: Any = None,
        input_shapes: Any = None,
        target_speedup: Optional[float] = None,
        eval_callback: Optional[Callable[..., float]] = None,
        eval_dataloader: Any = None,
        deploy_hardware: Optional[str] = "gpu",
    ) -> None:
        self._eval_loader = eval_dataloader
        choose("AutoCompression: deploy_hardware", deploy_hardware, _HARDWARE)
        if target_speedup is not None:
            raise ValueError(
                "AutoCompression: target_speedup: expected None, no strategy is chosen by a speed; give the "
                f"strategies in config, such as ChannelPrune; got {target_speedup!r}"
            )
        if input_shapes is not None:
            logger.info("AutoCompression: input_shapes: the model's open extents stay open")
        if train_dataloader is None:
            raise ValueError("AutoCompression: train_dataloader is missing")
        self._files = find_model_files(model_dir, model_filename, params_filename)
        self._model = model_dir, model_filename, params_filename
        self.final_dir = output_path(save_dir, "save_dir").rstrip("/") or "/"
        source = os.path.dirname(self._files.program) or "."
        if os.path.realpath(source) == os.path.realpath(self.final_dir):
            raise ValueError(
                f"AutoCompression: save_dir: expected another directory than the model's, {source!r}: the "
                "result has the model's name and would take its place"
            )
        self._plan = read_plan(config)
        self._check_metrics(eval_callback)
        self._loader, self._evaluate = train_dataloader, eval_callback
        self.final_metric = -1.0

    def _check_metrics(self, eval_callback: Any) -> None:
        """Refuse a callback that is none; say which settings have no effect without one."""
        if eval_callback is not None and not callable(eval_callback):
            raise ValueError(f"AutoCompression: eval_callback: expected a function, got {eval_callback!r}")
        for key in ("origin_metric", "target_metric"):
            given = any(getattr(each.training, key) is not None for each in self._plan.strategies)
            if given and eval_callback is None:
                logger.warning("AutoCompression: TrainConfig.%s has no effect without eval_callback", key)

    def compress(self) -> CompressionReport:
        """Do what the configuration says and write the result to ``save_dir``, whole or not at all.

        A run that was stopped goes on when it is started again with the same model and configuration: after
        the last strategy that it finished, and in it after the last multiple of ``eval_iter`` steps. Until
        the end its work lies in ``<save_dir>/unfinished-...``.

        Returns
        -------
        CompressionReport
            ``final_metric`` is its last metric, -1.0 without ``eval_callback``.

        Raises
        ------
        ValueError : data that do not fit; a training that diverges; an evaluation of the model that is
            further from ``origin_metric`` than 0.05; ``eval_callback`` raised or returned no finite number.
            ``save_dir`` keeps what it had.
        """
        if distributed.world_size() > 1 and any(each.distillation for each in self._plan.strategies):
            raise ValueError(
                "AutoCompression: training runs in one process, and this is one of "
                f"{distributed.world_size()}; start the script without paddle.distributed.launch"
            )
        distributed.warn_if_not_initialized("AutoCompression")
        workspace = Workspace(self.final_dir, self._files, self._plan)
        with workspace.open():
            before = ModelState.of(self._files, self._metric_before(workspace))
            if self._plan.is_automatic:
                report = self._automatic(workspace, before)
            else:
                report = self._in_turn(workspace, before)
            workspace.clear()
        if report.metric is not None:
            self.final_metric = report.metric
            logger.info("==> The metric of final model is %.4f", self.final_metric)
        logger.info("%s", report)
        logger.info(
            "==> The ACT compression has been completed and the final model is saved in `%s`", self.final_dir
        )
        return report

    def export_onnx(self, model_name: str = "quant_model.onnx", deploy_backend: str = "tensorrt") -> None:
        """Write the compressed model as ``<save_dir>/ONNX/<model_name>``; see ``common.export_onnx``."""
        name = os.path.basename(self._files.program)
        path = os.path.join(self.final_dir, "ONNX", model_name)
        export_onnx(self.final_dir, name, save_file_path=path, deploy_backend=deploy_backend)

    def _place(self) -> Any:
        paddle = framework.paddle_module()
        return paddle.CUDAPlace(0) if paddle.device.get_device().startswith("gpu") else paddle.CPUPlace()

    def _metric_before(self, workspace: Workspace) -> Optional[float]:
        """Return the metric of the model that was given, and compare it with ``origin_metric``."""
        remembered = workspace.remembered
        metric = self._metric(self._files, "the model") if remembered is None else remembered["metric"]
        origin = self._plan.strategies[0].training.origin_metric
        if metric is not None and origin is not None and abs(metric - origin) > _FAR:
            raise ValueError(
                f"the metric of the model is {metric:.6g}, but TrainConfig.origin_metric is "
                f"{origin:.6g}; check the evaluation data, or correct origin_metric"
            )
        if remembered is None:
            workspace.remember(metric)
        return metric

    def _metric(self, files: ModelFiles, what: str) -> Optional[float]:
        if self._evaluate is None:
            return None
        measure = lambda: program_metric(self._evaluate, files, self._place())  # noqa: E731
        return checked_metric(measure, what, argument="eval_callback")

    def _in_turn(self, workspace: Workspace, before: ModelState) -> CompressionReport:
        """Run the strategies of the plan, each on the model of the one before it."""
        files, done, is_sparse = self._files, [], False
        strategies = self._plan.strategies
        engine = EngineFile()
        for number, strategy in enumerate(strategies):
            is_last = number + 1 == len(strategies)
            found = workspace.finished(number)
            if found is not None:
                files, report = found
            else:
                logger.info(
                    "AutoCompression: strategy %d of %d: %s", number + 1, len(strategies), strategy.name
                )
                files, engine, report = self._run(strategy, files, workspace, number, is_sparse, is_last)
            done.append(report)
            is_sparse |= isinstance(strategy.prune, (ASPPrune, UnstructurePrune))
        return self._report(before, done, files, engine, [])

    def _run(
        self,
        strategy: Strategy,
        files: ModelFiles,
        workspace: Workspace,
        number: int,
        is_sparse: bool,
        is_last: bool,
    ) -> tuple[ModelFiles, EngineFile, StrategyReport]:
        """Run one strategy; write its model to ``save_dir`` if it is the last one."""
        start = time.perf_counter()
        if strategy.post is not None:
            written, engine = self._quantize(strategy, files, self.final_dir)
            state = ModelState.of(written, self._metric(written, f"the model of {strategy.name}"))
            return written, engine, StrategyReport(strategy.name, 0, time.perf_counter() - start, state)
        training = DistilledTraining(files, self._files, strategy, self._place(), self._loader, is_sparse)
        training.run(self._evaluate, workspace.training_directory(number))
        stem = os.path.splitext(os.path.basename(self._files.program))[0]
        steps = training.steps

        def report_of(written: ModelFiles) -> StrategyReport:
            state = ModelState.of(written, training.metric)
            return StrategyReport(strategy.name, steps, time.perf_counter() - start, state)

        if is_last:
            written, engine = training.write(self.final_dir, stem)
            return written, engine, report_of(written)
        finished = (
            FINISHED,
            lambda inner: {**asdict(report_of(inner)), "program": os.path.basename(inner.program)},
        )
        written, engine = training.write(workspace.model_directory(number), stem, finished)
        return written, engine, report_of(written)

    def _quantize(
        self, strategy: Strategy, files: ModelFiles, directory: str
    ) -> tuple[ModelFiles, EngineFile]:
        """Quantize after training, with the options given or the best ones found."""
        assert strategy.post is not None
        stem = os.path.splitext(os.path.basename(self._files.program))[0]
        common: dict[str, Any] = {
            "model_filename": os.path.basename(files.program),
            "params_filename": files.params and os.path.basename(files.params),
            "save_model_filename": stem + ".pdmodel",
            "save_params_filename": stem + ".pdiparams",
        }
        executor, source = framework.executor(self._place()), os.path.dirname(files.program) or "."
        names = [spec.name for spec in load_program(files).feeds]
        loader = wrap_dataloader(self._loader, names)
        if strategy.search is not None:
            evaluate = self._evaluate
            report = quant_post_hpo(
                executor,
                self._place(),
                source,
                directory,
                train_dataloader=loader,
                eval_dataloader=None if evaluate else wrap_dataloader(self._eval_loader, names),
                eval_function=evaluate
                and (lambda exe, program, feeds, fetches: evaluate(exe, program, feeds, fetches)),
                **common,
                **strategy.search.options(strategy.post),
            )
        else:
            function = quant_post_static if strategy.post.recon_level is None else quant_recon_static
            report = function(
                executor, source, directory, data_loader=loader, **common, **strategy.post.options
            )
        return report.files, EngineFile(report.engine_file)

    def _automatic(self, workspace: Workspace, before: ModelState) -> CompressionReport:
        """Quantize after training where that loses little, else train."""
        post, aware = self._plan.strategies
        reason = (
            "no strategy is given, and no eval_callback that would tell what post-training quantization "
            "loses: quantization-aware training with distillation from the model itself, without labels"
        )
        if before.metric is not None:
            trial, start = workspace.model_directory(0), time.perf_counter()
            logger.info("AutoCompression: no strategy is given: post-training quantization is tried first")
            written, engine = self._quantize(post, self._files, trial)
            metric = self._metric(written, "the model of quant_post")
            assert metric is not None
            lost = before.metric - metric
            told = f"post-training quantization changes the metric from {before.metric:.6g} to {metric:.6g}"
            if lost <= _MOST_LOST * abs(before.metric):
                state = ModelState.of(written, metric)
                report = StrategyReport(post.name, 0, time.perf_counter() - start, state)
                return self._report(before, [report], *self._move(written, engine), [f"{told}: it is taken"])
            reason = f"{told}, by more than {_MOST_LOST:.1%}: quantization-aware training follows"
        logger.info("AutoCompression: %s", reason)
        written, engine, report = self._run(aware, self._files, workspace, 1, False, is_last=True)
        return self._report(before, [report], written, engine, [reason])

    def _move(self, files: ModelFiles, engine: EngineFile) -> tuple[ModelFiles, EngineFile]:
        """Let a model that was written to the workspace appear in ``save_dir``."""
        paths = [path for path in (*files.paths, engine.path) if path is not None]
        with staged_directory(self.final_dir) as staging:
            for path in paths:
                shutil.copy2(path, staging)
        return files.in_directory(self.final_dir), engine

    def _report(
        self,
        before: ModelState,
        done: list[StrategyReport],
        files: ModelFiles,
        engine: EngineFile,
        notes: list[str],
    ) -> CompressionReport:
        path = engine.path and os.path.join(self.final_dir, os.path.basename(engine.path))
        return CompressionReport(before, done, files, path, [*notes, *engine.notes])
