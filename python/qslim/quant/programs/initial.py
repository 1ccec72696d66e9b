# SPDX-License-Identifier: Apache-2.0
"""Thresholds to start training from, as post-training quantization would choose them (quant_post_first)."""

from __future__ import annotations

from typing import Any

import numpy as np

from qslim.functional import TensorStatistics, find_threshold
from qslim.importers.paddle.operators.source_op import dtype_name
from qslim.paddle import framework
from qslim.paddle.program import FeedSpec
from qslim.quant.options import ALGORITHMS, choose
from qslim.quant.post_training.data_source import calibration_batches
from qslim.quant.programs.config import StaticQATConfig
from qslim.quant.programs.functions import QuantFunctions
from qslim.quant.programs.legacy import quantize_legacy
from qslim.quant.programs.operator_rules import never_negative

__all__ = ["feed_spec", "initial_thresholds"]

_SOURCES = ("data_loader", "batch_generator", "sample_generator")
# The legacy IR's names of dtypes.
_NUMPY = {"fp32": "float32", "fp64": "float64"}
_KEYS = (*_SOURCES, "batch_size", "batch_nums", "algo", "hist_percent")


def initial_thresholds(
    program: Any, config: StaticQATConfig, calib_config: dict[str, Any], scope: Any, executor: Any
) -> dict[str, float]:
    """Run the float `program`, for evaluation, on the data of `calib_config` and choose thresholds.

    `calib_config` holds data_loader, batch_generator or sample_generator, and may hold batch_size, batch_nums
    (10), algo ("hist") and hist_percent.
    """
    for key in calib_config:
        choose("calib_config", key, _KEYS)
    algo = choose("algo", calib_config.get("algo", "hist"), ALGORITHMS)
    paddle = framework.paddle_module()
    if framework.is_pir_program(program):
        raise ValueError(
            "quant_post_first: needs a program of the legacy IR; with PIR start from the thresholds of an "
            "earlier run (scale_dict), or leave it out: the moving average finds them in the first batches"
        )
    trial = quantize_legacy(program, config, paddle.static.Scope(), executor, True, QuantFunctions(), {})
    fakes = (op for op in trial.global_block().ops if op.type.endswith("moving_average_abs_max"))
    names = [op.input("X")[0] for op in fakes]
    unsigned = never_negative(program) if config.uses_unsigned_grid else set()
    batches = calibration_batches(
        [feed_spec(variable, variable.name) for variable in program.list_vars() if variable.is_data],
        **{source: calib_config.get(source) for source in _SOURCES},
        batch_size=calib_config.get("batch_size", 1),
        batch_nums=calib_config.get("batch_nums", 10),
    )
    statistics = {name: TensorStatistics() for name in names}
    with framework.legacy_ir(), framework.quiet(), paddle.static.scope_guard(scope):
        for feed in batches:
            for name, value in zip(names, executor.run(program, feed=feed, fetch_list=names)):
                statistics[name].update(np.ascontiguousarray(value))
    return {
        name: find_threshold(
            statistics[name],
            algo,
            quant_bits=config.activation_bits,
            is_unsigned=name in unsigned,
            hist_percent=calib_config.get("hist_percent", 0.9999),
        )
        for name in names
    }


def feed_spec(variable: Any, name: str) -> FeedSpec:
    """Return the form of what is fed as `name` to `variable`, a Variable or a PIR value."""
    shape = tuple(None if extent < 0 else int(extent) for extent in variable.shape)
    kind = dtype_name(variable.dtype)
    return FeedSpec(name, np.dtype(_NUMPY.get(kind, kind)), shape)
