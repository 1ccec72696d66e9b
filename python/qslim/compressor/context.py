# SPDX-License-Identifier: Apache-2.0
"""Context: the networks of a compression in their present form, trained and evaluated an epoch at a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import numpy as np

from qslim.compressor.network import Network, active
from qslim.logger import logger
from qslim.paddle import framework
from qslim.quant.analysis.metrics import checked_metric
from qslim.quant.post_training.data_source import Feed, training_batches
from qslim.quant.programs import quant_aware

__all__ = ["Context", "EvalFunction"]

EvalFunction = Callable[[Any, Any], float]


@dataclass
class Context:
    """The networks, their data and where the compression stands.

    Attributes
    ----------
    forward : Network
        The network to train as the user gave it, pruned if it is.
    evaluation : Network
        The same for evaluation.
    optimized, evaluated : Network
        What is trained and evaluated now: with optimizer steps, quantized if it is.
    teachers : list of paddle.static.Program
    teach : callable, optional
        Feed to more feeds, those that the teachers give for it.
    eval_func : dict of key to function of (program, scope), in place of the evaluation program's fetches
    results : dict of key to list of float
        Of every evaluation so far.
    """

    place: Any
    scope: Any
    forward: Network
    evaluation: Optional[Network]
    train_reader: Any
    eval_reader: Any
    optimizer: Any
    distiller_optimizer: Any
    teachers: list[Any]
    log_period: int
    eval_func: Mapping[str, EvalFunction] = field(default_factory=dict)
    epoch_id: int = 0
    quantization: Optional[dict[str, Any]] = None
    teach: Optional[Callable[[Feed], Feed]] = None
    results: dict[str, list[float]] = field(default_factory=dict)

    @property
    def executor(self) -> Any:
        """A new executor: one remembers programs by address, and would take a new one for a dead one."""
        return framework.executor(self.place)

    def __post_init__(self) -> None:
        self.optimized = self.forward
        self.evaluated = self.evaluation
        self.rebuild()

    def rebuild(self, add_loss: Optional[Callable[[Network], None]] = None, optimizer: Any = None) -> None:
        """Make ``optimized`` of ``forward`` anew, with the state of its optimizer at the start.

        Parameters
        ----------
        add_loss : callable, optional
            Changes the copy of ``forward`` and its fetch "loss" before that is minimized.
        optimizer : default ``self.optimizer``
        """
        chosen = self.optimizer if optimizer is None else optimizer
        if chosen is None:  # the user's program has its optimizer steps
            self.optimized = self.forward
        else:
            self.optimized = self.forward.clone()
            if add_loss is not None:
                with active(self.forward.is_pir, self.scope):
                    add_loss(self.optimized)
            self.optimized.minimize(chosen, "loss", self.scope, self.executor)
        if self.quantization is not None:
            self._quantize_optimized()

    def quantize(self, config: dict[str, Any]) -> None:
        """Put fake quantizers into the networks that are trained and evaluated."""
        self.quantization = config
        self._quantize_optimized()
        if self.evaluation is not None:
            network = self.evaluation.clone()
            program = self.quantized(network, for_test=True)
            self.evaluated = Network(program, network.feeds, network.fetches)

    def _quantize_optimized(self) -> None:
        program = self.quantized(self.optimized, for_test=False)
        self.optimized = Network(program, self.optimized.feeds, self.optimized.fetches)

    def quantized(self, network: Network, for_test: bool) -> Any:
        """Return the program of `network` with fake quantizers; a PIR program is changed in place."""
        with active(network.is_pir, self.scope):
            return quant_aware(
                network.program,
                self.place,
                self.quantization,
                self.scope,
                for_test=for_test,
                executor=self.executor,
                return_program=True,
            )

    def train(self) -> None:
        """Train for one epoch.

        Raises
        ------
        ValueError : the loss is no longer finite; names epoch and batch.
        """
        network, scheduler = self.optimized, self.optimized.scheduler
        executor = self.executor
        with active(network.is_pir, self.scope):
            batches = training_batches(network.feeds, self.train_reader, "train_reader")
            for number, feed in enumerate(batches):
                more = {} if self.teach is None else self.teach(feed)
                results = network.run(executor, {**feed, **more})
                where = f"epoch:{self.epoch_id}; batch_id:{number}"
                if not np.isfinite(results["loss"]).all():
                    raise ValueError(
                        f"Compressor: {where}: the loss is {float(np.mean(results['loss']))}: the "
                        "training has diverged; go on from the last checkpoint with a lower learning rate"
                    )
                if scheduler is not None:
                    scheduler.step()
                if number % self.log_period == 0:
                    logger.info("%s; %s", where, _listed(results, "; ", " = "))

    def evaluate(self, part: float = 1.0) -> dict[str, float]:
        """Return what ``eval_func`` gives, else the mean of each fetch over `part` of the batches."""
        network, executor = self.evaluated, self.executor
        assert network is not None
        if self.eval_func:
            with active(network.is_pir, self.scope):
                return {key: self._metric(key, network.program) for key in self.eval_func}
        sums: dict[str, float] = dict.fromkeys(network.fetches, 0.0)
        count = 0
        with active(network.is_pir, self.scope):
            feeds = training_batches(network.feeds, self.eval_reader, "eval_reader")
            if part < 1:  # the batches have to be counted first
                total = sum(1 for _ in training_batches(network.feeds, self.eval_reader, "eval_reader"))
                feeds = itertools.islice(feeds, max(1, round(part * total)))
            for feed in feeds:
                size = len(next(iter(feed.values())))
                for key, value in network.run(executor, feed).items():
                    sums[key] += float(np.mean(value)) * size
                count += size
        return {key: value / count for key, value in sums.items()}

    def _metric(self, key: str, program: Any) -> float:
        function, what = self.eval_func[key], f"the network of epoch {self.epoch_id}"
        return checked_metric(lambda: function(program, self.scope), what, argument=f"eval_func: {key!r}")

    def evaluate_epoch(self) -> None:
        """Evaluate, log, and remember the results."""
        results = self.evaluate()
        for key, value in results.items():
            self.results.setdefault(key, []).append(value)
        logger.info("epoch:%d; Final eval result: %s", self.epoch_id, _listed(results, "; ", "="))


def _listed(results: Mapping[str, Any], between: str, equals: str) -> str:
    return between.join(f"{key}{equals}{float(np.mean(value)):.6g}" for key, value in results.items())
