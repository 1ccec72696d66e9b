# SPDX-License-Identifier: Apache-2.0
"""Description of this machine: instruction sets, the kernels they give, and the measured gain of int8."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim import _core
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.reports import table
from qslim.runtime import Profile, Session
from qslim.threads import default_threads

__all__ = ["Gain", "MachineReport", "examine_machine"]

_PACKAGES = ("numpy", "paddlepaddle", "onnx", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Gain:
    """Time of one layer in int8 and in float, the least of the runs, in seconds, and its kernels."""

    layer: str
    int8_seconds: float
    float_seconds: float
    int8_kernel: str
    float_kernel: str

    @property
    def speedup(self) -> float:
        return self.float_seconds / self.int8_seconds if self.int8_seconds > 0 else 0.0


@dataclass(frozen=True)
class MachineReport:
    """The result of ``examine_machine``. ``print`` shows it.

    Attributes
    ----------
    cpu : str
    isas : list of str
        Instruction sets that the CPU has, the best last; `isa` is the one in use (``QSLIM_ISA`` caps it).
    threads : int
    kernels : dict of operator to the kernel that it gets, for int8 and float
    gains : list of Gain
    packages : dict of name to version, None where it is not installed
    """

    cpu: str
    isas: list[str]
    isa: str
    threads: int
    kernels: dict[str, str]
    gains: list[Gain]
    packages: dict[str, Optional[str]]

    def to_dict(self) -> dict[str, Any]:
        gains = [{**asdict(gain), "speedup": gain.speedup} for gain in self.gains]
        return {**asdict(self), "gains": gains}

    def __str__(self) -> str:
        versions = [f"{name} {version or '(not installed)'}" for name, version in self.packages.items()]
        lines = [
            f"CPU       {self.cpu}",
            f"qslim     {_core.__version__}, {self.isa} of {', '.join(self.isas)}, {self.threads} threads",
            f"packages  {', '.join(versions)}",
            "",
            table([("operator", "kernel"), *self.kernels.items()]),
            "",
        ]
        rows = [
            (
                each.layer,
                f"{each.int8_seconds * 1e6:.1f}",
                f"{each.float_seconds * 1e6:.1f}",
                f"{each.speedup:.2f}",
            )
            for each in self.gains
        ]
        head = ("one thread", "int8 us", "float us", "times as fast")
        return "\n".join([*lines, table([head, *rows], numbers=[1, 2, 3])])


def examine_machine(runs: int = 20) -> MachineReport:
    """Measure a convolution, a depthwise one and a linear layer in int8 and in float on one thread.

    Parameters
    ----------
    runs : int
        Runs of each; the least time counts.

    Examples
    --------
    >>> report = examine_machine(runs=1)
    >>> report.isa in report.isas, [gain.layer.split()[0] for gain in report.gains]
    (True, ['convolution', 'depthwise', 'linear'])
    """
    kernels: dict[str, str] = {}
    gains = []
    for layer, shape, weight, attributes in _LAYERS:
        steps = {}
        for quantized in (True, False):
            graph = _one_product(shape, weight, attributes, quantized)
            session = Session(graph, num_threads=1)
            profile = session.profile({"x": _values(shape)}, runs)
            steps[quantized] = max(profile, key=lambda step: step.macs)
            _note_kernels(profile, layer.split(",")[0], quantized, kernels)
        int8, fp32 = steps[True], steps[False]
        gains.append(Gain(layer, int8.seconds, fp32.seconds, int8.kernel, fp32.kernel))
    return MachineReport(
        cpu=_cpu_name(),
        isas=list(_core.available_isas()),
        isa=_core.Context(1).isa,
        threads=default_threads(),
        kernels=kernels,
        gains=gains,
        packages={name: _version(name) for name in _PACKAGES},
    )


# Name, data, weight, attributes: of the sizes that networks for pictures have in their middle.
_LAYERS: Sequence[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = (
    ("convolution 3x3, 64 to 64 channels, 28x28", (1, 64, 28, 28), (64, 64, 3, 3), {"pads": [1, 1, 1, 1]}),
    ("depthwise convolution 3x3, 128 channels, 28x28", (1, 128, 28, 28), (128, 1, 3, 3),
     {"pads": [1, 1, 1, 1], "group": 128}),
    ("linear layer, 512 to 512", (1, 512), (512, 512), {}),
)  # fmt: skip


def _one_product(
    shape: tuple[int, ...], weight: tuple[int, ...], attributes: dict[str, Any], quantized: bool
) -> Graph:
    """Return a Graph of one product and a Relu between quantized tensors, or in float."""
    graph = Graph(inputs=["x"], outputs=["z"])
    is_conv = len(shape) == 4
    channels = weight[0] if is_conv else weight[1]
    result = (shape[0], channels, *shape[2:])
    values = _values(weight)
    activation, of_weight = (QuantParams.activation(4.0, 8, False), QuantParams.weight(3.0, 8, None))
    graph.add_tensor(Tensor("x", "float32", shape, quantization=activation if quantized else None))
    graph.add_tensor(Tensor("w", "float32", weight, values, of_weight if quantized else None))
    graph.add_tensor(Tensor("y", "float32", result))
    after = QuantParams.activation(64.0, 8, True) if quantized else None
    graph.add_tensor(Tensor("z", "float32", result, quantization=after))
    graph.add_node(Node("Conv" if is_conv else "MatMul", ["x", "w"], ["y"], dict(attributes)))
    graph.add_node(Node("Relu", ["y"], ["z"]))
    return graph


def _values(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _note_kernels(profile: Profile, layer: str, quantized: bool, kernels: dict[str, str]) -> None:
    for step in profile:
        name = f"{layer}, {'int8' if quantized else 'float'}" if step.macs else f"{step.op}, {step.type}"
        kernels.setdefault(name, step.kernel)


def _cpu_name() -> str:
    cpus = f"{os.cpu_count()} CPUs"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cpus}"


def _version(package: str) -> Optional[str]:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
