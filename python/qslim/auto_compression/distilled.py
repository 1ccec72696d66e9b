# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training of an inference model: its outputs follow those of the float model.

    loss = sum over losses of alpha * sum over nodes of distance(teacher's tensor, student's tensor)

No labels are needed. Normalizations keep the statistics that the model was saved with. Teacher and student
live in scopes of their own, and the teacher's tensors are fed to the student.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.auto_compression.strategies import Distillation, Plan, TrainConfig
from qslim.compressor.distillation import L2Distiller, SoftLabelDistiller
from qslim.compressor.network import Network
from qslim.exporters.engine_file import EngineFile, write_engine_file
from qslim.files.staging import staged_directory
from qslim.importers.paddle import import_model, load_float_program
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.model_files import ModelFiles, find_model_files
from qslim.paddle.program import PaddleProgram, check_model_files
from qslim.quant.options import choose
from qslim.quant.post_training.data_source import Feed, training_batches
from qslim.quant.programs import convert, quant_aware

__all__ = ["DistilledTraining", "default_nodes"]

_MOVEMENTS = ("reshape2", "transpose2", "squeeze2", "unsqueeze2", "flatten2", "flatten_contiguous_range")
_Evaluate = Callable[[Any, Any, list[str], list[Any]], float]


def default_nodes(program: PaddleProgram) -> list[str]:
    """Return the tensors that the last operators with weights give, one for each output, each once."""
    graph = program.graph
    found: dict[str, None] = {}
    for name in graph.outputs:
        while (node := graph.producer(name)) is not None:
            operands = [read for read in node.inputs if read]
            constants = [read for read in operands if graph.tensors[read].is_constant]
            has_weight = any(
                value is not None and value.size > 1 and value.dtype.kind == "f"
                for value in (graph.tensors[read].value for read in constants)
            )
            computed = [read for read in operands if read not in constants]
            if has_weight or len(computed) != 1 or computed[0] in graph.inputs:
                break
            name = computed[0]
        found[name] = None
    return list(found)


class DistilledTraining:
    """The training of one model.

    Parameters
    ----------
    files : ModelFiles
    plan : Plan with ``aware`` and ``distillation``
    place : paddle.CPUPlace, ...
    """

    def __init__(self, files: ModelFiles, plan: Plan, place: Any) -> None:
        assert plan.aware is not None
        assert plan.distillation is not None
        self._plan, self._place, distillation = plan, place, plan.distillation
        self._student = load_float_program(files, place)
        self._teacher = load_float_program(_teacher_files(files, distillation), place)
        self._options = plan.aware.options
        self._nodes = [
            [self._checked(name) for name in names] or default_nodes(self._student)
            for names in distillation.nodes
        ]
        self._best: Optional[tuple[float, dict[str, NDArray[Any]]]] = None
        self.steps = 0
        with self._student.active():
            self._executor = framework.executor(place)
            self._plain = self._network()
            self._test = Network(self._plain.program, self._plain.feeds, self._plain.fetches).clone()
            self._test.program = self._quantized(self._test, for_test=True)
            self._train = self._trained()

    @property
    def metric(self) -> Optional[float]:
        """The best evaluation so far."""
        return None if self._best is None else self._best[0]

    def evaluate_float(self, evaluate: _Evaluate) -> float:
        """Return the evaluation of the float model."""
        return self._evaluated(self._plain, evaluate)

    def _checked(self, name: str) -> str:
        for program in (self._student, self._teacher):
            choose("Distillation.node", name, program.graph.tensors)
        return name

    def _network(self) -> Network:
        """Return a copy of the model's program that parameters can be trained in, with the saved outputs."""
        student = self._student
        if student.is_legacy:
            program = student.program.clone()
            framework.name_new_tensors(program, "distillation_")
            block = program.global_block()
            for index in reversed(range(len(block.ops))):
                if block.ops[index].type in ("feed", "fetch"):
                    block._remove_op(index)
            trained = {name for name in student.parameter_names if not _is_statistic(block, name)}
            for name in trained:
                framework.make_trainable(block, name)
            _restore_shapes(block)
            fetches: dict[str, Any] = {str(i): value.name for i, value in enumerate(student.fetches)}
        else:
            mapping = framework.ir_mapping()
            program = student.program.clone(mapping)
            block = program.global_block()
            fetches = {str(i): mapping.look_up(value) for i, value in enumerate(student.fetches)}
            for op in [op for op in block.ops if op.name() == "pd_op.fetch"]:
                block.remove_op(op)
        names = [name for names in self._nodes for name in names]
        for name in names:
            fetches[f"node:{name}"] = name if student.is_legacy else mapping.look_up(student.values[name])
        return Network(program, list(student.feeds), fetches)

    def _trained(self) -> Network:
        """Return the network with its loss, minimized and quantized."""
        network, paddle = self._plain.clone(), framework.paddle_module()
        assert self._plan.distillation is not None
        terms = []
        with paddle.static.program_guard(network.program, paddle.static.Program()):
            fed: dict[str, Any] = {}
            losses = zip(self._plan.distillation.losses, self._plan.distillation.alphas, self._nodes)
            for loss, alpha, names in losses:
                distiller = (L2Distiller if loss == "l2" else SoftLabelDistiller)("", "")
                for name in names:
                    student = network.variable(network.fetches[f"node:{name}"])
                    if name not in fed:
                        shape = [None if extent < 0 else extent for extent in student.shape]
                        fed[name] = paddle.static.data(f"teacher:{name}", shape, "float32")
                    terms.append(distiller.distance([student], [fed[name]]) * alpha)
            total = paddle.reshape(sum(terms[1:], terms[0]), [1])
        network.fetches = {"loss": total if network.is_pir else total.name}
        optimizer = self._plan.training.optimizer(paddle)
        network.minimize(optimizer, "loss", self._student.scope, self._executor)
        return Network(self._quantized(network, for_test=False), network.feeds, network.fetches)

    def _quantized(self, network: Network, for_test: bool) -> Any:
        return quant_aware(
            network.program,
            self._place,
            self._options,
            self._student.scope,
            for_test=for_test,
            return_program=True,
        )

    def run(self, loader: Any, evaluate: Optional[_Evaluate]) -> None:
        """Train; the best evaluation, or else the last step, is what ``write`` writes."""
        settings = self._plan.training
        most = settings.train_iter or math.inf
        scheduler = self._train.scheduler
        names = list(dict.fromkeys(name for names in self._nodes for name in names))
        for feed in self._batches(loader, settings):
            teacher = self._teacher.run(feed, names)
            known = {f"teacher:{name}": np.array(value) for name, value in zip(names, teacher)}
            with self._student.active():
                loss = self._train.run(self._executor, {**feed, **known})["loss"]
            if not np.isfinite(loss).all():
                raise ValueError(
                    f"AutoCompression: step {self.steps}: the loss is {float(np.mean(loss))}: the training "
                    "has diverged; lower TrainConfig.learning_rate"
                )
            if scheduler is not None:
                scheduler.step()
            if self.steps % settings.logging_iter == 0:
                logger.info("Total iter: %d, loss: %.6g", self.steps, float(np.mean(loss)))
            self.steps += 1
            if evaluate is not None and self.steps % settings.eval_iter == 0 and self._keep_best(evaluate):
                return
            if self.steps >= most:
                break
        if evaluate is not None and self.steps % settings.eval_iter:
            self._keep_best(evaluate)

    def _batches(self, loader: Any, settings: TrainConfig) -> Iterator[Feed]:
        epochs = settings.epochs or (100 if settings.train_iter is None else None)
        for _ in itertools.count() if epochs is None else range(epochs):
            yield from training_batches(self._student.feeds, loader, "train_dataloader")

    def _keep_best(self, evaluate: _Evaluate) -> bool:
        """Evaluate, keep the weights if they are the best; return True if the target is reached."""
        metric = self._evaluated(self._test, evaluate)
        logger.info("Total iter: %d, metric: %.6g", self.steps, metric)
        if self._best is None or metric > self._best[0]:
            self._best = metric, self._state()
        target = self._plan.training.target_metric
        return target is not None and metric >= target

    def _evaluated(self, network: Network, evaluate: _Evaluate) -> float:
        with self._student.active():
            targets = [value for key, value in network.fetches.items() if not key.startswith("node:")]
            fetched = [network.variable(target) for target in targets]
            names = [spec.name for spec in network.feeds]
            return float(evaluate(framework.executor(self._place), network.program, names, fetched))

    def _state(self) -> dict[str, NDArray[Any]]:
        scope = self._student.scope
        found = ((name, scope.find_var(name)) for name in self._test.state_names())
        return {name: np.array(variable.get_tensor()) for name, variable in found if variable is not None}

    def write(self, directory: str, stem: str) -> tuple[ModelFiles, EngineFile]:
        """Write the quantized model and its .qslim file to `directory`, all or none."""
        if self._best is not None:
            for name, value in self._best[1].items():
                self._student.scope.var(name).get_tensor().set(np.ascontiguousarray(value), self._place)
        paddle, test = framework.paddle_module(), self._test.clone()
        program_name = stem + (".pdmodel" if self._student.is_legacy else ".json")
        names = [stem + ending for ending in (".json", ".pdmodel", ".pdiparams", ".qslim")]
        with staged_directory(directory, names) as staging:
            with self._student.active():
                program = convert(test.program, self._place, self._options, self._student.scope)
                saved = Network(program, test.feeds, test.fetches)
                targets = [value for key, value in saved.fetches.items() if not key.startswith("node:")]
                paddle.static.save_inference_model(
                    os.path.join(staging, stem),
                    [saved.feed_variable(spec.name) for spec in saved.feeds],
                    [saved.variable(target) for target in targets],
                    self._executor,
                    program=program,
                )
            files = find_model_files(staging, program_name)
            check_model_files(files)
            engine = write_engine_file(
                import_model(staging, program_name), os.path.join(staging, stem + ".qslim"), files.paths
            )
        return files.in_directory(directory), engine


def _teacher_files(files: ModelFiles, distillation: Distillation) -> ModelFiles:
    if distillation.teacher_model_dir is None:
        return files
    return find_model_files(
        distillation.teacher_model_dir,
        distillation.teacher_model_filename,
        distillation.teacher_params_filename,
    )


def _restore_shapes(block: Any) -> None:
    """Give movements the output that their gradients read; files for inference are written without it."""
    for number, op in enumerate(block.ops):
        if op.type in _MOVEMENTS and not ("XShape" in op.output_names and op.output("XShape")):
            name = f"{op.output('Out')[0]}.xshape.{number}"
            shape = [0, *block.var(op.input("X")[0]).shape]
            block.create_var(name=name, shape=shape, dtype="float32", stop_gradient=True)
            op.desc.set_output("XShape", [name])


def _is_statistic(block: Any, name: str) -> bool:
    """Return True if `name` is a running mean or variance of a legacy program."""
    readers: Iterable[Any] = (op for op in block.ops if op.type in ("batch_norm", "sync_batch_norm"))
    return any(name in (*op.input("Mean"), *op.input("Variance")) for op in readers)
