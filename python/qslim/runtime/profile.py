# SPDX-License-Identifier: Apache-2.0
"""The time that a run spends, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qslim.reports import Report, Rows, table

__all__ = ["Layer", "Profile"]


@dataclass(frozen=True)
class Layer:
    """One step of a run.

    Attributes
    ----------
    name : str
        The operator it comes from.
    op : str
        What is computed, fused operators joined by "+" ("Conv+Relu").
    kernel : str
        The function that computes it, with its instruction set ("gemm_u8s8_avx2").
    type : str
        "int8", "float32", or a conversion ("float32->int8").
    reason : str
        Why a layer that could be int8 is not; empty otherwise.
    macs : int
        Multiply-accumulate operations.
    seconds : float
        The least time that it took in the runs.
    """

    name: str
    op: str
    kernel: str
    type: str
    reason: str
    macs: int
    seconds: float

    @property
    def gmacs_per_second(self) -> float:
        """10^9 multiply-accumulates a second; 0 for layers without any."""
        return self.macs / self.seconds / 1e9 if self.seconds > 0 else 0.0


class Profile(Report, Sequence[Layer]):
    """The layers of a run in their order. ``print`` shows them as a table, and so does a notebook."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = list(layers)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    @property
    def seconds(self) -> float:
        """The sum over all layers."""
        return sum(layer.seconds for layer in self._layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self._layers)

    def to_dict(self) -> dict[str, Any]:
        return {
            "layers": [asdict(layer) for layer in self._layers],
            "seconds": self.seconds,
            "macs": self.macs,
        }

    def rows(self) -> list[Rows]:
        rows = [("layer", "op", "type", "kernel", "us", "MMAC", "GMAC/s", "why not int8")]
        for layer in self._layers:
            rate = f"{layer.gmacs_per_second:.1f}" if layer.macs else ""
            megamacs = f"{layer.macs / 1e6:.2f}" if layer.macs else ""
            time = f"{layer.seconds * 1e6:.1f}"
            rows.append((layer.name, layer.op, layer.type, layer.kernel, time, megamacs, rate, layer.reason))
        total = f"{self.seconds * 1e6:.1f}"
        rows.append(("total", "", "", "", total, f"{self.macs / 1e6:.2f}", "", ""))
        return [rows]

    def __str__(self) -> str:
        return table(self.rows()[0], numbers=range(4, 7))
