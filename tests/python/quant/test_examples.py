# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "qslim.graph.passes.dynamic_quantization",
        "qslim.importers.paddle.quantizers.read",
        "qslim.importers.paddle.layer",
        "qslim.importers.paddle.model",
        "qslim.paddleslim.common",
        "qslim.paddleslim.importer",
        "qslim.paddleslim.migration",
        "qslim.quant.distributed",
        "qslim.quant.post_training.group_scales",
        "qslim.quant.post_training.post_dynamic",
        "qslim.quant.post_training.post_hpo",
        "qslim.quant.post_training.post_recon",
        "qslim.quant.post_training.post_static",
        "qslim.quant.programs.embedding",
        "qslim.quant.programs.quant_aware",
    ],
)
def test_docstring_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
