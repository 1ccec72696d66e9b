# SPDX-License-Identifier: Apache-2.0
"""The models of act_network, trained once."""

from __future__ import annotations

from pathlib import Path

import pytest
from act_network import save_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The classifier of ``save_models`` by IR."""
    return save_models(tmp_path_factory.mktemp("float"))
