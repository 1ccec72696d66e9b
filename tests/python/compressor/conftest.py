# SPDX-License-Identifier: Apache-2.0
"""Each test of the Compressor runs in both IRs, in static mode and in a scope of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import paddle
import pytest
from compressor_network import IRS

from qslim.compressor.network import active


@pytest.fixture(params=IRS)
def ir(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scope(ir: str) -> Iterator[Any]:
    own = paddle.static.Scope()
    with active(ir == "pir", own):
        yield own
