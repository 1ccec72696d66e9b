# SPDX-License-Identifier: Apache-2.0
"""ObservingSession: a Graph whose outputs are shown while it runs, for statistics of inner tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from numpy.typing import ArrayLike, NDArray

from qslim import _core
from qslim.graph import Graph
from qslim.runtime.model_source import model_source
from qslim.runtime.session import TensorSpec, as_array
from qslim.threads import default_threads

__all__ = ["ObservingSession"]


class ObservingSession:
    """Run a Graph and show each output as soon as it is complete; then its memory is used again.

    A run needs the memory of plain inference, however many outputs there are, and one tensor more where the
    engine stores another order of axes than the Graph. Between runs the memory for the last shapes alone is
    kept.

    Parameters
    ----------
    graph : Graph
    by_image : bool
        Run a batch as one image after the other where images do not meet in the network.
    num_threads, max_memory : as for Session

    Raises
    ------
    ValueError : an operator has no kernel.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        by_image: bool = True,
        num_threads: Optional[int] = None,
        max_memory: Optional[int] = None,
    ) -> None:
        source, tail = model_source(graph)
        if tail is not None:
            raise ValueError(f"ObservingSession: the engine has no kernel for {', '.join(tail.operators)}")
        threads = default_threads() if num_threads is None else num_threads
        self._core = _core.Session(source, threads, None, max_memory, observes=True, splits_batches=by_image)
        self._inputs = [TensorSpec(*spec) for spec in self._core.inputs]

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return [spec.name for spec in self._inputs]

    @property
    def memory(self) -> dict[str, int]:
        """Return the bytes that ``Session.memory`` gives, for the shapes of the last run."""
        return self._core.memory

    def shapes(self, feeds: dict[str, ArrayLike]) -> tuple[list[tuple[int, ...]], int]:
        """Return the outputs' shapes for `feeds`, and the number of images that run one by one, or 1."""
        return self._core.observed_shapes(self._arrays(feeds))

    def run(self, feeds: dict[str, ArrayLike], show: Callable[[int, NDArray[Any], int], None]) -> None:
        """Run the network and call ``show(output, array, image)`` for each output when it is complete.

        Parameters
        ----------
        feeds : dict of array
            One for each input, of the shapes that it takes.
        show : callable
            `output` is the output's place in ``graph.outputs``. `array` is read-only and there until the call
            returns: of one image, number `image` of the batch, where the batch runs image by image.

        Raises
        ------
        RuntimeError : `show` has kept an array. What `show` raises passes through.
        """
        self._core.observe(self._arrays(feeds), show)

    def _arrays(self, feeds: dict[str, ArrayLike]) -> list[NDArray[Any]]:
        return [as_array(feeds[spec.name], spec) for spec in self._inputs]
