# SPDX-License-Identifier: Apache-2.0
"""AutoCompression: a saved inference model and a few lines of configuration in, a quantized model out.

Source: paddleslim 2.6.0, auto_compression/compressor.py (signature).
"""

from __future__ import annotations

import os
from typing import Any, Callable, Optional

from qslim.auto_compression.distilled import DistilledTraining
from qslim.auto_compression.loading import wrap_dataloader
from qslim.auto_compression.strategies import read_plan
from qslim.files.staging import output_path
from qslim.importers.paddle import load_program
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.model_files import find_model_files
from qslim.quant.options import choose
from qslim.quant.post_training.post_recon import quant_recon_static
from qslim.quant.post_training.post_static import quant_post_static

__all__ = ["AutoCompression"]

_HARDWARE = (None, "gpu", "cpu", "SD625", "SD710", "RK3288")


class AutoCompression:
    """Quantize a saved model by the strategies of a configuration.

    Parameters
    ----------
    model_dir, model_filename, params_filename : str; ``find_model_files`` says how they are found
    train_dataloader : DataLoader, iterable, or a function that returns one
        Batches: dicts by feed name, or values in feed order. More than the model feeds (labels) is left out.
    save_dir : str, default='./output'
        Gets the model, under the name of the source, and a ``.qslim`` file; what else is there stays.
    config : dict, str, list of str or None
        Sections ``QuantPost``, or ``QuantAware`` with ``Distillation``, and ``TrainConfig``; a YAML file of
        them; names of sections; None trains with distillation. Others are refused, with what to use.
    eval_callback : callable, optional
        ``f(executor, program, feed names, fetch targets) -> float``, larger is better.
    eval_dataloader, deploy_hardware : accepted
    input_shapes, target_speedup : None; they are not offered

    Raises
    ------
    ValueError : a bad configuration or model; nothing is written.

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
    >>> AutoCompression(work, batches, save_dir=os.path.join(work, "int8"), config=config).compress()
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
        del eval_dataloader  # evaluation reads its own data, as PaddleSlim's does
        choose("AutoCompression: deploy_hardware", deploy_hardware, _HARDWARE)
        for key, value in (("input_shapes", input_shapes), ("target_speedup", target_speedup)):
            if value is not None:
                raise ValueError(f"AutoCompression: {key}: expected None, it is not offered; got {value!r}")
        if train_dataloader is None:
            raise ValueError("AutoCompression: train_dataloader is missing")
        self._files = find_model_files(model_dir, model_filename, params_filename)
        self._model = model_dir, model_filename, params_filename
        self.final_dir = output_path(save_dir, "save_dir").rstrip("/") or "/"
        self._plan = read_plan(config)
        self._loader, self._evaluate = train_dataloader, eval_callback
        self.final_metric = -1.0

    def compress(self) -> None:
        """Do what the configuration says and write the result to ``save_dir``, whole or not at all.

        ``final_metric`` is the best evaluation, -1.0 without ``eval_callback``.

        Raises
        ------
        ValueError : data that do not fit; a training that diverges; an evaluation of the model that is
            further from ``origin_metric`` than 0.05. Nothing is written.
        """
        stem = os.path.splitext(os.path.basename(self._files.program))[0]
        if self._plan.post is not None:
            self._quantize_post_training(stem)
        else:
            self._train(stem)
        logger.info(
            "==> The ACT compression has been completed and the final model is saved in `%s`", self.final_dir
        )

    def _place(self) -> Any:
        paddle = framework.paddle_module()
        return paddle.CUDAPlace(0) if paddle.device.get_device().startswith("gpu") else paddle.CPUPlace()

    def _quantize_post_training(self, stem: str) -> None:
        assert self._plan.post is not None
        names = [spec.name for spec in load_program(self._files).feeds]
        function = quant_post_static if self._plan.post.recon_level is None else quant_recon_static
        directory, model_filename, params_filename = self._model
        report = function(
            framework.executor(self._place()),
            directory,
            self.final_dir,
            data_loader=wrap_dataloader(self._loader, names),
            model_filename=model_filename,
            params_filename=params_filename,
            save_model_filename=stem + ".pdmodel",
            save_params_filename=stem + ".pdiparams",
            **self._plan.post.options,
        )
        if self._evaluate is not None:
            self.final_metric = self._evaluate_files(report.files)
            logger.info("==> The metric of final model is %.4f", self.final_metric)

    def _evaluate_files(self, files: Any) -> float:
        assert self._evaluate is not None
        program = load_program(files, self._place())
        with program.active():
            return float(
                self._evaluate(program.executor, program.program, list(program.feed_names), program.fetches)
            )

    def _train(self, stem: str) -> None:
        training = DistilledTraining(self._files, self._plan, self._place())
        origin = self._plan.training.origin_metric
        if self._evaluate is not None and origin is not None:
            metric = training.evaluate_float(self._evaluate)
            if abs(metric - origin) > 0.05:
                raise ValueError(
                    f"the metric of the model is {metric:.6g}, but TrainConfig.origin_metric is "
                    f"{origin:.6g}; check the evaluation data, or correct origin_metric"
                )
        training.run(self._loader, self._evaluate)
        files, engine = training.write(self.final_dir, stem)
        for note in engine.notes:
            logger.info("AutoCompression: %s", note)
        if training.metric is not None:
            self.final_metric = training.metric
            logger.info("==> The metric of final model is %.4f", self.final_metric)
        logger.info("AutoCompression: %d steps; %s", training.steps, ", ".join(files.paths))
