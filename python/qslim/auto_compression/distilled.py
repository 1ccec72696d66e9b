# SPDX-License-Identifier: Apache-2.0
"""Training of an inference model, pruned, quantized or neither: its outputs follow those of teachers.

    loss = sum over terms of alpha * sum over nodes of distance(teacher's tensor, student's tensor)

No labels are needed. Normalizations keep the statistics that the model was saved with, and learn them anew
where pruning changes what they normalize. The state is saved every ``eval_iter`` steps, before evaluation.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.auto_compression.plan import Strategy
from qslim.auto_compression.sparsity import Sparsity, steps_of
from qslim.auto_compression.strategies import ChannelPrune, UnstructurePrune
from qslim.auto_compression.student import learn_statistics, trainable_network
from qslim.auto_compression.teachers import Teachers
from qslim.compressor.checkpoints import newest_checkpoint, read_arrays, write_checkpoint
from qslim.compressor.distillation import L2Distiller, SoftLabelDistiller
from qslim.compressor.network import Network
from qslim.exporters.engine_file import EngineFile, write_engine_file
from qslim.files.staging import staged_directory
from qslim.importers.paddle import import_model, load_float_program
from qslim.logger import logger
from qslim.paddle import framework
from qslim.paddle.model_files import ModelFiles, find_model_files
from qslim.paddle.program import check_model_files
from qslim.prune.saved_model import cut_filters
from qslim.quant.analysis.metrics import checked_metric
from qslim.quant.post_training.data_source import Feed, training_batches
from qslim.quant.programs import convert, quant_aware

__all__ = ["DistilledTraining"]

_Arrays = dict[str, NDArray[Any]]
_Evaluate = Callable[[Any, Any, list[str], list[Any]], float]
_DISTILLERS = {"l2": L2Distiller, "soft_label": SoftLabelDistiller}


class DistilledTraining:
    """The training of one strategy.

    Parameters
    ----------
    files : ModelFiles
    original : ModelFiles; the model that was given to AutoCompression
    strategy : Strategy with ``distillation``
    place : paddle.CPUPlace, ...
    loader : the training data
    keeps_zeros : bool; an earlier strategy made weights sparse

    Attributes
    ----------
    steps : int, of training so far
    notes : list of str
    """

    def __init__(
        self,
        files: ModelFiles,
        original: ModelFiles,
        strategy: Strategy,
        place: Any,
        loader: Any,
        keeps_zeros: bool = False,
    ) -> None:
        assert strategy.distillation is not None
        self._strategy, self._settings = strategy, strategy.training
        self._place, self._loader = place, loader
        self._student = load_float_program(files, place)
        if isinstance(strategy.prune, ChannelPrune):
            self._cut(strategy.prune)
        self._terms = strategy.distillation.terms
        self._teachers = Teachers(self._terms, original, self._student, place)
        self._best: Optional[tuple[float, _Arrays]] = None
        self.steps, self._epoch, self._batch = 0, 0, 0
        nodes = [pair.student for pairs in self._teachers.pairs for pair in pairs]
        is_gmp = isinstance(strategy.prune, UnstructurePrune) and strategy.prune.prune_strategy == "gmp"
        with self._student.active():
            self._executor = framework.executor(place)
            plain = trainable_network(self._student, nodes)
            self._sparsity = Sparsity(
                strategy,
                keeps_zeros or self._settings.sparse_model,
                plain.program,
                self._student,
                place,
                steps_of(self._settings, loader) if is_gmp else 0,
            )
            outputs = {key: value for key, value in plain.fetches.items() if not key.startswith("node:")}
            self._test = Network(plain.program, plain.feeds, outputs).clone()
            self._test.program = self._quantized(self._test, for_test=True)
            self._train = self._trained(plain)

    @property
    def metric(self) -> Optional[float]:
        """The best evaluation so far."""
        return None if self._best is None else self._best[0]

    def _cut(self, prune: ChannelPrune) -> None:
        nodes = [node for node in self._student.graph.nodes if node.op_type == "Conv"]
        names = [node.inputs[1] for node in nodes if node.attributes.get("group", 1) == 1]
        known = self._student.parameter_names
        ratios = prune.ratios([name for name in dict.fromkeys(names) if name in known])
        if not ratios:
            raise ValueError("ChannelPrune: the model has no convolution of one group to prune")
        cut_filters(self._student, ratios, prune.criterion)

    def _trained(self, plain: Network) -> Network:
        """Return the network with its loss, minimized and quantized."""
        network, paddle = plain.clone(), framework.paddle_module()
        if self._strategy.prune is not None:
            learn_statistics(network)
        distances = []
        with paddle.static.program_guard(network.program, paddle.static.Program()):
            fed: dict[str, Any] = {}
            for term, pairs in zip(self._terms, self._teachers.pairs):
                distiller = _DISTILLERS[term.loss]("", "")
                for pair in pairs:
                    student = network.variable(network.fetches[f"node:{pair.student}"])
                    if pair.fed not in fed:
                        shape = [None if extent < 0 else extent for extent in student.shape]
                        fed[pair.fed] = paddle.static.data(pair.fed, shape, "float32")
                    distances.append(distiller.distance([student], [fed[pair.fed]]) * term.alpha)
            total = paddle.reshape(sum(distances[1:], distances[0]), [1])
        network.fetches = {"loss": total if network.is_pir else total.name}
        optimizer = self._settings.optimizer(paddle)
        network.minimize(optimizer, "loss", self._student.scope, self._executor)
        return Network(self._quantized(network, for_test=False), network.feeds, network.fetches)

    def _quantized(self, network: Network, for_test: bool) -> Any:
        if self._strategy.aware is None:
            return network.program
        return quant_aware(
            network.program,
            self._place,
            self._strategy.aware.options,
            self._student.scope,
            for_test=for_test,
            return_program=True,
        )

    def run(self, evaluate: Optional[_Evaluate], directory: str) -> None:
        """Train; the best evaluation, or else the last step, is what ``write`` writes.

        Parameters
        ----------
        evaluate : callable, optional
        directory : str
            Where the state is saved every ``eval_iter`` steps. What a killed run left there is gone on from.
        """
        settings = self._settings
        is_evaluated = self._restore(directory) and evaluate is not None
        if is_evaluated and self._keep_best(evaluate):
            return
        for feed in self._batches():
            self._step(feed)
            if self.steps % settings.eval_iter == 0:
                self._save(directory)
                if evaluate is not None and self._keep_best(evaluate):
                    return
        if evaluate is not None and (self.steps % settings.eval_iter or self._best is None):
            self._keep_best(evaluate)
        if not self._sparsity.is_grown:
            raise ValueError(
                f"AutoCompression: the training ended after {self.steps} steps, before the network was as "
                "sparse as UnstructurePrune asks for; lower gmp_config.pruning_iterations, or train longer"
            )

    def _step(self, feed: Feed) -> None:
        known = self._teachers.feed(feed)
        with self._student.active():
            loss = self._train.run(self._executor, {**feed, **known})["loss"]
        if not np.isfinite(loss).all():
            raise ValueError(
                f"AutoCompression: step {self.steps}: the loss is {float(np.mean(loss))}: the training "
                "has diverged; lower TrainConfig.learning_rate"
            )
        if self._train.scheduler is not None:
            self._train.scheduler.step()
        self._sparsity.step()
        if self._sparsity.just_grown:
            self._best = None  # of a network that is less sparse
        if self.steps % self._settings.logging_iter == 0:
            logger.info("Total iter: %d, loss: %.6g", self.steps, float(np.mean(loss)))
        self.steps += 1

    def _batches(self) -> Iterator[Feed]:
        """Yield the batches that are left; what was trained on before a kill is read and left out."""
        most, passes = self._settings.train_iter, self._settings.passes
        for epoch in itertools.count(self._epoch) if passes is None else range(self._epoch, passes):
            done = self._batch if epoch == self._epoch else 0
            for number, feed in enumerate(
                training_batches(self._student.feeds, self._loader, "train_dataloader")
            ):
                if most is not None and self.steps >= most:
                    return
                if number >= done:
                    self._epoch, self._batch = epoch, number + 1
                    yield feed

    def _keep_best(self, evaluate: Optional[_Evaluate]) -> bool:
        """Evaluate, keep the weights if they are the best; return True if the target is reached."""
        metric = self._evaluated(evaluate)
        logger.info("Total iter: %d, metric: %.6g", self.steps, metric)
        if self._best is None or metric > self._best[0]:
            self._best = metric, self._arrays(self._test)
        target = self._settings.target_metric
        return target is not None and metric >= target and self._sparsity.is_grown

    def _evaluated(self, evaluate: Optional[_Evaluate]) -> float:
        assert evaluate is not None
        test = self._test
        with self._student.active():
            fetched = [test.variable(target) for target in test.fetches.values()]
            names = [spec.name for spec in test.feeds]
            arguments = framework.executor(self._place), test.program, names, fetched
            what = f"the network after step {self.steps}"
            return checked_metric(lambda: evaluate(*arguments), what, argument="eval_callback")

    def _arrays(self, *networks: Network) -> _Arrays:
        """Return what the scope holds of `networks`."""
        names = dict.fromkeys(name for network in networks for name in network.state_names())
        found = ((name, self._student.scope.find_var(name)) for name in names)
        return {
            name: np.array(variable.get_tensor())
            for name, variable in found
            if variable is not None and variable.get_tensor()._is_initialized()
        }

    def _set(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for name, value in arrays.items():
            self._student.scope.var(name).get_tensor().set(np.ascontiguousarray(value), self._place)

    def _save(self, directory: str) -> None:
        """Write the state, whole or not at all."""
        masks, sparsity = self._sparsity.state()
        scheduler = self._train.scheduler
        arrays = {f"now/{name}": value for name, value in self._arrays(self._train, self._test).items()}
        arrays.update({f"mask/{name}": value for name, value in masks.items()})
        if self._best is not None:
            arrays.update({f"best/{name}": value for name, value in self._best[1].items()})
        record = {
            "configuration": self._strategy.name,
            "strategies": {},
            "steps": self.steps,
            "place": [self._epoch, self._batch],
            "metric": self.metric,
            "sparsity": sparsity,
            "scheduler": None if scheduler is None else scheduler.state_dict(),
        }
        write_checkpoint(directory, 0, arrays, record)

    def _restore(self, directory: str) -> bool:
        """Go on from the state in `directory`; return False if there is none."""
        found = newest_checkpoint(directory)
        if found is None:
            return False
        path, record = found
        parts: dict[str, _Arrays] = {"now": {}, "mask": {}, "best": {}}
        for key, value in read_arrays(path).items():
            part, _, name = key.partition("/")
            parts[part][name] = value
        self._set(parts["now"])
        self._sparsity.set_state(parts["mask"], record["sparsity"])
        if record["metric"] is not None:
            self._best = float(record["metric"]), parts["best"]
        self.steps, (self._epoch, self._batch) = int(record["steps"]), record["place"]
        if self._train.scheduler is not None and record["scheduler"]:
            self._train.scheduler.set_state_dict(record["scheduler"])
        logger.info("AutoCompression: %s goes on after step %d", self._strategy.name, self.steps)
        return True

    def write(
        self,
        directory: str,
        stem: str,
        record: Optional[tuple[str, Callable[[ModelFiles], Any]]] = None,
    ) -> tuple[ModelFiles, EngineFile]:
        """Write the model and its .qslim file to `directory`, all or none.

        Parameters
        ----------
        directory, stem : str
        record : (file name, function of the model's files), optional
            In place of the .qslim file, one of JSON with what the function returns.
        """
        if self._best is not None:
            self._set(self._best[1])
        paddle, test = framework.paddle_module(), self._test.clone()
        program_name = stem + (".pdmodel" if self._student.is_legacy else ".json")
        names = [stem + ending for ending in (".json", ".pdmodel", ".pdiparams", ".qslim")]
        engine = EngineFile()
        with staged_directory(directory, names) as staging:
            with self._student.active():
                program, aware = test.program, self._strategy.aware
                if aware is not None:
                    program = convert(program, self._place, aware.options, self._student.scope)
                saved = Network(program, test.feeds, test.fetches)
                paddle.static.save_inference_model(
                    os.path.join(staging, stem),
                    [saved.feed_variable(spec.name) for spec in saved.feeds],
                    [saved.variable(target) for target in saved.fetches.values()],
                    self._executor,
                    program=program,
                )
            files = find_model_files(staging, program_name)
            check_model_files(files)
            if record is None:
                path = os.path.join(staging, stem + ".qslim")
                engine = write_engine_file(import_model(staging, program_name), path, files.paths)
            else:
                with open(os.path.join(staging, record[0]), "w", encoding="utf-8") as file:
                    json.dump(record[1](files), file)
        return files.in_directory(directory), engine
