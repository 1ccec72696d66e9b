# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["export", "inspection", "machine", "optimize", "running", "tables"])
def test_docstring_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"qslim.deployment.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
