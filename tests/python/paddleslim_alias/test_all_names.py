# SPDX-License-Identifier: Apache-2.0
"""Every name of paddleslim 2.6.0's modules is there, or refused in a sentence that says what to use.

``qslim/paddleslim/paddleslim_2_6_names.txt`` lists the modules with what their __all__ and their packages'
imports offer; of a module without __all__, its own classes and functions.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import qslim
import qslim.paddleslim
from qslim.paddleslim.changes import CHANGED
from qslim.paddleslim.migration import migration_table, names_of_paddleslim

NAMES = names_of_paddleslim()
REFUSED = "is not offered: "


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    qslim.paddleslim.install()
    yield
    qslim.paddleslim.uninstall()


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_there_or_refused_in_a_sentence(module: str) -> None:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        said = [str(error)]
    else:
        said = [message for name in NAMES[module] if (message := _missing(found, name))]
    assert [message for message in said if REFUSED not in message or "\n" in message] == []


def _missing(module: object, name: str) -> str:
    try:
        assert getattr(module, name) is not None
    except AttributeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "name",
    [
        "QAT",
        "PTQ",
        "FPGMFilterPruner",
        "analysis.flops",
        "common.load_config",
        "common.load_inference_model",
        "common.get_feed_vars",
        "common.wrap_dataloader",
        "auto_compression.AutoCompression",
        "auto_compression.QuantAware",
        "auto_compression.compressor.AutoCompression",
        "auto_compression.config_helpers.load_config",
        "auto_compression.strategy_config.TrainConfig",
        "auto_compression.strategy_config.ChannelPrune",
        "Distill",
        "dist.merge",
        "dist.single_distiller.soft_label",
        "dygraph.dist.Distill",
        "quant.quant_recon_static",
        "quant.quant_embedding",
        "quant.quant_post_hpo",
        "prune.UnstructuredPruner.scope",
        "prune.sensitivity",
    ],
)
def test_these_are_offered(name: str) -> None:
    *path, last = name.split(".")
    found = importlib.import_module("paddleslim")
    for part in [*path, last]:
        found = getattr(found, part)
    assert found is not None


def test_the_package_itself_refuses_in_the_same_words() -> None:
    with pytest.raises(AttributeError, match=r"qslim\.nas is not offered: .*qslim\.models"):
        qslim.nas  # noqa: B018
    with pytest.raises(ImportError, match="no search for architectures"):
        from paddleslim.nas import SANAS  # noqa: F401
    with pytest.raises(ImportError, match="no tables of latencies"):
        from paddleslim.analysis import TableLatencyPredictor  # noqa: F401


def test_the_page_is_current() -> None:
    """`python -m qslim.paddleslim.migration > docs/migration.md` brings it up to date."""
    page = Path(__file__).resolve().parents[3] / "docs" / "migration.md"
    assert page.read_text(encoding="utf-8") == migration_table()
    assert set(CHANGED) <= {name for names in NAMES.values() for name in names}
