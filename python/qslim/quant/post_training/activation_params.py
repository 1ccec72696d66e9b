# SPDX-License-Identifier: Apache-2.0
"""Quantization parameters of activations: a rule's threshold, with a zero point where that halves the error.

A tensor that is negative in part and not alike on both sides, what a hard-swish or a GELU makes say, leaves
nearly half of the integers of a symmetric range unused. The candidate with a zero point covers what was seen
of [-threshold, threshold]; it is taken where the mean squared error on the histogram is less by a fifth.

``algo="auto"`` tries the thresholds of all rules, and parts of the range, in both forms, and takes those with
which the layers that read the tensor err least on samples of their inputs:

    sum over layers of  E[(W (q(x) - x))^2] / Var[W x]

or, where no layer with a weight reads it, those with the least mean squared error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qslim.functional import TensorStatistics, find_threshold, quantization_error
from qslim.graph import Graph, QuantParams
from qslim.quant.options import PostTrainingOptions
from qslim.quant.post_training.layer_samples import LayerSamples, products

__all__ = ["ChosenParams", "activation_params"]

# A zero point costs the exported Paddle model two operators, so it has to lower the error to this part.
_PAYS = 0.8
_RULES = ("hist", "mse", "emd", "KL", "avg", "abs_max")
_PARTS = (0.4, 0.55, 0.7, 0.85)
# Of a layer's samples those are taken that make so many multiply-adds, within these bounds.
_MOST_MACS = 2**23
_FEWEST_PATCHES, _MOST_PATCHES = 64, 1024
# The output channels of a group are replaced with so many random sums of them.
_MOST_SUMS = 64


@dataclass(frozen=True)
class ChosenParams:
    """Quantization parameters, and the rule that they follow."""

    params: QuantParams
    rule: str


def activation_params(
    graph: Graph,
    statistics: TensorStatistics,
    options: PostTrainingOptions,
    is_unsigned: bool,
    readers: Sequence[LayerSamples] = (),
) -> ChosenParams:
    """Return the parameters of one tensor.

    Parameters
    ----------
    statistics : of the tensor, with data
    is_unsigned : True if it is never negative, and may be unsigned
    readers : samples of the layers that read it, for ``algo="auto"``
    """
    if options.algo != "auto":
        threshold = _threshold(statistics, options.algo, options, is_unsigned)
        forms = _forms(statistics, threshold, options, is_unsigned)
        errors = [_error(statistics, params) for params in forms]
        is_affine = len(forms) > 1 and errors[1] < _PAYS * errors[0]
        return ChosenParams(forms[is_affine], options.algo)
    names, candidates = _candidates(statistics, options, is_unsigned)
    errors = _output_errors(graph, candidates, readers)
    if not errors:
        errors = [_error(statistics, params) for params in candidates]
    weighed = [error / (_PAYS if params.zero_point else 1) for error, params in zip(errors, candidates)]
    best = int(np.argmin(weighed))
    return ChosenParams(candidates[best], names[best])


def _threshold(
    statistics: TensorStatistics, algo: str, options: PostTrainingOptions, is_unsigned: bool
) -> float:
    return find_threshold(
        statistics,
        algo,  # type: ignore[arg-type]
        quant_bits=options.activation_bits,
        is_unsigned=is_unsigned,
        hist_percent=options.hist_percent,
    )


def _forms(
    statistics: TensorStatistics, threshold: float, options: PostTrainingOptions, is_unsigned: bool
) -> list[QuantParams]:
    """Return the symmetric or unsigned form and, where it may be, the one with a zero point."""
    bits = options.activation_bits
    forms = [QuantParams.activation(threshold, bits, is_unsigned)]
    if options.deploy_backend == "onnxruntime" and bits <= 8:
        # On x86 it makes this of int8 itself, and fails where it has moved the quantizer before.
        forms[0] = forms[0].as_unsigned()
    if options.allows_zero_points and not is_unsigned:
        low, high = max(statistics.min, -threshold), min(statistics.max, threshold)
        forms.append(QuantParams.affine(low, high, bits))
    return forms


def _candidates(
    statistics: TensorStatistics, options: PostTrainingOptions, is_unsigned: bool
) -> tuple[list[str], list[QuantParams]]:
    thresholds = {rule: _threshold(statistics, rule, options, is_unsigned) for rule in _RULES}
    largest = thresholds["abs_max"]
    thresholds.update({f"{part:.0%} of abs_max": part * largest for part in _PARTS})
    names: dict[tuple[float, int, int], str] = {}
    candidates: list[QuantParams] = []
    for name, threshold in thresholds.items():
        for params in _forms(statistics, threshold, options, is_unsigned):
            key = (float(params.scale), params.zero_point, params.qmin)
            if key not in names:  # rules often agree
                names[key] = name
                candidates.append(params)
    return list(names.values()), candidates


def _error(statistics: TensorStatistics, params: QuantParams) -> float:
    return quantization_error(statistics, float(params.scale), params.zero_point, params.qmin, params.qmax)


def _output_errors(
    graph: Graph, candidates: Sequence[QuantParams], readers: Sequence[LayerSamples]
) -> list[float]:
    """Return the error of the readers' outputs with each candidate; empty if nothing of them was seen."""
    errors: NDArray[np.float64] = np.zeros(len(candidates))
    is_known = False
    for layer in readers:
        weight = graph.tensors[layer.weight].value
        assert weight is not None
        rows = _fewer_rows(layer.group_rows(weight))
        most = min(max(_FEWEST_PATCHES, _MOST_MACS // rows.size), _MOST_PATCHES)
        patches = np.ascontiguousarray(layer.patches[:most])
        if len(patches) == 0:
            continue
        power = float(np.var(products(patches, rows), axis=0, dtype=np.float64).mean())
        if power == 0:
            continue
        is_known = True
        for index, params in enumerate(candidates):
            difference = products(params.fake_quantize(patches) - patches, rows)
            errors[index] += float(np.mean(np.square(difference, dtype=np.float64))) / power
    return errors.tolist() if is_known else []


def _fewer_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows [groups, at most 64, K] with which squared outputs have nearly the same mean.

    A random sum has the signs of the rows: the expectation of its square is the sum of their squares
    (Achlioptas 2003, "Database-friendly random projections", doi 10.1016/S0022-0000(03)00025-4).
    """
    channels = rows.shape[1]
    if channels <= _MOST_SUMS:
        return rows
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_MOST_SUMS, channels))
    return np.asarray(np.matmul((signs / np.sqrt(_MOST_SUMS)).astype(np.float32), rows))
