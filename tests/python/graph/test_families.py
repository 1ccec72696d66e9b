# SPDX-License-Identifier: Apache-2.0
"""Importer rows and pruning rules lie in the families of qslim.graph.operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from qslim.graph.operators import FAMILIES, family_of
from qslim.importers.paddle.operators import FAMILIES as ROWS
from qslim.prune.operators import FAMILIES as RULES


@pytest.mark.parametrize("tables", [ROWS, RULES], ids=["importers", "prune"])
def test_families_have_the_same_names_and_no_operator_twice(tables: Mapping[str, Mapping[str, Any]]) -> None:
    assert tables.keys() == FAMILIES.keys()
    names = [name for table in tables.values() for name in table]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("tables", [ROWS, RULES], ids=["importers", "prune"])
def test_a_family_lies_in_the_file_or_folder_of_its_name(tables: Mapping[str, Mapping[str, Any]]) -> None:
    for family, table in tables.items():
        for row in table.values():
            module = row.__module__.split("operators.")[1]
            shared = ("source_op", "rule", "moved_labels")
            is_default = module == "elementwise" and family == "logic"  # comparisons are followed alike
            assert module.split(".")[0] == family or module in shared or is_default


def test_pruning_rules_of_onnx_operators_lie_in_their_families() -> None:
    for family, rules in RULES.items():
        for name in rules:
            if not name.startswith("paddle."):
                assert family == family_of(name), name


def test_pruning_rules_of_paddle_operators_lie_where_the_importer_has_them() -> None:
    families = {name: family for family, rows in ROWS.items() for name in rows}
    found = {
        name: family
        for family, rules in RULES.items()
        for name in rules
        if name.startswith("paddle.") and name[7:] in families
    }
    assert len(found) > 40
    assert found == {name: families[name[7:]] for name in found}
