# SPDX-License-Identifier: Apache-2.0
"""Outputs of a model for batches of data, and the time of a run."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.files.staging import staged_file
from qslim.paddle.program import FeedSpec
from qslim.quant.post_training.data_source import calibration_batches
from qslim.runtime import Session, TensorSpec
from qslim.runtime.example_feeds import ones_for

__all__ = ["ModelOutputs", "check_labels", "fed", "milliseconds_of", "run_batches", "top1_of"]

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ModelOutputs:
    """The outputs of all batches.

    Attributes
    ----------
    outputs : dict of output name to array
        Batches joined along the first axis.
    milliseconds : float or None
        The median of `repeats` timed runs of the first batch.
    threads, isa : of the engine
    """

    outputs: dict[str, NDArray[Any]]
    milliseconds: Optional[float]
    repeats: int
    threads: int
    isa: str

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        """Write the outputs to `path`, an .npz file, whole or not at all."""
        with staged_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **self.outputs)

    def to_dict(self) -> dict[str, Any]:
        arrays = {name: {"shape": list(a.shape), "values": a.tolist()} for name, a in self.outputs.items()}
        times = {"milliseconds": self.milliseconds, "repeats": self.repeats}
        return {"outputs": arrays, **times, "threads": self.threads, "isa": self.isa}


def run_batches(
    model: Union[str, os.PathLike[str]],
    data: Optional[Iterable[Any]] = None,
    *,
    shapes: Optional[Mapping[str, Sequence[int]]] = None,
    threads: Optional[int] = None,
    repeats: int = 0,
    warmup: int = 1,
) -> ModelOutputs:
    """Run `model` in the engine on each batch of `data`, or once on ones.

    Parameters
    ----------
    model : path, as for ``Session``
    data : iterable of batches, as for ``quant_post_static``; labels behind the model's inputs are left out
    shapes : dict of input name to extents, for ones
    threads, repeats, warmup : int

    Raises
    ------
    ValueError : a model or data that will not do.

    Examples
    --------
    >>> import os, tempfile
    >>> from qslim.exporters import save_qslim
    >>> from qslim.graph import Graph, Node, Tensor
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> for name in "xy":
    ...     _ = graph.add_tensor(Tensor(name, "float32", (None, 3)))
    >>> graph.add_node(Node("Relu", ["x"], ["y"]))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.qslim")
    >>> save_qslim(graph, path)
    >>> run_batches(path, [np.float32([[-1, 2, 3]])]).outputs["y"].tolist()
    [[0.0, 2.0, 3.0]]
    """
    session = Session(model, threads)
    if data is None:
        batches: Iterator[Feeds] = iter([ones_for(session.inputs, shapes or {})])
    else:
        batches = (feeds for feeds, _ in fed(data, session.inputs))
    found: list[list[NDArray[Any]]] = []
    median = None
    for feeds in batches:
        found.append(session.run(feeds))
        if repeats and median is None:
            median = milliseconds_of(lambda: session.run(feeds), repeats, warmup)  # noqa: B023, called at once
    names = [spec.name for spec in session.outputs]
    return ModelOutputs(
        {name: _joined(parts) for name, parts in zip(names, zip(*found))},
        median,
        repeats,
        session.num_threads,
        session.isa,
    )


def fed(
    data: Iterable[Any], inputs: Sequence[TensorSpec]
) -> Iterator[tuple[Feeds, Optional[NDArray[np.int64]]]]:
    """Yield the feeds of each batch of `data`, checked against `inputs`, and its labels if it has any.

    Labels stand behind the inputs of a tuple, or under "label" or "labels" in a dict.
    """
    specs = [FeedSpec(spec.name, np.dtype(spec.dtype), _shape(spec)) for spec in inputs]
    raw, for_labels = itertools.tee(data)
    for feeds, batch in zip(calibration_batches(specs, data_loader=raw), for_labels):
        yield feeds, _labels(batch, specs)


def top1_of(data: Iterable[Any]) -> Callable[[Any], float]:
    """Return an eval_function of ``quant_post_static``: top-1 on `data`, in percent.

    `data` is iterated anew for each network, and gives batches with labels as for `fed`.
    """

    def top1(network: Any) -> float:
        if network.session is None:
            raise ValueError("labels: the engine does not run this network, which it has to for its accuracy")
        hits = count = 0
        for feeds, labels in fed(data, network.session.inputs):
            if labels is None:
                raise ValueError("data: a batch has no labels")
            scores = network.run(feeds)[0]
            check_labels(labels, scores, "the network")
            hits += int(np.sum(scores.argmax(1) == labels))
            count += len(labels)
        return 100.0 * hits / max(count, 1)

    return top1


def check_labels(labels: NDArray[np.int64], scores: NDArray[Any], path: str) -> None:
    """Refuse labels that the model at `path`, which gave `scores`, has no classes for."""
    if scores.ndim != 2:
        raise ValueError(
            "labels need scores of shape [N, classes], but the first output of "
            f"{path!r} has shape {list(scores.shape)}"
        )
    if len(labels) != len(scores):
        raise ValueError(f"data: {len(labels)} labels for {len(scores)} samples")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(
            f"data: labels from {labels.min()} to {labels.max()}, but the model has {scores.shape[1]} classes"
        )


def milliseconds_of(run: Callable[[], Any], repeats: int, warmup: int) -> float:
    """Return the median time of `repeats` calls of `run`, after `warmup` more."""
    for _ in range(warmup):
        run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def _shape(spec: TensorSpec) -> tuple[Optional[int], ...]:
    if spec.shape is None:
        raise ValueError(f"the model leaves the number of axes of input {spec.name!r} open")
    return spec.shape


def _labels(batch: Any, specs: Sequence[FeedSpec]) -> Optional[NDArray[np.int64]]:
    value = None
    if isinstance(batch, Mapping):
        names = [spec.name for spec in specs]
        value = next((batch[key] for key in ("label", "labels") if key in batch and key not in names), None)
    elif isinstance(batch, (list, tuple)) and len(batch) > len(specs):
        value = batch[len(specs)]
    if value is None:
        return None
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    if array.dtype.kind not in "iu":
        raise ValueError(f"labels: expected whole numbers, got {array.dtype}")
    return array.reshape(-1).astype(np.int64)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the arrays of all batches as one; a scalar of each batch as a vector."""
    if len(parts) == 1:
        return parts[0]
    arrays = [part.reshape(1) if part.ndim == 0 else part for part in parts]
    if len({array.shape[1:] for array in arrays}) > 1:
        raise ValueError(
            "the outputs of the batches differ in shape: run one batch at a time (Data.batch_nums=1)"
        )
    return np.concatenate(arrays)
