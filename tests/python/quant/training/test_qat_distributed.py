# SPDX-License-Identifier: Apache-2.0
"""QAT in two processes: one set of scales, that of one process; one set of files; no rank left waiting."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from distributed_jobs import CONFIGS, trained_states
from processes import run_ranks
from small_networks import images

from qslim.runtime import Session

# (steps, learning rate): weights that stand still, and weights that are trained.
RUNS = {"still": (3, 0.0), "trained": (5, 0.02)}

_TRAIN = """
    import pickle, sys
    import paddle
    from distributed_jobs import CONFIGS, trained_states

    paddle.distributed.init_parallel_env()
    runs = pickle.loads(bytes.fromhex(sys.argv[2]))
    states = {
        (name, run): trained_states(config, *arguments)
        for name, config in CONFIGS.items() for run, arguments in runs.items()
    }
    with open(f"{sys.argv[1]}/{paddle.distributed.get_rank()}", "wb") as file:
        pickle.dump(states, file)
"""

States = dict[tuple[str, str], list[dict[str, np.ndarray]]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[States]:
    out = tmp_path_factory.mktemp("ranks")
    run_ranks(_TRAIN, args=[str(out), pickle.dumps(RUNS).hex()], extra_path=[Path(__file__).parent])
    return [pickle.loads((out / str(rank)).read_bytes()) for rank in range(2)]


def assert_same_bits(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(actual) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(actual[key], value, err_msg=key)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("config", CONFIGS)
def test_the_ranks_agree_on_every_scale(ranks: list[States], config: str, run: str) -> None:
    for first, second in zip(ranks[0][config, run], ranks[1][config, run]):
        assert_same_bits(second, first)


@pytest.mark.parametrize("config", CONFIGS)
def test_two_halves_give_the_scales_of_the_whole(ranks: list[States], config: str) -> None:
    alone = trained_states(CONFIGS[config], *RUNS["still"])
    together = ranks[0][config, "still"]
    assert len(together) == len(alone) == RUNS["still"][0]
    for halves, whole in zip(together, alone):
        assert_same_bits(halves, whole)
    assert any(
        (alone[0][key] != alone[1][key]).any() for key in alone[0] if key.endswith(("_scale", "_initial"))
    )


@pytest.mark.parametrize("config", CONFIGS)
def test_two_halves_train_as_the_whole(ranks: list[States], config: str) -> None:
    alone = trained_states(CONFIGS[config], *RUNS["trained"])
    together = ranks[0][config, "trained"]
    assert_same_bits(together[0], alone[0])
    # The mean of two gradients is rounded otherwise than the gradient of the whole, so weights part by some
    # 2**-24 of themselves, and an element on the edge between two steps of its grid may fall to either side.
    # What is computed from it moves by a step of the grid at most, and so does the largest magnitude: 1/15 of
    # a threshold for 4 bits, 1/127 for 8, of which a batch contributes a part only.
    for halves, whole in zip(together, alone):
        assert list(halves) == list(whole)
        for key, value in whole.items():
            np.testing.assert_allclose(halves[key], value, rtol=1 / 127, atol=1e-6, err_msg=key)


_FAILS = """
    import sys
    import numpy as np, paddle
    from distributed_jobs import CONFIGS, network
    from small_networks import images

    paddle.distributed.init_parallel_env()
    for config in (CONFIGS["plain"], CONFIGS["pact"]):
        net = paddle.DataParallel(network(config))
        batch = images(2)
        net(paddle.to_tensor(batch))
        if paddle.distributed.get_rank() == 1:
            batch[1, 2, 3, 4] = np.nan
        try:
            net(paddle.to_tensor(batch))
        except FloatingPointError as error:
            print(error, flush=True)
"""


def test_nan_on_one_rank_stops_every_rank() -> None:
    for one in run_ranks(_FAILS, extra_path=[Path(__file__).parent], timeout=60):
        messages = one.stdout.splitlines()
        assert len(messages) == 2
        for message in messages:
            assert message.startswith("QAT: the input of layer '0 (conv2d_")
            assert "NaN or infinite values in training batch 2" in message


_SAVE = """
    import os, sys
    import paddle
    import qslim
    from distributed_jobs import CONFIGS, network
    from small_networks import images

    paddle.distributed.init_parallel_env()
    rank, out = paddle.distributed.get_rank(), sys.argv[1]
    net = paddle.DataParallel(network(CONFIGS["plain"], seed=rank))
    net(paddle.to_tensor(images(2, rank)))
    quanter = qslim.QAT()
    spec = [paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")]
    if rank == 0:
        quanter.save_quantized_model(net, os.path.join(out, "first", "net"), input_spec=spec)
    report = quanter.save_quantized_model(net, os.path.join(out, "every", "net"), input_spec=spec)
    if rank == 0:
        paddle.jit.save(paddle.nn.Conv2D(3, 8, 3), os.path.join(out, "float", "net"), input_spec=spec)
    qslim.quant.distributed.barrier()
    dynamic = qslim.quant.quant_post_dynamic(os.path.join(out, "float"), os.path.join(out, "dynamic"))
    for each in (report, dynamic):
        notes = [note for note in each.notes if "rank" in note]
        print(each.files.program, each.engine_file, notes)
        print([line for line in each.summary.splitlines() if "bytes" in line], flush=True)
    assert net.training
"""


def test_rank_0_writes_the_model(tmp_path: Path) -> None:
    finished = run_ranks(_SAVE, args=[str(tmp_path)], extra_path=[Path(__file__).parent])
    for name, files in (("first", "net"), ("every", "net"), ("dynamic/quantized_model", "model")):
        endings = (".json", ".pdiparams", ".qslim")
        assert sorted(os.listdir(tmp_path / name)) == [files + ending for ending in endings]
    # One rank's parameters, not the other's; the program numbers its values, whichever network comes first.
    first, every = ((tmp_path / name / "net.pdiparams").read_bytes() for name in ("first", "every"))
    assert first == every
    feeds = {"image": images(2)}
    first, every = (Session(str(tmp_path / name / "net.qslim")).run(feeds)[0] for name in ("first", "every"))
    np.testing.assert_array_equal(first, every)
    for rank, one in enumerate(finished):
        notes = ["written by rank 0, not by this one, rank 1"] if rank else []
        lines = one.stdout.splitlines()
        for report, directory, stem in ((0, "every", "net"), (2, "dynamic/quantized_model", "model")):
            path = tmp_path / directory / stem
            assert lines[report] == f"{path}.json {path}.qslim {notes}"
            # Rank 0's: the other's program may be a few digits longer.
            size = sum(os.path.getsize(f"{path}.{ending}") for ending in ("json", "pdiparams"))
            assert ("bytes" if rank else f"{size:,} bytes") in lines[report + 1]
