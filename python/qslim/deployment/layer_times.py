# SPDX-License-Identifier: Apache-2.0
"""Times of a quantized model layer by layer, beside the same network in float and in its peers' runtimes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.deployment.models import read_graph
from qslim.deployment.peers import is_installed, onnxruntime_session, openvino_request
from qslim.deployment.tables import table
from qslim.exporters import export_onnx
from qslim.graph import Graph
from qslim.graph.passes import prepare_for_runtime
from qslim.runtime import Session
from qslim.runtime.example_feeds import ones_for

__all__ = ["LayerTime", "LayerTimes", "time_layers"]


@dataclass(frozen=True)
class LayerTime:
    """One step as the model runs it, and the steps of the float network that compute the same."""

    name: str
    op: str
    type: str
    kernel: str
    seconds: float
    float_seconds: Optional[float]

    @property
    def speedup(self) -> Optional[float]:
        return self.float_seconds / self.seconds if self.float_seconds and self.seconds else None


@dataclass(frozen=True)
class LayerTimes:
    """The result of ``time_layers``. ``print`` shows the tables.

    Attributes
    ----------
    layers : list of LayerTime
        The least time of each step in the runs. A float step that has no counterpart is in the total alone.
    seconds, float_seconds : the sums over all steps of either network
    milliseconds : dict of runtime to the median time of a whole run, in turns in one process
    missing : dict of runtime to why it has no time
    """

    layers: list[LayerTime]
    seconds: float
    float_seconds: float
    milliseconds: dict[str, float]
    threads: int
    isa: str
    missing: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "layers": [{**asdict(row), "speedup": row.speedup} for row in self.layers]}

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [
            ("layer", "op", "runs in", "us", "float us", "times as fast", "kernel")
        ]
        for row in self.layers:
            in_float = "" if row.float_seconds is None else f"{row.float_seconds * 1e6:.1f}"
            gain = "" if row.speedup is None else f"{row.speedup:.2f}"
            rows.append((row.name, row.op, row.type, f"{row.seconds * 1e6:.1f}", in_float, gain, row.kernel))
        gain = f"{self.float_seconds / self.seconds:.2f}" if self.seconds else ""
        rows.append(
            ("total", "", "", f"{self.seconds * 1e6:.1f}", f"{self.float_seconds * 1e6:.1f}", gain, "")
        )
        whole = [("whole run", "ms"), *((name, f"{ms:.3f}") for name, ms in self.milliseconds.items())]
        lines = [table(rows, numbers=[3, 4, 5]), "", table(whole, numbers=[1])]
        lines += [f"{name}: {why}" for name, why in self.missing.items()]
        return "\n".join([*lines, f"{self.threads} threads, {self.isa}"])


def time_layers(
    path: str,
    *,
    shapes: Optional[Mapping[str, Sequence[int]]] = None,
    threads: int = 1,
    runs: int = 20,
    peers: bool = True,
) -> LayerTimes:
    """Time a model step by step, and the same network without its quantization.

    Parameters
    ----------
    path : str
        A ``.qslim`` file or a Paddle model. Of a float model both columns are float.
    shapes : dict of input name to extents, optional
        The batch is 1 and other open extents 224 otherwise. Inputs are random normal.
    threads, runs : int
    peers : bool
        Also time ONNX Runtime and OpenVINO on the exported network, where they are installed.

    Raises
    ------
    ValueError : a model that the engine cannot run, a shape that does not fit.
    """
    if runs < 1:
        raise ValueError(f"runs: expected a number of at least 1, got {runs}")
    graph = read_graph(path)
    in_float = without_quantization(graph)
    sessions = {"qslim": Session(graph, threads), "qslim, float": Session(in_float, threads)}
    ones = ones_for(sessions["qslim"].inputs, shapes or {})
    rng = np.random.default_rng(0)
    feeds = {
        name: rng.standard_normal(one.shape).astype(one.dtype) if one.dtype.kind == "f" else one
        for name, one in ones.items()
    }
    profile, of_float = (session.profile(feeds, runs) for session in sessions.values())
    float_times: dict[str, float] = {}
    for step in of_float:
        float_times[step.name] = float_times.get(step.name, 0.0) + step.seconds
    counts: dict[str, int] = {}
    for step in profile:
        counts[step.name] = counts.get(step.name, 0) + 1
    layers = [
        LayerTime(
            step.name,
            step.op,
            step.type,
            step.kernel,
            step.seconds,
            # Several steps of one name (a transposed convolution) share the float time evenly.
            float_times[step.name] / counts[step.name] if step.name in float_times else None,
        )
        for step in profile
    ]
    runners: dict[str, Callable[[], Any]] = {}
    for name, session in sessions.items():
        runners[name] = lambda session=session: session.run(feeds)  # type: ignore[misc]
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="qslim-") as work:
        if peers:
            for name, source in (("", graph), (", float", in_float)):
                _add_peers(runners, missing, name, source, feeds, threads, work)
        times = in_turns(runners, runs)
    one = sessions["qslim"]
    return LayerTimes(layers, profile.seconds, of_float.seconds, times, one.num_threads, one.isa, missing)


def without_quantization(graph: Graph) -> Graph:
    """Return a copy of `graph` that computes in float, with the weights as they are."""
    result = graph.copy()
    for tensor in result.tensors.values():
        tensor.quantization = None
    return result


def in_turns(runners: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """Return the median time in ms of each runner; they take turns, so that a busy moment falls on all."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(runs + 1):  # the first one prepares memory
        for name, run in runners.items():
            begin = time.perf_counter()
            run()
            if turn:
                times[name].append((time.perf_counter() - begin) * 1e3)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def _add_peers(
    runners: dict[str, Callable[[], Any]],
    missing: dict[str, str],
    suffix: str,
    graph: Graph,
    feeds: Mapping[str, NDArray[Any]],
    threads: int,
    work: str,
) -> None:
    """Add a runner for each peer that is installed and takes the exported `graph`."""
    path = os.path.join(work, f"model{suffix.strip(', ')}.onnx")
    try:
        export_onnx(prepare_for_runtime(graph), path)
    except (ImportError, ValueError) as error:
        missing[f"peers{suffix}"] = str(error)
        return
    shapes = [feeds[name].shape for name in graph.inputs]
    if is_installed("onnxruntime"):
        try:
            session = onnxruntime_session(path, threads)
            runners[f"ONNX Runtime{suffix}"] = lambda: session.run(None, dict(feeds))
        except ValueError as error:
            missing[f"ONNX Runtime{suffix}"] = str(error)
    if is_installed("openvino"):
        try:
            request = openvino_request(path, shapes, threads)
            ordered = [feeds[name] for name in graph.inputs]
            runners[f"OpenVINO{suffix}"] = lambda: request.infer(dict(enumerate(ordered)))
        except RuntimeError as error:
            missing[f"OpenVINO{suffix}"] = str(error).splitlines()[0]
