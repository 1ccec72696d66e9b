# SPDX-License-Identifier: Apache-2.0
"""The parts of the .qslim format that its reader, its writer and a Session share (docs/engine.md)."""

from __future__ import annotations

from collections.abc import Sequence

from qslim._core import FormatError
from qslim.graph.host_tail import HostTail

__all__ = ["DTYPES", "FORMAT_VERSION", "FormatError", "check_cut"]

# 2: groups of scales, and integers of 4 bits two a byte. A file that has neither is written as 1.
FORMAT_VERSION = 2

# safetensors' name of each dtype that a tensor may have.
DTYPES = {
    "bool": "BOOL", "float16": "F16", "float32": "F32", "float64": "F64", "int16": "I16", "int32": "I32",
    "int64": "I64", "int8": "I8", "uint16": "U16", "uint32": "U32", "uint8": "U8",
}  # fmt: skip


def check_cut(tail: HostTail, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise FormatError unless the inputs and outputs of the engine's graph fit `tail`."""
    missing = set(tail.graph.inputs) - {*outputs, *tail.feeds} or set(inputs) - set(tail.feeds)
    if missing:
        raise FormatError(f'the "tail" does not fit the graph: {sorted(missing)[:3]} come from nowhere')
