# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings of qslim.functional run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import qslim.functional

MODULES = [module.name for module in pkgutil.iter_modules(qslim.functional.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"qslim.functional.{name}"))
    assert results.failed == 0
    assert results.attempted > 0 or name == "arrays"
