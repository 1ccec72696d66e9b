# SPDX-License-Identifier: Apache-2.0
"""The types that all operators share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from numpy.typing import NDArray

__all__ = ["Array", "Attributes", "Inputs", "OperatorFunction", "input_or_none"]

Array = NDArray[Any]
Attributes = Mapping[str, Any]
# None where an input is absent.
Inputs = Sequence[Optional[Array]]
OperatorFunction = Callable[[Attributes, list[Array]], list[Array]]


def input_or_none(inputs: Inputs, index: int) -> Optional[Array]:
    """Input `index` if the node has it."""
    return inputs[index] if index < len(inputs) else None
