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
    print(rank, json.dumps(results))
"""


def test_two_ranks_agree() -> None:
    outputs = [one.stdout.splitlines()[-1].split(" ", 1) for one in run_ranks(_EXCHANGE)]
    assert [rank for rank, _ in outputs] == ["0", "1"]
    assert outputs[0][1] == outputs[1][1]
    for results in json.loads(outputs[0][1]).values():
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


def test_alone_everything_is_the_identity() -> None:
    x = np.float32([1, np.nan])
    assert distributed.all_reduce_max(x) is x
    assert distributed.all_gather_bytes(b"ab") == [b"ab"]
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    distributed.barrier()
