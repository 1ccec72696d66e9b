# SPDX-License-Identifier: Apache-2.0
"""Search for the fewest layers in fp32 with which a quantized network loses no more than it may.

Layers are ranked by the error that the quantization of one alone makes in the network's outputs, divided by
the time that it takes longer in fp32. Of this ranking the first 0, 1, 2, 4, ... stay in fp32 until the target
is reached, the interval is halved, and then groups that are not needed after all return to int8, larger ones
first. Calibration is done once: a trial is the Graph with fewer annotations.

The search can be stopped at any time: what is best so far is on disk, and trials are kept in a journal.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Callable, Optional

from qslim.logger import logger
from qslim.quant.analysis.layer_errors import layer_errors
from qslim.quant.analysis.metrics import fewest
from qslim.quant.analysis.output_errors import OutputErrors
from qslim.quant.analysis.quantization import Quantization
from qslim.quant.mixed_precision.journal import Journal
from qslim.quant.mixed_precision.judges import Judge
from qslim.quant.mixed_precision.latency import costs_in_float, latencies
from qslim.quant.mixed_precision.network import Network
from qslim.quant.post_training.post_training_report import MixedPrecisionReport

__all__ = ["Search"]

_Names = frozenset[str]


class _OutOfTime(Exception):
    """No time is left for another trial."""


class Search:
    """One search.

    Parameters
    ----------
    quantization : Quantization
        Samples are kept in it.
    judge : Judge
    accuracy_drop : float
        The metric of the float network, less this, is the target.
    deadline : float, optional
        Of ``time.monotonic()``. No trial begins later; the float network and the int8 one are judged anyway.
    journal : Journal
    write : function of the names of the layers in fp32
        Writes the network; it is called with the best so far.
    """

    def __init__(
        self,
        quantization: Quantization,
        judge: Judge,
        accuracy_drop: float,
        deadline: Optional[float],
        journal: Journal,
        write: Callable[[_Names], None],
    ) -> None:
        self._quantization, self._judge, self._journal, self._write = quantization, judge, journal, write
        self._drop, self._deadline = accuracy_drop, deadline
        self._all = frozenset(layer.name for layer in quantization.layers)
        self._target = float("inf")
        self._best: Optional[_Names] = None
        self._written: Optional[_Names] = None

    def run(self) -> MixedPrecisionReport:
        """Search, write the best network and return what was found."""
        none: _Names = frozenset()
        in_float = self._metric(self._all, "the float network")
        self._target = in_float - self._drop
        stopped = ""
        if not self._reaches(none):
            try:
                self._narrow(self._ranking())
            except _OutOfTime:
                stopped = "time_budget ended the search"
        self._flush()
        assert self._best is not None
        best, metrics = self._best, self._journal.metrics
        networks = [Network(self._quantization, names) for names in (self._all, none, best)]
        seconds = latencies(self._quantization, networks)
        report = MixedPrecisionReport(
            measure=self._judge.description,
            in_float=[layer.name for layer in self._quantization.layers if layer.name in best],
            target=self._target,
            metric_float=in_float,
            metric_int8=metrics[none],
            metric=metrics[best],
            trials=len(metrics),
            stopped=stopped,
            seconds_float=seconds[0],
            seconds_int8=seconds[1],
            seconds=seconds[2],
        )
        self._journal.remove()
        return report

    def _narrow(self, ranking: Sequence[str]) -> None:
        """Find the shortest part of `ranking` that reaches the target, and give back what is not needed.

        One layer stays in int8 at least: the float network is no result.
        """
        count = fewest(len(ranking) - 1, lambda count: self._reaches(frozenset(ranking[:count])))
        if count is None:
            return
        kept = list(ranking[:count])
        size = len(kept) // 2
        while size >= 1:
            for end in range(len(kept), 0, -size):  # the least of the ranking first
                part = kept[max(0, end - size) : end]
                rest = [name for name in kept if name not in part]
                if self._reaches(frozenset(rest)):
                    kept = rest
            size //= 2

    def _reaches(self, names: _Names) -> bool:
        """Return True if the network with `names` in fp32 reaches the target; remember the best."""
        metric = self._metric(names, f"{len(names)} of {len(self._all)} layers in fp32")
        if self._best is None or self._rank(names) > self._rank(self._best):
            self._best = names
        return metric >= self._target

    def _rank(self, names: _Names) -> tuple[bool, float, float]:
        """Return what orders trials: those that reach the target by their cost, others by the metric."""
        metric, costs = self._journal.metrics[names], self._journal.costs
        cost = sum(costs.get(name, 0.0) for name in names)
        return (True, -cost, -len(names)) if metric >= self._target else (False, metric, -cost)

    def _metric(self, names: _Names, what: str) -> float:
        known = self._journal.metrics.get(names)
        if known is not None:
            return known
        self._flush()
        if names not in (self._all, frozenset()):
            self._check_time()
        try:
            metric = self._judge.of(Network(self._quantization, names), what)
        except ValueError as error:
            raise ValueError(f"{error}{self._journal.note}") from error
        self._journal.metrics[names] = metric
        self._journal.save()
        target = f", target {self._target:.6g}" if self._target < float("inf") else ""
        logger.info("%s: metric %.6g%s", what, metric, target)
        return metric

    def _flush(self) -> None:
        """Write the best network, unless it is written."""
        if self._best is not None and self._best != self._written:
            self._write(self._best)
            self._written = self._best

    def _check_time(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise _OutOfTime

    def _ranking(self) -> list[str]:
        """Return the layers, first the one whose return to fp32 mends most for its time."""
        if self._journal.ranking is not None and self._all == set(self._journal.ranking):
            return self._journal.ranking
        self._flush()
        self._check_time()
        costs = costs_in_float(self._quantization)
        errors = self._errors()
        ranking = sorted(
            self._all, key=lambda name: (*(error / costs.get(name, 1.0) for error in errors[name]), name),
            reverse=True,
        )  # fmt: skip
        self._journal.ranking, self._journal.costs = ranking, costs
        self._journal.save()
        return ranking

    def _errors(self) -> dict[str, tuple[float, float]]:
        """Return the errors that each layer makes in the network's outputs and, else, in its own."""
        quantization = self._quantization
        outputs = OutputErrors(quantization)
        layers = list(quantization.layers)
        own: dict[str, float] = {}
        if outputs.most_layers < len(layers):
            own = {name: error.both for name, error in layer_errors(quantization).items()}
            layers.sort(key=lambda layer: own[layer.name], reverse=True)
        errors = {}
        for number, layer in enumerate(layers):
            self._check_time()
            error = outputs.of([layer]) if number < outputs.most_layers else None
            errors[layer.name] = (error or 0.0, own.get(layer.name, 0.0))
        return errors
