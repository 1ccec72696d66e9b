# SPDX-License-Identifier: Apache-2.0
"""The layout of a combined parameter file (*.pdiparams), walked without Paddle.

    record = uint32 version | uint64 levels, each uint64 bytes + bytes
           | uint32 tensor version | int32 n | n bytes TensorDesc | data
    TensorDesc (protobuf) = 1: data type (varint), 2: dims (varint, repeated or packed)

Paddle 3.3.1 loads a truncated file of the legacy IR without a word and leaves random weights behind
(measured), so the file is checked before Paddle sees it.
Source: paddle/phi/core/framework/dense_tensor_tostream.cc and framework.proto (field numbers).
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass

from qslim.errors import ModelFileError
from qslim.files.digests import read_varint

__all__ = ["TensorRecord", "read_records"]

# VarType.Type of framework.proto to bytes an element.
_ITEMSIZE = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 8, 24: 16, 32: 1, 33: 1}


@dataclass(frozen=True)
class TensorRecord:
    """One tensor of the file: its dims and where its data lies."""

    dims: tuple[int, ...]
    offset: int
    nbytes: int


def read_records(path: str) -> list[TensorRecord]:
    """Read the tensors of the file at `path`.

    Raises
    ------
    ModelFileError : the file ends inside a record, or holds something else than parameters.
    """
    size = os.path.getsize(path)
    records: list[TensorRecord] = []
    with open(path, "rb") as file:

        def take(count: int, what: str) -> bytes:
            if count < 0 or file.tell() + count > size:
                raise ModelFileError(
                    f"{path!r} is truncated or damaged: {what} of tensor {len(records)} needs {count} bytes "
                    f"at offset {file.tell()}, but the file has {size}; copy or save the model again"
                )
            return file.read(count)

        while file.tell() < size:
            (version,) = struct.unpack("<I", take(4, "the version"))
            if version != 0:
                raise ModelFileError(
                    f"{path!r} is no Paddle parameter file: expected tensor version 0 at offset "
                    f"{file.tell() - 4}, found {version}"
                )
            (levels,) = struct.unpack("<Q", take(8, "the level count"))
            for _ in range(levels):
                (nbytes,) = struct.unpack("<Q", take(8, "a level's size"))
                take(nbytes, "a level")
            take(4, "the tensor version")
            (desc_bytes,) = struct.unpack("<i", take(4, "the description's size"))
            data_type, dims = _parse_desc(take(desc_bytes, "the description"), path)
            nbytes = math.prod(dims) * _ITEMSIZE[data_type]
            offset = file.tell()
            if offset + nbytes > size:
                take(nbytes, "the data")
            file.seek(nbytes, os.SEEK_CUR)
            records.append(TensorRecord(dims, offset, nbytes))
    return records


def _parse_desc(desc: bytes, path: str) -> tuple[int, tuple[int, ...]]:
    data_type, dims, at = -1, [], 0
    try:
        while at < len(desc):
            tag, at = read_varint(desc, at)
            if tag == 0x08:
                data_type, at = read_varint(desc, at)
            elif tag == 0x10:
                dim, at = read_varint(desc, at)
                dims.append(dim)
            elif tag == 0x12:
                length, at = read_varint(desc, at)
                end = at + length
                while at < end:
                    dim, at = read_varint(desc, at)
                    dims.append(dim)
            else:
                raise IndexError
    except IndexError:
        data_type = -1
    if data_type not in _ITEMSIZE or any(dim >= 1 << 62 for dim in dims):
        raise ModelFileError(f"{path!r} is damaged: a tensor's description cannot be read")
    return data_type, tuple(dims)
