# SPDX-License-Identifier: Apache-2.0
"""Range, mean and standard deviation of each quantized tensor, beside those in float: statistic.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.quant.analysis.layer_errors import float_activations
from qslim.quant.analysis.quantization import Quantization

__all__ = ["COLUMNS", "TensorRow", "tensor_rows"]

_KINDS = ("Min", "Max", "Mean", "Std")
# PaddleSlim's.
COLUMNS = (
    *("Var Name", "Var Type", "Corresponding Weight Name"),
    *(f"{which} {kind}" for which in ("FP32", "Quantized", "Diff") for kind in _KINDS),
)


@dataclass
class TensorRow:
    """One row of statistic.csv: (min, max, mean, std) in float and quantized."""

    name: str
    kind: str
    weight: str
    in_float: tuple[float, ...]
    quantized: tuple[float, ...]

    def cells(self) -> Sequence[Any]:
        """Return the cells under `COLUMNS`."""
        numbers = [*self.in_float, *self.quantized]
        numbers += [a - b for a, b in zip(self.in_float, self.quantized)]
        return [self.name, self.kind, self.weight, *(round(number, 4) for number in numbers)]


def tensor_rows(quantization: Quantization, axis: Optional[int] = None) -> list[TensorRow]:
    """Return a row for each weight and, over the kept samples, for each activation."""
    places = [
        (layer, name, params) for layer in quantization.layers for name, params in layer.activations.items()
    ]
    sums = [(_Sums(), _Sums()) for _ in places]
    for values in float_activations(quantization, [name for _, name, _ in places]):
        for (in_float, quantized), (_, name, params) in zip(sums, places):
            in_float.add(_sliced(values[name], axis))
            quantized.add(_sliced(params.fake_quantize(values[name]), axis))
    rows = [
        TensorRow(name, "Activation", layer.weight or "", in_float.row, quantized.row)
        for (in_float, quantized), (layer, name, _) in zip(sums, places)
    ]
    for layer in quantization.layers:
        if layer.weight is not None:
            value = quantization.graph.tensors[layer.weight].value
            assert value is not None
            assert layer.weight_value is not None
            both = (_Sums(), _Sums())
            both[0].add(_sliced(value, axis))
            both[1].add(_sliced(layer.weight_value, axis))
            rows.append(TensorRow(layer.weight, "Weight", layer.weight, both[0].row, both[1].row))
    return rows


class _Sums:
    """Range and moments of several arrays together."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, 0.0, 0.0
        self._min, self._max = math.inf, -math.inf

    def add(self, values: NDArray[Any]) -> None:
        self._count += values.size
        self._sum += float(values.sum(dtype=np.float64))
        self._squares += float(np.square(values, dtype=np.float64).sum())
        self._min, self._max = min(self._min, float(values.min())), max(self._max, float(values.max()))

    @property
    def row(self) -> tuple[float, ...]:
        mean = self._sum / self._count
        return self._min, self._max, mean, math.sqrt(max(0.0, self._squares / self._count - mean**2))


def _sliced(values: NDArray[Any], axis: Optional[int]) -> NDArray[Any]:
    """Return `values`, or with an `axis` the largest magnitude in each slice along it."""
    if axis is None or not -values.ndim <= axis < values.ndim:
        return values
    others = tuple(each for each in range(values.ndim) if each != axis % values.ndim)
    return np.asarray(np.abs(values).max(axis=others))
