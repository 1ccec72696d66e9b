# SPDX-License-Identifier: Apache-2.0
"""A pruned network on its own: saved, loaded in a new process, exported, quantized, run in the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("paddle")

import paddle
from prunable_networks import (
    Residual,
    Squeezed,
    Transformer,
    assert_same_values,
    images,
    unlike_at_birth,
    values,
)

import qslim
from qslim.prune import L1NormFilterPruner, load, save

TESTS = str(Path(__file__).parent)


@pytest.mark.parametrize("build", [Residual, Squeezed, Transformer])
def test_uncut_architecture_loads_a_cut_one(build: Any, tmp_path: Path) -> None:
    paddle.seed(0)
    net = unlike_at_birth(build())
    kind, axis = ("fc", 1) if build is Transformer else ("conv", 0)
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16], prune_type=kind)
    pruner.prune_vars({group.parameter: 0.5 for group in pruner.groups if group.axis == axis}, axis)
    path = tmp_path / "pruned.pdparams"
    save(net, path)
    other = build()
    other.eval()
    assert load(path, other) is other
    assert_same_values(values(other), values(net))
    np.testing.assert_array_equal(other(images()).numpy(), net(images()).numpy())
    for one, two in zip(net.sublayers(), other.sublayers()):
        for name in ("_groups", "_in_channels", "_num_features", "num_heads", "_normalized_shape"):
            assert getattr(one, name, None) == getattr(two, name, None)
    # What was loaded can be pruned again, and its own state_dict is enough for it.
    again = build()
    load(paddle.load(str(path)), again)
    L1NormFilterPruner(again, [1, 3, 16, 16]).uniform_prune(0.2)
    assert again(images()).shape == [2, 5]


def test_wrong_checkpoints(tmp_path: Path) -> None:
    net, path = Residual(), str(tmp_path / "net")
    before = values(net)
    save(Squeezed(), path)
    paddle.save(net.state_dict(), f"{path}.plain")
    Path(f"{path}.damaged").write_bytes(Path(path).read_bytes()[:200])
    wider = Residual()
    wider.head = paddle.nn.Linear(128, 6)
    save(wider, f"{path}.wider")
    for name, message in (
        (path, "belongs to another network: it lacks"),
        (f"{path}.plain", "does not say what was cut"),
        (f"{path}.damaged", "is damaged or no checkpoint"),
        (f"{path}.wider", r"'head.weight' has shape \[128, 6\] there and \[128, 5\] in the model"),
        (f"{path}.missing", "does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            load(name, net)
        assert_same_values(values(net), before)
    with pytest.raises(ValueError, match=r"expected a paddle.nn.Layer"):
        save({}, path)
    with pytest.raises(ValueError, match="is a directory"):
        save(net, tmp_path)


def test_pruned_tuned_saved_quantized_run(tmp_path: Path, run_python: Any) -> None:
    paddle.seed(0)
    net = Residual()
    opt = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16], opt=opt)
    pruner.uniform_prune(0.4, align=4)
    net.train()
    for step in range(3):
        net(images(4, seed=step)).square().mean().backward()
        opt.step()
        opt.clear_grad()
    net.eval()
    save(net, tmp_path / "pruned")
    np.save(tmp_path / "expected.npy", net(images(8)).numpy())
    out = run_python(
        f"""
        import sys
        sys.path.insert(0, {TESTS!r})
        import numpy as np, paddle, qslim
        from prunable_networks import Residual, images

        net = qslim.prune.load("pruned", Residual())
        net.eval()
        x = images(8)
        expected = np.load("expected.npy")
        np.testing.assert_array_equal(net(x).numpy(), expected)
        spec = paddle.static.InputSpec([None, 3, 16, 16], "float32", "x")
        paddle.jit.save(net, "model/net", input_spec=[spec])
        np.testing.assert_allclose(paddle.jit.load("model/net")(x).numpy(), expected, atol=1e-5)

        paddle.enable_static()
        exe = paddle.static.Executor(paddle.CPUPlace())
        samples = lambda: ((row,) for row in x.numpy())
        report = qslim.quant.quant_post_static(
            exe, "model", "int8", sample_generator=samples, batch_size=4, batch_nums=2
        )
        (scores,) = qslim.runtime.Session(report.engine_file, num_threads=1).run({{"x": x.numpy()}})
        print("error", np.abs(scores - expected).max() / np.abs(expected).max())
        print("quantized", sum(row.dtype == "int8" for row in report.operators))
        """,
        cwd=tmp_path,
    )
    results = dict(line.split() for line in out.splitlines() if line.startswith(("error", "quantized")))
    assert float(results["error"]) < 0.1
    assert int(results["quantized"]) >= 4


def test_compare_two_networks() -> None:
    before, after = Residual(), Residual()
    L1NormFilterPruner(after, [1, 3, 16, 16]).prune_vars({after.expand.weight.name: 0.5}, axis=0)
    report = qslim.prune.compare(before, after, [1, 3, 16, 16], runs=1)
    # Per pixel: stem 3*9*8, expand 8*16, depthwise 16*9, project 16*8; head 128*5 once.
    assert report.before.flops == 256 * (216 + 128 + 144 + 128) + 640
    assert report.after.flops == 256 * (216 + 64 + 72 + 64) + 640
    assert report.pruned_flops == pytest.approx(1 - report.after.flops / report.before.flops)
    with pytest.raises(ValueError, match="at least 1"):
        qslim.prune.compare(before, after, [1, 3, 16, 16], runs=0)
