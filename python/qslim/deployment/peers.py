# SPDX-License-Identifier: Apache-2.0
"""Models opened in the runtimes that are installed: this engine, Paddle, ONNX Runtime, OpenVINO."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.deployment.models import kind_of
from qslim.runtime import Session, TensorSpec

__all__ = ["OpenModel", "is_installed", "onnxruntime_session", "open_model", "openvino_request"]

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class OpenModel:
    """A model, ready to run: ``run`` takes arrays by input name and returns the outputs."""

    path: str
    runtime: str
    inputs: list[TensorSpec]
    run: Callable[[Feeds], list[NDArray[Any]]]


def is_installed(package: str) -> bool:
    """Return True if `package` can be imported; it is not imported."""
    return importlib.util.find_spec(package) is not None


def open_model(path: str, threads: Optional[int] = None) -> OpenModel:
    """Open a model in the runtime that is its own.

    Parameters
    ----------
    path : str
        A Paddle model, float or quantized, runs in Paddle's executor, which computes int8 in float; a
        ``.qslim`` file in this engine; an ``.onnx`` file in ONNX Runtime.
    threads : int, optional
        Of this engine and of ONNX Runtime.

    Raises
    ------
    ValueError : nothing is there, or the model is damaged.
    ImportError : the runtime is not installed.
    """
    kind = kind_of(path)
    if kind == "qslim":
        session = Session(path, threads)
        return OpenModel(path, "qslim", session.inputs, lambda feeds: session.run(dict(feeds)))
    if kind == "onnx":
        ort = onnxruntime_session(path, threads)
        inputs = [_onnx_spec(each) for each in ort.get_inputs()]
        return OpenModel(path, "ONNX Runtime", inputs, lambda feeds: list(ort.run(None, dict(feeds))))
    from qslim.importers.paddle import find_model_files, load_program

    program = load_program(find_model_files(path))
    feeds = [TensorSpec(feed.name, str(feed.dtype), feed.shape) for feed in program.feeds]
    return OpenModel(path, "Paddle", feeds, program.run_outputs)


def onnxruntime_session(path: str, threads: Optional[int] = None) -> Any:
    """Return an ONNX Runtime session on the CPU.

    Raises
    ------
    ImportError : ONNX Runtime is not installed.
    ValueError : it does not open the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("an .onnx file runs in ONNX Runtime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever its C++ core throws
        raise ValueError(f"ONNX Runtime cannot open {path!r}: {str(error).splitlines()[0]}") from error


def openvino_request(path: str, shapes: Sequence[Sequence[int]], threads: int) -> Any:
    """Return an OpenVINO request for inputs of `shapes`, float32 where nothing is quantized."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes)})
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return core.compile_model(model, "CPU", properties).create_infer_request()


_ONNX_TYPES = {"float": "float32", "double": "float64", "int64": "int64", "int32": "int32", "uint8": "uint8"}


def _onnx_spec(each: Any) -> TensorSpec:
    dtype = _ONNX_TYPES.get(each.type[len("tensor(") : -1])
    if dtype is None:
        raise ValueError(f"input {each.name!r} of the ONNX file is {each.type}, which is not supported")
    shape = tuple(extent if isinstance(extent, int) else None for extent in each.shape)
    return TensorSpec(each.name, str(np.dtype(dtype)), shape)
