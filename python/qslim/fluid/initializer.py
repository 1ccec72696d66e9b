# SPDX-License-Identifier: Apache-2.0
"""Initial values of parameters by fluid's names."""

from __future__ import annotations

from typing import Any, Optional

from qslim.fluid.mode import static_paddle

__all__ = [
    "MSRA",
    "Constant",
    "ConstantInitializer",
    "MSRAInitializer",
    "Normal",
    "NormalInitializer",
    "NumpyArrayInitializer",
    "TruncatedNormal",
    "TruncatedNormalInitializer",
    "Uniform",
    "UniformInitializer",
    "Xavier",
    "XavierInitializer",
]


def _initializers() -> Any:
    return static_paddle().nn.initializer


def Constant(value: float = 0.0, force_cpu: bool = False) -> Any:
    """Return the initializer to `value`."""
    del force_cpu
    return _initializers().Constant(value)


def Uniform(low: float = -1.0, high: float = 1.0, seed: int = 0) -> Any:
    """Return the initializer from a uniform distribution; set seeds by ``paddle.seed``."""
    del seed
    return _initializers().Uniform(low, high)


def Normal(loc: float = 0.0, scale: float = 1.0, seed: int = 0) -> Any:
    """Return the initializer from a normal distribution; set seeds by ``paddle.seed``."""
    del seed
    return _initializers().Normal(loc, scale)


def TruncatedNormal(loc: float = 0.0, scale: float = 1.0, seed: int = 0) -> Any:
    """Return the initializer from a normal distribution cut at two deviations."""
    del seed
    return _initializers().TruncatedNormal(loc, scale)


def Xavier(
    uniform: bool = True, fan_in: Optional[float] = None, fan_out: Optional[float] = None, seed: int = 0
) -> Any:
    """Return the initializer of Glorot and Bengio 2010."""
    del seed
    kind = _initializers().XavierUniform if uniform else _initializers().XavierNormal
    return kind(fan_in, fan_out)


def MSRA(uniform: bool = True, fan_in: Optional[float] = None, seed: int = 0) -> Any:
    """Return the initializer of He et al. 2015 (arXiv:1502.01852)."""
    del seed
    kind = _initializers().KaimingUniform if uniform else _initializers().KaimingNormal
    return kind(fan_in)


def NumpyArrayInitializer(value: Any) -> Any:
    """Return the initializer to the array `value`."""
    return _initializers().Assign(value)


ConstantInitializer, UniformInitializer, NormalInitializer = Constant, Uniform, Normal
TruncatedNormalInitializer, XavierInitializer, MSRAInitializer = TruncatedNormal, Xavier, MSRA
