# SPDX-License-Identifier: Apache-2.0
"""The exchange between ranks: the same calls, the same results on every rank, in both of Paddle's modes."""

from __future__ import annotations

import json

import numpy as np
from processes import run_ranks

from qslim.quant import distributed

_EXCHANGE = """
    import json
    import numpy as np, paddle
    from qslim.quant import distributed

    paddle.distributed.init_parallel_env()
    rank = distributed.rank()
    results = {}
    for mode in ("dygraph", "static"):
        if mode == "static":
            paddle.enable_static()
        results[mode] = {
            "world": distributed.world_size(),
            "float": distributed.all_reduce_max(np.float32([rank, -rank, 0.1])).tolist(),
            "wide": distributed.all_reduce_max(np.float64([[1e-300 * (rank + 1)]])).tolist(),
            "int": distributed.all_reduce_max(np.array(2**40 + rank)).tolist(),
            "empty": distributed.all_reduce_max(np.zeros((0, 3), np.float32)).shape,
            "nan": np.isnan(distributed.all_reduce_max(np.float32([np.nan if rank else 1.0, rank]))).tolist(),
            "bytes": [part.hex() for part in distributed.all_gather_bytes(bytes(range(rank * 3)))],
            "nothing": [part.hex() for part in distributed.all_gather_bytes(b"")],
        }
        distributed.barrier()
        assert paddle.in_dynamic_mode() == (mode == "dygraph")
    print(rank, json.dumps(results), flush=True)
    with distributed.together("a sum") as exchange:
        exchange.own = bytes([rank + 1])
    print(sum(part[0] for part in exchange.all), flush=True)
    for error in (KeyError("key"), ValueError("a: b")):
        try:
            with distributed.together("work"):
                if rank == 1:
                    raise error
        except (KeyError, ValueError, RuntimeError) as seen:
            print(repr(seen), flush=True)
    if rank == 0:  # which the other does not follow
        distributed._PATIENCE = 0.5
        try:
            distributed.barrier()
        except RuntimeError as error:
            print(error)
"""


def test_two_ranks_agree() -> None:
    lines = [one.stdout.splitlines() for one in run_ranks(_EXCHANGE)]
    reports = [next(line for line in own if line[1:].startswith(" {")) for own in lines]
    assert [report[0] for report in reports] == ["0", "1"]
    assert reports[0][1:] == reports[1][1:]
    for results in json.loads(reports[0][1:]).values():
        assert results == {
            "world": 2,
            "float": [1.0, 0.0, float(np.float32(0.1))],
            "wide": [[2e-300]],
            "int": 2**40 + 1,
            "empty": [0, 3],
            "nan": [True, False],
            "bytes": ["", "000102"],
            "nothing": ["", ""],
        }
    assert all("3" in own for own in lines)
    assert lines[1][-2:] == ["KeyError('key')", "ValueError('a: b')"]
    assert lines[0][-3:-1] == [
        """RuntimeError("work: rank 1 failed: KeyError: 'key'")""",
        "ValueError('work: rank 1 failed: a: b')",
    ]
    assert lines[0][-1].startswith("rank 0 has waited 0 s for rank 1: it has ended, or it does not make")


def test_alone_everything_is_the_identity() -> None:
    x = np.float32([1, np.nan])
    assert distributed.all_reduce_max(x) is x
    assert distributed.all_gather_bytes(b"ab") == [b"ab"]
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    distributed.barrier()
