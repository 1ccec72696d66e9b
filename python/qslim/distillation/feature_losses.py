# SPDX-License-Identifier: Apache-2.0
"""Losses between a student's and a teacher's tensor, in dygraph, by PaddleSlim's names.

Source: paddleslim 2.6.0, dygraph/dist/losses/basic_loss.py (names and options); RkdDistance, RKdAngle: Park
et al. 2019 (arXiv:1904.05068).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Callable, Optional

from qslim.paddle import framework
from qslim.quant.options import choose

__all__ = ["LOSSES", "check_options"]

Loss = Callable[..., Any]


def _functional() -> Any:
    return framework.paddle_module().nn.functional


def _activated(x: Any, act: Optional[str], axis: int) -> Any:
    if act is None:
        return x
    functional = _functional()
    return functional.softmax(x, axis=axis) if act == "softmax" else functional.sigmoid(x)


def _cross_entropy(
    student: Any,
    teacher: Any,
    epsilon: Optional[float] = None,
    label_act: Optional[str] = "softmax",
    axis: int = -1,
) -> Any:
    """Return the cross entropy against the teacher's probabilities, smoothed by `epsilon`."""
    functional = _functional()
    target = _activated(teacher, label_act, axis)
    if epsilon is not None and 0 < epsilon < 1:
        target = functional.label_smooth(target, epsilon=epsilon)
    return functional.cross_entropy(student, target, soft_label=True, axis=axis).mean()


def _kl(
    student: Any, teacher: Any, act: Optional[str] = "softmax", axis: int = -1, reduction: str = "mean"
) -> Any:
    log = framework.paddle_module().log(_activated(student, act, axis))
    return _functional().kl_div(log, _activated(teacher, act, axis), reduction)


def _mutual(student: Any, teacher: Any, act: Optional[str] = None, axis: int = -1) -> Any:
    """Return the mean of both Kullback-Leibler divergences, over the batch."""
    ours, theirs = (_activated(x, act, axis) for x in (student, teacher))
    return (_kl(ours, theirs, None, axis, "batchmean") + _kl(theirs, ours, None, axis, "batchmean")) / 2


def _distance(student: Any, teacher: Any, mode: str = "l2", **options: Any) -> Any:
    nn = framework.paddle_module().nn
    kinds = {"l1": nn.L1Loss, "l2": nn.MSELoss, "smooth_l1": nn.SmoothL1Loss}
    return kinds[choose("DistanceLoss: mode", mode, kinds)](**options)(student, teacher)


def _l1(student: Any, teacher: Any, **options: Any) -> Any:
    return _distance(student, teacher, "l1", **options)


def _l2(student: Any, teacher: Any, **options: Any) -> Any:
    return _distance(student, teacher, "l2", **options)


def _smooth_l1(student: Any, teacher: Any, **options: Any) -> Any:
    return _distance(student, teacher, "smooth_l1", **options)


def _distances(x: Any, eps: float) -> Any:
    """Return the distances of the samples from each other, [N, N], divided by their mean."""
    paddle = framework.paddle_module()
    flat = x.reshape([x.shape[0], -1])
    squares = flat.pow(2).sum(axis=1)
    found = (squares.unsqueeze(1) + squares.unsqueeze(0) - 2 * paddle.mm(flat, flat.t())).clip(min=eps).sqrt()
    return found / (found.mean() + eps)


def _relation_distance(student: Any, teacher: Any, eps: float = 1e-12) -> Any:
    return _functional().smooth_l1_loss(_distances(student, eps), _distances(teacher, eps))


def _angles(x: Any) -> Any:
    """Return the cosines of the angles that each three samples make, [N, N, N]."""
    paddle, flat = framework.paddle_module(), x.reshape([x.shape[0], -1])
    edges = _functional().normalize(flat.unsqueeze(0) - flat.unsqueeze(1), p=2, axis=2)
    return paddle.bmm(edges, edges.transpose([0, 2, 1]))


def _relation_angle(student: Any, teacher: Any) -> Any:
    return _functional().smooth_l1_loss(_angles(student), _angles(teacher))


def _relation(student: Any, teacher: Any, eps: float = 1e-12) -> Any:
    return _relation_distance(student, teacher, eps) + _relation_angle(student, teacher)


LOSSES: Mapping[str, Loss] = {
    "CELoss": _cross_entropy,
    "DMLLoss": _mutual,
    "KLLoss": _kl,
    "DistanceLoss": _distance,
    "MSELoss": _l2,
    "L1Loss": _l1,
    "SmoothL1Loss": _smooth_l1,
    "RKdAngle": _relation_angle,
    "RkdDistance": _relation_distance,
    "RKDLoss": _relation,
}


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the loss `name` does not have; names the nearest that it has."""
    parameters = inspect.signature(LOSSES[choose("Distill: loss_function", name, LOSSES)]).parameters
    known = [key for key in parameters if key not in ("student", "teacher", "options")]
    if "options" in parameters:  # of paddle.nn's losses
        known += ["reduction", *(["delta"] if name in ("DistanceLoss", "SmoothL1Loss") else [])]
    for key in options:
        choose(f"Distill: an option of {name}", key, known)
    for key in ("act", "label_act"):
        if key in options:
            choose(f"Distill: {name}: {key}", options[key], (None, "softmax", "sigmoid"))
