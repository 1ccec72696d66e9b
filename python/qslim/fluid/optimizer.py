# SPDX-License-Identifier: Apache-2.0
"""Optimizers by fluid's names and arguments."""

from __future__ import annotations

from typing import Any

from qslim.fluid.mode import static_paddle

__all__ = ["SGD", "Adam", "AdamOptimizer", "Momentum", "MomentumOptimizer", "SGDOptimizer"]


def SGD(
    learning_rate: Any,
    parameter_list: Any = None,
    regularization: Any = None,
    grad_clip: Any = None,
    name: Any = None,
) -> Any:
    """Return stochastic gradient descent."""
    return static_paddle().optimizer.SGD(learning_rate, parameter_list, regularization, grad_clip, name=name)


def Momentum(
    learning_rate: Any,
    momentum: float,
    parameter_list: Any = None,
    use_nesterov: bool = False,
    regularization: Any = None,
    grad_clip: Any = None,
    name: Any = None,
) -> Any:
    """Return gradient descent with momentum."""
    return static_paddle().optimizer.Momentum(
        learning_rate, momentum, parameter_list, use_nesterov, regularization, grad_clip, name=name
    )


def Adam(
    learning_rate: Any = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-08,
    parameter_list: Any = None,
    regularization: Any = None,
    grad_clip: Any = None,
    name: Any = None,
    lazy_mode: bool = False,
) -> Any:
    """Return Adam."""
    return static_paddle().optimizer.Adam(
        learning_rate, beta1, beta2, epsilon, parameter_list, regularization, grad_clip, lazy_mode, name=name
    )


SGDOptimizer, MomentumOptimizer, AdamOptimizer = SGD, Momentum, Adam
