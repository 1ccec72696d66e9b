# SPDX-License-Identifier: Apache-2.0
"""Several models on the same data: accuracy, agreement, latency, size; a table, CSV, JSON and a plot."""

from __future__ import annotations

import csv
import json
import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.deployment.models import kind_of
from qslim.deployment.peers import OpenModel, is_installed, open_model
from qslim.deployment.running import check_labels, fed
from qslim.files.staging import staged_directory
from qslim.reports import table

__all__ = ["Comparison", "ModelScore", "compare_models"]


@dataclass(frozen=True)
class ModelScore:
    """One model's row.

    Attributes
    ----------
    accuracy : float or None
        Share of the labels that the largest score hits; None without labels.
    agreement : float or None
        Share of the samples whose largest score is the first model's; None where outputs are no scores.
    difference : float
        The norm of what the first output differs from the first model's, relative to the norm of that.
    milliseconds : float
        The median over the batches, the first one left out if there are more.
    bytes : int
    """

    model: str
    runtime: str
    accuracy: Optional[float]
    agreement: Optional[float]
    difference: float
    milliseconds: float
    bytes: int


@dataclass(frozen=True)
class Comparison:
    """The models' scores; the first model is what the others are compared with. ``print`` shows the table."""

    scores: list[ModelScore]
    samples: int
    batches: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        head = ("model", "runs in", "accuracy", "agreement", "difference", "ms a batch", "bytes")
        rows = [
            (
                score.model,
                score.runtime,
                "" if score.accuracy is None else f"{score.accuracy:.4f}",
                "" if score.agreement is None else f"{score.agreement:.4f}",
                f"{score.difference:.2g}",
                f"{score.milliseconds:.3f}",
                f"{score.bytes:,}",
            )
            for score in self.scores
        ]
        text = table([head, *rows], numbers=range(2, 7))
        return f"{text}\n{self.samples} samples in {self.batches} batches"

    def save(self, directory: str) -> list[str]:
        """Write comparison.txt, .csv, .json and, with matplotlib, .png to `directory`; return their names."""
        with staged_directory(directory) as staging:
            path = os.path.join(staging, "comparison")
            with open(path + ".txt", "w", encoding="utf-8") as file:
                file.write(f"{self}\n")
            with open(path + ".json", "w", encoding="utf-8") as file:
                json.dump(self.to_dict(), file, indent=2)
            with open(path + ".csv", "w", encoding="utf-8", newline="") as file:
                rows = [asdict(score) for score in self.scores]
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            if is_installed("matplotlib"):
                self._plot(path + ".png")
            return sorted(os.listdir(staging))

    def _plot(self, path: str) -> None:
        """Draw accuracy, or agreement, or the difference, against size and against latency."""
        from matplotlib.figure import Figure

        quality = next(
            name
            for name in ("accuracy", "agreement", "difference")
            if all(getattr(score, name) is not None for score in self.scores)
        )
        figure = Figure(figsize=(10, 4.5), layout="constrained")
        for axes, name, label in zip(
            figure.subplots(1, 2), ("bytes", "milliseconds"), ("bytes", "ms a batch")
        ):
            for score in self.scores:
                axes.plot(getattr(score, name), getattr(score, quality), "o", label=_label(score))
            axes.set(xlabel=label, ylabel=quality)
            axes.set_xlim(left=0)
            axes.grid(True, alpha=0.3)
        axes.legend(fontsize="small")
        figure.savefig(path, dpi=120)


@dataclass
class _Sums:
    """Sums that one model gathers over the batches."""

    hits: int = 0
    agreed: int = 0
    error: float = 0.0
    seconds: list[float] = field(default_factory=list)


def compare_models(models: Sequence[str], data: Iterable[Any], threads: Optional[int] = None) -> Comparison:
    """Run each of `models` on each batch of `data`, in turns.

    Parameters
    ----------
    models : list of str
        Paths, as for ``open_model``; the first one is the reference. Inputs go by name, or by place where the
        names differ.
    data : iterable of batches, as for ``quant_post_static``
        Labels behind the inputs, or under "label" or "labels", are whole numbers.
    threads : int, optional
        Of this engine and of ONNX Runtime.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError : no model, models of other inputs or outputs, data that do not fit, labels where the first
        output is no [N, classes].
    """
    if not models:
        raise ValueError("models: give one at least")
    opened = [open_model(path, threads) for path in models]
    first = opened[0]
    for model in opened[1:]:
        if len(model.inputs) != len(first.inputs):
            raise ValueError(
                f"{model.path!r} has {len(model.inputs)} inputs and {first.path!r} has {len(first.inputs)}: "
                "they cannot run on the same data"
            )
    sums = [_Sums() for _ in opened]
    samples = batches = 0
    norm, is_labelled, has_scores = 0.0, False, True
    for feeds, labels in fed(data, first.inputs):
        outputs = [_timed(model, feeds, first, each.seconds) for model, each in zip(opened, sums)]
        reference = outputs[0]
        has_scores = reference.ndim == 2 and reference.shape[1] > 1
        if batches and is_labelled != (labels is not None):
            raise ValueError("data: some batches have labels and others have none")
        is_labelled = labels is not None
        if labels is not None:
            check_labels(labels, reference, first.path)
        norm += float(np.sum(np.square(reference, dtype=np.float64)))
        for model, each, output in zip(opened, sums, outputs):
            _check_output(model, output, first, reference)
            each.error += float(np.sum(np.square(np.subtract(output, reference, dtype=np.float64))))
            if has_scores:
                each.agreed += int(np.sum(output.argmax(1) == reference.argmax(1)))
            if labels is not None:
                each.hits += int(np.sum(output.argmax(1) == labels))
        samples += len(next(iter(feeds.values())))
        batches += 1
    scores = [
        ModelScore(
            model.path,
            model.runtime,
            each.hits / samples if is_labelled else None,
            each.agreed / samples if has_scores else None,
            float(np.sqrt(each.error / norm)) if norm else float(each.error > 0),
            1e3 * statistics.median(each.seconds[1:] or each.seconds),
            _bytes_of(model.path),
        )
        for model, each in zip(opened, sums)
    ]
    return Comparison(scores, samples, batches)


def _timed(
    model: OpenModel, feeds: Mapping[str, NDArray[Any]], first: OpenModel, seconds: list[float]
) -> NDArray[Any]:
    """Return the first output of `model`, and add the time of the run to `seconds`."""
    names = [spec.name for spec in model.inputs]
    own = feeds if set(names) == set(feeds) else dict(zip(names, (feeds[s.name] for s in first.inputs)))
    begin = time.perf_counter()
    output = model.run(own)[0]
    seconds.append(time.perf_counter() - begin)
    return np.asarray(output)


def _check_output(model: OpenModel, output: NDArray[Any], first: OpenModel, reference: NDArray[Any]) -> None:
    if output.shape != reference.shape:
        raise ValueError(
            f"the first output of {model.path!r} is {list(output.shape)}, that of {first.path!r} "
            f"{list(reference.shape)}: they are models of different tasks"
        )


def _bytes_of(path: str) -> int:
    if kind_of(path) != "paddle":
        return os.path.getsize(path)
    from qslim.importers.paddle import find_model_files

    return find_model_files(path).bytes


def _label(score: ModelScore) -> str:
    return f"{os.path.basename(os.path.normpath(score.model))} ({score.runtime})"
