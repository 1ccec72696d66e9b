# SPDX-License-Identifier: Apache-2.0
"""The C++ core. Arrays are C-contiguous; nothing is copied. `qslim.functional` is the friendlier door."""

from collections.abc import Callable
from typing import Any, Literal, Optional, Union, overload

import numpy as np
from numpy.typing import NDArray

_Float32 = NDArray[np.float32]
_Scale = Union[float, NDArray[np.float32]]
_ZeroPoint = Union[int, NDArray[np.int32]]
_Rounding = Literal["ties_to_even", "ties_away"]

__version__: str

class FormatError(ValueError): ...

def detected_isa() -> str: ...
def available_isas() -> list[str]: ...

class Context:
    def __init__(self, num_threads: int = 1, isa: Optional[str] = None) -> None: ...
    @property
    def num_threads(self) -> int: ...
    @property
    def isa(self) -> str: ...

def fake_quant(
    x: _Float32,
    scale: _Scale,
    zero_point: _ZeroPoint,
    qmin: int,
    qmax: int,
    quant_axis: Optional[int] = None,
    rounding: _Rounding = "ties_to_even",
    out: Optional[_Float32] = None,
    context: Optional[Context] = None,
) -> _Float32: ...
def fake_quant_backward(
    x: _Float32,
    grad: _Float32,
    scale: _Scale,
    zero_point: _ZeroPoint,
    qmin: int,
    qmax: int,
    quant_axis: Optional[int] = None,
    gradient: Literal["clipped", "straight_through"] = "clipped",
    rounding: _Rounding = "ties_to_even",
    out: Optional[_Float32] = None,
    context: Optional[Context] = None,
) -> _Float32: ...
@overload
def pact_backward(
    x: _Float32,
    grad: _Float32,
    threshold: _Scale,
    is_unsigned: bool = False,
    quant_axis: None = None,
    out: Optional[_Float32] = None,
    context: Optional[Context] = None,
) -> tuple[_Float32, float]: ...
@overload
def pact_backward(
    x: _Float32,
    grad: _Float32,
    threshold: _Scale,
    is_unsigned: bool,
    quant_axis: int,
    out: Optional[_Float32] = None,
    context: Optional[Context] = None,
) -> tuple[_Float32, NDArray[np.float64]]: ...
@overload
def lsq_backward(
    x: _Float32,
    grad: _Float32,
    scale: _Scale,
    zero_point: _ZeroPoint,
    qmin: int,
    qmax: int,
    quant_axis: None = None,
    out: Optional[_Float32] = None,
    context: Optional[Context] = None,
) -> tuple[_Float32, float, float]: ...
@overload
def lsq_backward(
    x: _Float32,
    grad: _Float32,
    scale: _Scale,
    zero_point: _ZeroPoint,
    qmin: int,
    qmax: int,
    quant_axis: int,
    out: Optional[_Float32] = None,
    context: Optional[Context] = None,
) -> tuple[_Float32, NDArray[np.float64], NDArray[np.float64]]: ...

# int8 where qmin < 0, else uint8.
def quantize(
    x: _Float32,
    scale: _Scale,
    zero_point: _ZeroPoint,
    qmin: int,
    qmax: int,
    quant_axis: Optional[int] = None,
    rounding: _Rounding = "ties_to_even",
    out: Optional[Union[NDArray[np.int8], NDArray[np.uint8]]] = None,
    context: Optional[Context] = None,
) -> Union[NDArray[np.int8], NDArray[np.uint8]]: ...
def dequantize(
    q: Union[NDArray[np.int8], NDArray[np.uint8]],
    scale: _Scale,
    zero_point: _ZeroPoint,
    quant_axis: Optional[int] = None,
    out: Optional[_Float32] = None,
    context: Optional[Context] = None,
) -> _Float32: ...
@overload
def abs_max(x: _Float32, quant_axis: None = None, context: Optional[Context] = None) -> float: ...
@overload
def abs_max(x: _Float32, quant_axis: int, context: Optional[Context] = None) -> _Float32: ...
@overload
def min_max(
    x: _Float32, quant_axis: None = None, context: Optional[Context] = None
) -> tuple[float, float]: ...
@overload
def min_max(x: _Float32, quant_axis: int, context: Optional[Context] = None) -> tuple[_Float32, _Float32]: ...
@overload
def sum(x: _Float32, quant_axis: None = None, context: Optional[Context] = None) -> float: ...
@overload
def sum(x: _Float32, quant_axis: int, context: Optional[Context] = None) -> NDArray[np.float64]: ...
@overload
def sum_of_squares(x: _Float32, quant_axis: None = None, context: Optional[Context] = None) -> float: ...
@overload
def sum_of_squares(
    x: _Float32, quant_axis: int, context: Optional[Context] = None
) -> NDArray[np.float64]: ...
def filter_saliency(
    weight: _Float32,
    criterion: Literal["l1_norm", "l2_norm", "fpgm", "taylor"],
    axis: int = 0,
    gradient: Optional[_Float32] = None,
    context: Optional[Context] = None,
) -> _Float32: ...

# Counts, and the bins + 1 edges.
def histogram(
    x: _Float32, bins: int, lo: float, hi: float, context: Optional[Context] = None
) -> tuple[NDArray[np.uint64], _Float32]: ...

class TensorStatistics:
    def __init__(self, bins: int = 4096) -> None: ...
    def update(self, x: _Float32, context: Optional[Context] = None) -> None: ...
    def merge(self, other: TensorStatistics) -> None: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(bytes: bytes) -> TensorStatistics: ...
    @property
    def bins(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...
    @property
    def abs_max(self) -> float: ...
    @property
    def average_abs_max(self) -> float: ...
    @property
    def bin_width(self) -> float: ...
    @property
    def positive_histogram(self) -> NDArray[np.uint64]: ...
    @property
    def negative_histogram(self) -> NDArray[np.uint64]: ...

def inverse_factor(sums: NDArray[np.float64]) -> NDArray[np.float64]: ...
def round_rows(
    targets: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    sums: NDArray[np.float64],
    upper_factor: NDArray[np.float64],
    most_sweeps: int,
    context: Optional[Context] = None,
) -> NDArray[np.float64]: ...
def find_threshold(
    statistics: TensorStatistics,
    algo: str,
    quant_bits: int = 8,
    is_unsigned: bool = False,
    hist_percent: float = 0.9999,
) -> float: ...
def quantization_error(
    statistics: TensorStatistics, scale: float, zero_point: int, qmin: int, qmax: int
) -> float: ...
def operator_names() -> list[str]: ...
def operator_traits() -> list[tuple[str, str]]: ...

class Session:
    def __init__(
        self,
        source: Union[str, bytes],
        num_threads: int = 1,
        isa: Optional[str] = None,
        max_memory: Optional[int] = None,
        observes: bool = False,
        splits_batches: bool = True,
    ) -> None: ...
    def run(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]: ...
    def observe(
        self, inputs: list[NDArray[Any]], callback: Callable[[int, NDArray[Any], int], None]
    ) -> None: ...
    def observed_shapes(self, inputs: list[NDArray[Any]]) -> tuple[list[tuple[int, ...]], int]: ...
    def profile(
        self, inputs: list[NDArray[Any]], runs: int
    ) -> list[tuple[str, str, str, str, str, int, float]]: ...
    @property
    def inputs(self) -> list[tuple[str, str, Optional[tuple[Optional[int], ...]]]]: ...
    @property
    def outputs(self) -> list[tuple[str, str, Optional[tuple[Optional[int], ...]]]]: ...
    @property
    def num_threads(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def refused_threads(self) -> int: ...
    @property
    def memory(self) -> dict[str, int]: ...
