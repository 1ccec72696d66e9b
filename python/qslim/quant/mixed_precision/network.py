# SPDX-License-Identifier: Apache-2.0
"""A network with some of its layers in fp32, to be run on data: in the engine or else in Paddle."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.importers.paddle import ModelFiles, PaddleProgram, load_program
from qslim.logger import logger
from qslim.quant.analysis.quantization import Quantization
from qslim.runtime import Session

__all__ = ["Network"]


class Network:
    """A quantized network, or the float one, to be run on data.

    The engine runs it, to the bits that Paddle gives for the files that are written. Where the engine lacks
    an operator Paddle runs it.

    Attributes
    ----------
    inputs, outputs : list of str
        Names, in the model's order.
    in_float : frozenset of str
        The layers in fp32, by what skip_tensor_list takes.

    An eval_function gets one; docs/post_training_quantization.md shows how.
    """

    def __init__(self, quantization: Quantization, in_float: Collection[str]) -> None:
        self._quantization, self.in_float = quantization, frozenset(in_float)
        self._layers = [layer for layer in quantization.layers if layer.name not in in_float]
        self.inputs = [spec.name for spec in quantization.program.feeds]
        self.outputs = list(quantization.graph.outputs)
        self.session: Optional[Session] = None
        self._program: Optional[PaddleProgram] = None
        try:
            self.session = Session(quantization.graph_with(self._layers))
        except ValueError as error:
            if not isinstance(quantization.program, PaddleProgram):
                raise
            logger.debug("the network is judged in Paddle: %s", error)

    def __call__(self, *arrays: Any, **by_name: Any) -> list[NDArray[Any]]:
        """Return the outputs for arrays in the order of `inputs`, or by their names."""
        if len(arrays) > len(self.inputs):
            raise ValueError(
                f"network: expected at most {len(self.inputs)} arrays ({', '.join(self.inputs)}), "
                f"got {len(arrays)}"
            )
        return self.run({**dict(zip(self.inputs, arrays)), **by_name})

    def run(self, feeds: Mapping[str, Any]) -> list[NDArray[Any]]:
        """Return the outputs for `feeds` by name."""
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise ValueError(
                f"network: lacks input {', '.join(map(repr, missing))}; got {', '.join(map(repr, feeds))}"
            )
        if self.session is not None:
            return self.session.run({spec.name: feeds[spec.name] for spec in self.session.inputs})
        if self._program is None:
            with self.files() as files:
                self._program = load_program(files)
        values = {name: np.ascontiguousarray(feeds[name]) for name in self.inputs}
        return [np.array(value) for value in self._program.run(values, self._program.graph.outputs)]

    @contextlib.contextmanager
    def files(self) -> Iterator[ModelFiles]:
        """Yield the files of the network as a Paddle model, which go after the block."""
        if not self._layers:
            yield self._quantization.files
            return
        with tempfile.TemporaryDirectory(prefix="qslim-") as directory:
            yield self._quantization.write(self._layers, directory)[0]
