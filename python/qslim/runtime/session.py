# SPDX-License-Identifier: Apache-2.0
"""Session: a model, ready to run on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qslim import _core
from qslim.files.qslim_format import check_cut
from qslim.graph import Graph
from qslim.graph.host_tail import HostTail
from qslim.logger import logger
from qslim.runtime.model_source import model_source
from qslim.runtime.profile import Layer, Profile
from qslim.threads import default_threads

__all__ = ["Session", "TensorSpec"]

_Feeds = Mapping[str, ArrayLike]


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of an input or output; None where an extent is open."""

    name: str
    dtype: str
    shape: Optional[tuple[Optional[int], ...]]


class Session:
    """Run a model: int8 where it is quantized, float32 elsewhere, the same bits on every machine.

    Parameters
    ----------
    model : str, path or Graph
        A ``.qslim`` file, a directory that holds one, or a Graph; also a Paddle model, float or quantized (a
        ``.json`` or ``.pdmodel`` file, or a directory with one and no ``.qslim`` file), which needs Paddle
        to be read. Beside a Paddle model, a directory's ``.qslim`` file must be the one written with it.
    num_threads : int, optional
        Threads of a run, the caller's included. Default: the environment's ``QSLIM_NUM_THREADS``, else the
        number of CPUs that this process may use.
    isa : {"scalar", "avx2", "avxvnni", "avx512", "avx512vnni", "neon", "dotprod", "i8mm"}, optional
        The best instruction set to use. Default: the machine's best, capped by ``QSLIM_ISA``.
    max_memory : int, optional
        Bytes that packed weights and the activations and scratch of all kept extents may take together.
        Default: 8 GiB. A run that alone needs more is an error, else the extents that were used longest ago
        are forgotten; threads that run at once wait for each other where there is no room for all.

    Raises
    ------
    qslim.FormatError : the file is not a whole model file.
    ValueError : the file cannot be opened, or belongs to another Paddle model than the one beside it; an
        operator has no kernel; an unknown `isa`.

    Notes
    -----
    The last steps of a detector, whose results have as many rows as there are objects, run in NumPy behind
    the engine.

    Extents that the model leaves open may change from run to run. Memory and order of work are prepared at
    the first run with new extents and kept for the last few. Runs may come from several threads at once and
    after ``fork``, which waits for extents that are being prepared; the GIL is released meanwhile. A file of
    more than 64 MiB is mapped: replace it by renaming another one, never cut it.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.graph import Graph, Node, Tensor
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> for name in ("x", "y"):
    ...     _ = graph.add_tensor(Tensor(name, "float32", (None, 3)))
    >>> graph.add_node(Node("Relu", ["x"], ["y"]))
    >>> session = Session(graph, num_threads=1)
    >>> session.run({"x": np.float32([[-1, 0, 2]])})
    [array([[0., 0., 2.]], dtype=float32)]
    """

    def __init__(
        self,
        model: Union[str, os.PathLike[str], Graph],
        num_threads: Optional[int] = None,
        isa: Optional[str] = None,
        *,
        max_memory: Optional[int] = None,
    ) -> None:
        if max_memory is not None and (type(max_memory) is not int or not 1 <= max_memory < 2**63):
            raise ValueError(
                f"Session: max_memory must be a number of bytes of at least 1, got {max_memory!r}"
            )
        threads = default_threads() if num_threads is None else num_threads
        source, self._tail = model_source(model)
        self._core = _core.Session(source, threads, isa, max_memory)
        self._inputs = {spec[0]: TensorSpec(*spec) for spec in self._core.inputs}
        self._outputs = [TensorSpec(*spec) for spec in self._core.outputs]
        self._core_inputs, self._core_outputs = list(self._inputs), [spec.name for spec in self._outputs]
        if self._tail is not None:
            known, tail = self._inputs, self._tail
            check_cut(tail, self._core_inputs, self._core_outputs)
            self._inputs = {name: known.get(name) or _spec_of(tail, name) for name in tail.feeds}
            self._outputs = [_spec_of(tail, name) for name in tail.graph.outputs]
        self._output_places = {spec.name: place for place, spec in reversed(list(enumerate(self._outputs)))}
        self._is_told = False

    @property
    def inputs(self) -> list[TensorSpec]:
        return list(self._inputs.values())

    @property
    def outputs(self) -> list[TensorSpec]:
        return list(self._outputs)

    @property
    def num_threads(self) -> int:
        return self._core.num_threads

    @property
    def isa(self) -> str:
        return self._core.isa

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of the file, of packed weights, and of activations and scratch for all kept extents."""
        return self._core.memory

    def run(self, *args: Any) -> list[NDArray[Any]]:
        """Run the network, as ``run(feeds)`` or ``run(output_names, feeds)``: arrays in, arrays out.

        Parameters
        ----------
        output_names : list of str or None
            Which outputs to return; None, or left out: all of them, in the model's order.
        feeds : dict of array
            One for each input. Other float types are converted; the shape must fit.

        Returns
        -------
        list of ndarray : new arrays.
        """
        if len(args) not in (1, 2):
            raise TypeError(
                f"Session.run: expected (feeds) or (output_names, feeds), got {len(args)} arguments"
            )
        wanted = self._output_indices(args[0] if len(args) == 2 else None)
        arrays = self._arrays(args[-1])
        outputs = self._core.run([arrays[name] for name in self._core_inputs])
        if self._tail is not None:
            outputs = self._tail.run({**arrays, **dict(zip(self._core_outputs, outputs))})
        if self._core.refused_threads and not self._is_told:
            self._is_told = True
            logger.warning(
                "Session: the system started %d of %d threads; runs go on with those",
                self.num_threads - self._core.refused_threads,
                self.num_threads,
            )
        return outputs if wanted is None else [outputs[i] for i in wanted]

    def profile(self, feeds: Optional[_Feeds] = None, runs: int = 20) -> Profile:
        """Time each layer `runs` times, on one image where the batch runs image by image.

        Without `feeds`, on random ones, if nothing but the batch is open.
        """
        if runs < 1:
            raise ValueError(f"Session.profile: runs must be at least 1, got {runs}")
        arrays = self._arrays(self._random_feeds() if feeds is None else feeds)
        inputs = [arrays[name] for name in self._core_inputs]
        return Profile([Layer(*layer) for layer in self._core.profile(inputs, runs)])

    def _output_indices(self, names: Optional[Sequence[str]]) -> Optional[list[int]]:
        if names is None:
            return None
        places = self._output_places
        for name in names:
            if name not in places:
                raise ValueError(f"Session.run: there is no output {name!r}; the outputs are {list(places)}")
        return [places[name] for name in names]

    def _arrays(self, feeds: _Feeds) -> dict[str, NDArray[Any]]:
        if not isinstance(feeds, Mapping):
            raise TypeError(f"Session.run: feeds must be a dict of arrays, got {type(feeds).__name__}")
        if feeds.keys() != self._inputs.keys():
            raise ValueError(f"Session.run: expected feeds for {list(self._inputs)}, got {list(feeds)}")
        return {name: as_array(feeds[name], spec) for name, spec in self._inputs.items()}

    def _random_feeds(self) -> dict[str, NDArray[Any]]:
        rng = np.random.default_rng(0)
        feeds = {}
        for spec in self._inputs.values():
            shape = spec.shape
            if shape is None or any(extent is None for extent in shape[1:]):
                raise ValueError(
                    f"Session.profile: input {spec.name!r} has open extents {shape}; "
                    "pass feeds of the shape to time"
                )
            extents = tuple(1 if extent is None else extent for extent in shape)
            feeds[spec.name] = rng.standard_normal(extents).astype(spec.dtype)
        return feeds

    def __repr__(self) -> str:
        inputs = ", ".join(f"{spec.name}{list(spec.shape or ())}" for spec in self.inputs)
        return f"Session({inputs}; num_threads={self.num_threads}, isa={self.isa!r})"


def _spec_of(tail: HostTail, name: str) -> TensorSpec:
    tensor = tail.graph.tensors.get(name)
    return (
        TensorSpec(name, "float32", None) if tensor is None else TensorSpec(name, tensor.dtype, tensor.shape)
    )


def as_array(value: ArrayLike, spec: TensorSpec) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"Session.run: input {spec.name!r} is no array of numbers: {error}") from error
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise TypeError(f"Session.run: input {spec.name!r} must be {spec.dtype}, got {array.dtype}")
    if array.dtype.kind in "iu" and np.dtype(spec.dtype).kind in "iu" and array.size:
        limits = np.iinfo(spec.dtype)
        if not limits.min <= int(array.min()) <= int(array.max()) <= limits.max:
            raise ValueError(
                f"Session.run: input {spec.name!r} is {array.dtype} and has values that {spec.dtype} "
                "cannot hold"
            )
    return np.ascontiguousarray(array, spec.dtype).reshape(array.shape)
