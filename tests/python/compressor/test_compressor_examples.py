# SPDX-License-Identifier: Apache-2.0
"""The docstring examples of the Compressor and of what it brought along run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    "qslim.compressor.compressor",
    "qslim.compressor.configuration",
    "qslim.files.yaml_file",
    "qslim.paddleslim.legacy_scripts",
    "qslim.quant.post_training.data_source",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
