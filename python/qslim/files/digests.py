# SPDX-License-Identifier: Apache-2.0
"""Digests by which a .qslim file knows the Paddle model that it was written with, without Paddle.

Of a .pdmodel that is a digest of what it computes: operators, attributes and how they are connected. Its
bytes also hold names that count on in a process, and a table in any order: two exports of one network differ.

    ProgramDesc = 1: blocks          BlockDesc = 4: ops
    OpDesc = 1: inputs, 2: outputs, 3: type, 4: attributes        a slot = 1: its name, 2: arguments
    an attribute = 1: name, then its value; of text and names (5, 8, 17, 18) only the name counts

Source: the protobuf wire format; paddle/fluid/framework/framework.proto (field numbers).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Union

__all__ = ["file_digests", "read_varint"]

_TEXT_VALUES = (5, 8, 17, 18)


def file_digests(paths: Sequence[str]) -> dict[str, str]:
    """Return a digest of each file, by its name without directories: 64 hexadecimal digits."""
    return {os.path.basename(path): _digest(path) for path in paths}


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        if path.endswith(".pdmodel"):
            data = file.read()
            try:
                return hashlib.sha256(_meaning(data)).hexdigest()
            except (IndexError, ValueError):  # no program; then its bytes count
                return hashlib.sha256(data).hexdigest()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _meaning(program: bytes) -> bytes:
    """List the operators of a ProgramDesc, variables numbered in the order in which they are met."""
    numbers: dict[bytes, int] = {}
    lines: list[bytes] = []
    for block in _parts(program, 1):
        for op in _parts(block, 4):
            lines.append(b"op " + b"".join(_parts(op, 3)))
            for side in (1, 2):
                for slot in _parts(op, side):
                    variables = [numbers.setdefault(name, len(numbers)) for name in _parts(slot, 2)]
                    lines.append(b"%d %s %r" % (side, b"".join(_parts(slot, 1)), variables))
            lines.extend(sorted(_attribute(attribute) for attribute in _parts(op, 4)))
        lines.append(b"end")
    return b"\n".join(lines)


def _attribute(attribute: bytes) -> bytes:
    values = [(number, value) for number, value in _fields(attribute) if number not in _TEXT_VALUES]
    return repr(values).encode()


def _parts(message: bytes, wanted: int) -> list[bytes]:
    """Return the bytes of each field `wanted` of a message."""
    return [value for number, value in _fields(message) if number == wanted and isinstance(value, bytes)]


def _fields(message: bytes) -> Iterator[tuple[int, Union[int, bytes]]]:
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = read_varint(message, at)
            yield number, value
            continue
        if kind == 2:
            size, at = read_varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(message):
            raise IndexError
        yield number, message[at : at + size]
        at += size


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a protobuf integer of `data` at `at`: its value, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
