# SPDX-License-Identifier: Apache-2.0
"""The docstring examples of qslim.compressor run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ["qslim.compressor.compressor", "qslim.compressor.configuration", "qslim.files.yaml_file"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
