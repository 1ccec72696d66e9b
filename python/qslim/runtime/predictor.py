# SPDX-License-Identifier: Apache-2.0
"""Paddle Inference's calls, run by the engine: code written for it changes one import.

    from paddle.inference import Config, create_predictor      becomes
    from qslim.runtime import Config, create_predictor

Source: the Python API reference of Paddle Inference 3 (Config, create_predictor, Predictor, Tensor).
"""

from __future__ import annotations

import os
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qslim.importers.qslim_file import check_beside
from qslim.runtime.session import Session

__all__ = ["Config", "Predictor", "create_predictor"]


class Config:
    """Which model to run and how.

    Parameters
    ----------
    model : str
        A ``.qslim`` file, a directory that holds one, or a ``.pdmodel`` or ``.json`` file. If no ``.qslim``
        file of that name lies beside it, Paddle reads it.
    params : str, optional
        Ignored: the parameters are in the ``.qslim`` file.

    Notes
    -----
    Settings that change how Paddle works but not what it computes are accepted and do nothing. Asking for a
    GPU is an error: this engine runs on the CPU.
    """

    def __init__(self, model: Optional[str] = None, params: Optional[str] = None) -> None:
        self._model = ""
        self._threads: Optional[int] = None
        if model is not None:
            self.set_model(model, params)

    def set_model(self, model: str, params: Optional[str] = None) -> None:
        path = os.fspath(model)
        stem, ending = os.path.splitext(path)
        is_written = ending in (".pdmodel", ".json") and os.path.exists(stem + ".qslim")
        if is_written and os.path.exists(path):
            check_beside(stem + ".qslim")
        self._model = stem + ".qslim" if is_written else path

    set_prog_file = set_model

    def model_dir(self) -> str:
        return self._model

    def prog_file(self) -> str:
        return self._model

    def set_cpu_math_library_num_threads(self, threads: int) -> None:
        self._threads = int(threads)

    def cpu_math_library_num_threads(self) -> int:
        return self._threads or 1

    def use_gpu(self) -> bool:
        return False

    def enable_use_gpu(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("Config.enable_use_gpu: this engine runs on the CPU; leave the call out")

    def _accept(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do here."""

    disable_gpu = disable_glog_info = disable_mkldnn = disable_onednn = enable_memory_optim = _accept
    enable_mkldnn = enable_mkldnn_int8 = enable_new_executor = enable_new_ir = enable_onednn = _accept
    set_mkldnn_cache_capacity = set_params_file = switch_ir_debug = switch_ir_optim = _accept
    switch_specify_input_names = switch_use_feed_fetch_ops = _accept


class _Handle:
    """An input or output of a Predictor."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._array: Optional[NDArray[Any]] = None
        self._shape: Optional[tuple[int, ...]] = None

    def name(self) -> str:
        return self._name

    def reshape(self, shape: Any) -> None:
        """The shape of what `copy_from_cpu` will bring."""
        self._shape = tuple(int(extent) for extent in shape)

    def shape(self) -> list[int]:
        return list(self.value().shape)

    def copy_from_cpu(self, data: ArrayLike) -> None:
        array = np.array(data)
        self._array = array if self._shape is None else array.reshape(self._shape)

    share_external_data = copy_from_cpu

    def copy_to_cpu(self) -> NDArray[Any]:
        return np.array(self.value())

    def value(self) -> NDArray[Any]:
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
        self._inputs = {spec.name: _Handle(spec.name) for spec in session.inputs}
        self._outputs = {spec.name: _Handle(spec.name) for spec in session.outputs}

    def get_input_names(self) -> list[str]:
        return list(self._inputs)

    def get_output_names(self) -> list[str]:
        return list(self._outputs)

    def get_input_handle(self, name: str) -> _Handle:
        return self._find(self._inputs, name, "input")

    def get_output_handle(self, name: str) -> _Handle:
        return self._find(self._outputs, name, "output")

    get_input_tensor, get_output_tensor = get_input_handle, get_output_handle

    def run(self, inputs: Optional[list[ArrayLike]] = None) -> Any:
        """Run on what the input handles hold; or on `inputs`, in the order of the names: returns a list."""
        if inputs is not None:
            if len(inputs) != len(self._inputs):
                raise ValueError(f"Predictor.run: expected {len(self._inputs)} arrays, got {len(inputs)}")
            for handle, array in zip(self._inputs.values(), inputs):
                handle.set(np.asarray(array))
        outputs = self._session.run({name: handle.value() for name, handle in self._inputs.items()})
        for handle, array in zip(self._outputs.values(), outputs):
            handle.set(array)
        return outputs if inputs is not None else True

    zero_copy_run = run

    def clone(self) -> Predictor:
        """Another one on the same model; weights and threads are shared."""
        return Predictor(self._session)

    def clear_intermediate_tensor(self) -> None:
        """Nothing to do: memory is planned once."""

    def try_shrink_memory(self) -> int:
        return 0

    @staticmethod
    def _find(handles: dict[str, _Handle], name: str, what: str) -> _Handle:
        if name not in handles:
            raise ValueError(f"Predictor: there is no {what} {name!r}; there are {list(handles)}")
        return handles[name]


def create_predictor(config: Config) -> Predictor:
    """The Predictor for `config`."""
    if not config.prog_file():
        raise ValueError("create_predictor: the config names no model; Config('model.qslim')")
    return Predictor(Session(config.prog_file(), num_threads=config.cpu_math_library_num_threads()))
