# SPDX-License-Identifier: Apache-2.0
"""PACT for static programs: clip(x, -alpha, alpha), alpha learned (Choi et al. 2018, arXiv:1805.06085).

    y = x - relu(x - alpha) + relu(-alpha - x)

so that the gradient reaches alpha from what is clipped. The clipping value of a tensor is the parameter
<name of x>_pact; its start and its decay are PaddleSlim's.
"""

from __future__ import annotations

from typing import Any

from qslim.paddle import framework

__all__ = ["get_pact_optimizer", "pact"]


def pact(x: Any, name: Any = None) -> Any:
    """Clip `x` to a learned range; for ``quant_aware(act_preprocess_func=pact)``.

    Parameters
    ----------
    x : Variable of a legacy program
    name : ignored

    Returns
    -------
    Variable of the shape of `x`.
    """
    del name
    paddle = framework.paddle_module()
    attributes = paddle.ParamAttr(
        name=x.name + "_pact",
        initializer=paddle.nn.initializer.Constant(20.0),
        regularizer=paddle.regularizer.L2Decay(0.0001),
        learning_rate=1,
    )
    alpha = paddle.static.create_parameter([1], "float32", attr=attributes)
    relu = paddle.nn.functional.relu
    return x - relu(x - alpha) + relu(-1.0 * alpha - x)


def get_pact_optimizer() -> Any:
    """Return the optimizer of the clipping values: momentum 0.9, learning rate 0.0001."""
    return framework.paddle_module().optimizer.Momentum(0.0001, 0.9)
