# SPDX-License-Identifier: Apache-2.0
"""Paddle Inference's calls, run by the engine: code written for it changes one import.

    import paddle.inference as inference      becomes      from qslim import runtime as inference

Source: the Python API reference of Paddle Inference 3 (create_predictor, Predictor, Tensor, PredictorPool).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim._core import __version__
from qslim.errors import MissingFileError
from qslim.runtime.inference_config import Config, DataType, PlaceType
from qslim.runtime.session import Session

__all__ = [
    "Predictor",
    "PredictorPool",
    "Tensor",
    "convert_to_mixed_precision",
    "create_predictor",
    "get_num_bytes_of_data_type",
    "get_trt_compile_version",
    "get_trt_runtime_version",
    "get_version",
]

_Hook = Callable[[str, str, "Tensor"], Any]


class Tensor:
    """An input or output of a Predictor."""

    def __init__(self, name: str, dtype: str) -> None:
        self._name = name
        self._dtype = dtype
        self._array: Optional[NDArray[Any]] = None
        self._lod: list[list[int]] = []

    def name(self) -> str:
        return self._name

    def type(self) -> DataType:
        return DataType(self._dtype if self._array is None else str(self._array.dtype))

    def place(self) -> PlaceType:
        return PlaceType.CPU

    def reshape(self, shape: Sequence[int]) -> None:
        """Do nothing: the array that comes has a shape of its own, which Paddle takes as well."""

    def shape(self) -> list[int]:
        return list(self.value().shape)

    def lod(self) -> list[list[int]]:
        return self._lod

    def set_lod(self, lod: Sequence[Sequence[int]]) -> None:
        """Keep `lod` for ``lod``; no operator of the engine reads it."""
        self._lod = [list(level) for level in lod]

    def copy_from_cpu(self, data: Any) -> None:
        self._array = np.array(_as_array(data))

    def share_external_data(self, data: Any) -> None:
        """Read `data`, an array or a Paddle tensor, where it lies, at each run."""
        self._array = _as_array(data)

    def share_external_data_by_ptr_name(self, *args: Any) -> None:
        raise ValueError("Tensor.share_external_data_by_ptr_name: shared memory by name is not supported")

    def copy_to_cpu(self) -> NDArray[Any]:
        return np.array(self.value())

    def value(self) -> NDArray[Any]:
        """Return the array itself."""
        if self._array is None:
            raise ValueError(f"Predictor: {self._name!r} has no value yet; call copy_from_cpu or run first")
        return self._array

    def set(self, array: NDArray[Any]) -> None:
        self._array = array


class Predictor:
    """A Session with Paddle Inference's calls.

    Examples
    --------
    >>> predictor = create_predictor(Config("model.qslim"))       # doctest: +SKIP
    >>> handle = predictor.get_input_handle(predictor.get_input_names()[0])  # doctest: +SKIP
    >>> handle.copy_from_cpu(image)                               # doctest: +SKIP
    >>> predictor.run()                                           # doctest: +SKIP
    >>> predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()  # doctest: +SKIP
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inputs = {spec.name: Tensor(spec.name, spec.dtype) for spec in session.inputs}
        self._outputs = {spec.name: Tensor(spec.name, spec.dtype) for spec in session.outputs}
        self._input_hooks: list[_Hook] = []
        self._output_hooks: list[_Hook] = []

    def get_input_names(self) -> list[str]:
        return list(self._inputs)

    def get_output_names(self) -> list[str]:
        return list(self._outputs)

    def get_input_handle(self, name: str) -> Tensor:
        return self._find(self._inputs, name, "input")

    def get_output_handle(self, name: str) -> Tensor:
        return self._find(self._outputs, name, "output")

    get_input_tensor, get_output_tensor = get_input_handle, get_output_handle

    def register_input_hook(self, hook: _Hook) -> None:
        """Call ``hook("feed", name, tensor)`` for each input before a run; the engine shows no others."""
        self._input_hooks.append(hook)

    def register_output_hook(self, hook: _Hook) -> None:
        """Call ``hook("fetch", name, tensor)`` for each output after a run; the engine shows no others."""
        self._output_hooks.append(hook)

    def run(self, inputs: Optional[Sequence[Any]] = None) -> Any:
        """Run on what the input handles hold, or on `inputs`, in the order of the names.

        Returns
        -------
        True, or for `inputs` a list of outputs: Paddle tensors if `inputs` are, else arrays.
        """
        if inputs is not None:
            if len(inputs) != len(self._inputs):
                raise ValueError(f"Predictor.run: expected {len(self._inputs)} arrays, got {len(inputs)}")
            for handle, given in zip(self._inputs.values(), inputs):
                handle.share_external_data(given)
        for hook in self._input_hooks:
            for name, handle in self._inputs.items():
                hook("feed", name, handle)
        outputs = self._session.run({name: handle.value() for name, handle in self._inputs.items()})
        for handle, array in zip(self._outputs.values(), outputs):
            handle.set(array)
        for hook in self._output_hooks:
            for name, handle in self._outputs.items():
                hook("fetch", name, handle)
        if inputs is None:
            return True
        if any(hasattr(each, "numpy") for each in inputs):
            import paddle

            return [paddle.to_tensor(output) for output in outputs]
        return outputs

    zero_copy_run = run

    def clone(self, stream: Any = None) -> Predictor:
        """Return another one on the same model; weights and threads are shared."""
        del stream
        return Predictor(self._session)

    def clear_intermediate_tensor(self) -> None:
        """Do nothing: memory is planned once."""

    def try_shrink_memory(self) -> int:
        return 0

    @staticmethod
    def _find(handles: dict[str, Tensor], name: str, what: str) -> Tensor:
        if name not in handles:
            raise ValueError(f"Predictor: there is no {what} {name!r}; there are {list(handles)}")
        return handles[name]


class PredictorPool:
    """Predictors for several threads, on one model: its weights lie in memory once."""

    def __init__(self, config: Config, size: int = 1) -> None:
        if size < 1:
            raise ValueError(f"PredictorPool: size must be at least 1, got {size}")
        first = create_predictor(config)
        self._predictors = [first, *(first.clone() for _ in range(size - 1))]

    def retrieve(self, index: int) -> Predictor:
        """Return predictor `index`, counted from 0."""
        if not 0 <= index < len(self._predictors):
            count = len(self._predictors)
            raise ValueError(f"PredictorPool: there are {count} predictors, got index {index}")
        return self._predictors[index]

    retrive = retrieve  # Paddle's older spelling


def create_predictor(config: Config) -> Predictor:
    """Return the Predictor for `config`.

    Raises
    ------
    ValueError : the config names no model, or one that cannot be run; MissingFileError where it is not there.
    """
    threads = config.cpu_math_library_num_threads()
    buffers = config.model_buffers()
    if buffers is not None:
        return Predictor(Session(_graph_of_bytes(*buffers), num_threads=threads))
    path, params = config.model_source()
    if params is None or path.endswith(".qslim"):
        return Predictor(Session(path, num_threads=threads))
    from qslim.importers.paddle import find_model_files, import_model

    directory, name = (path, None) if os.path.isdir(path) else os.path.split(path)
    if os.path.dirname(os.path.abspath(params)) != os.path.abspath(directory or "."):
        # Paddle looks for both in one directory.
        program = _read(path if name else find_model_files(directory).program)
        return Predictor(Session(_graph_of_bytes(program, _read(params)), num_threads=threads))
    graph = import_model(directory or ".", name, os.path.basename(params))
    return Predictor(Session(graph, num_threads=threads))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise MissingFileError(f"create_predictor: there is no file {path!r}") from None


def _graph_of_bytes(program: bytes, params: bytes) -> Any:
    from qslim.importers.paddle import import_model

    ending = ".json" if program.lstrip()[:1] == b"{" else ".pdmodel"
    with tempfile.TemporaryDirectory(prefix="qslim-") as directory:
        for name, data in (("model" + ending, program), ("model.pdiparams", params)):
            if data:
                with open(os.path.join(directory, name), "wb") as file:
                    file.write(data)
        return import_model(directory)


def get_version() -> str:
    """Return the engine that runs in place of Paddle Inference, and its version."""
    return f"qslim {__version__}"


def get_trt_compile_version() -> tuple[int, int, int]:
    """Return (0, 0, 0): there is no TensorRT."""
    return (0, 0, 0)


def get_trt_runtime_version() -> tuple[int, int, int]:
    """Return (0, 0, 0): there is no TensorRT."""
    return (0, 0, 0)


def get_num_bytes_of_data_type(dtype: Union[DataType, str]) -> int:
    """Return the bytes of one element."""
    name = DataType(dtype).value
    return 2 if name == "bfloat16" else np.dtype(name).itemsize


def convert_to_mixed_precision(*args: Any, **kwargs: Any) -> None:
    """Raise an error: the engine computes in int8 and float32."""
    raise ValueError(
        "convert_to_mixed_precision: this engine computes in int8 and float32; quantize the model with "
        "qslim.quant.quant_post_static instead"
    )


def _as_array(data: Any) -> NDArray[Any]:
    if hasattr(data, "numpy") and callable(data.numpy):
        return np.asarray(data.numpy())
    return np.asarray(data)
