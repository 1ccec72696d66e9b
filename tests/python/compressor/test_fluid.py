# SPDX-License-Identifier: Apache-2.0
"""qslim.fluid: programs of Paddle 1.x, and the scripts that the runner gives the legacy IR."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import pytest

from qslim.paddleslim.legacy_scripts import reason_for_legacy_ir

# What a layer computes is compared with NumPy; every name is called once.
LAYERS = """
    import numpy as np
    import qslim.fluid as fluid

    L = fluid.layers
    x = L.data("x", [4, 6, 6])
    flat = L.data("flat", [4])
    label = L.data("label", [1], dtype="int64")
    whole = fluid.data("whole", [None, 4])
    assert x.shape == (-1, 4, 6, 6) and whole.shape == (-1, 4)
    attr = fluid.ParamAttr("w", initializer=fluid.initializer.Constant(0.5))
    results = {
        "fc": L.fc(flat, 3, param_attr=attr, bias_attr=False, act="relu"),
        "conv2d": L.conv2d(x, 2, 3, param_attr=fluid.initializer.Constant(1.0), bias_attr=False),
        "max": L.pool2d(x, 2, "max", 2),
        "avg": L.pool2d(x, 2, "avg", 2, pool_padding=1),
        "global": L.pool2d(x, pool_type="avg", global_pooling=True),
        "entropy": L.cross_entropy(L.softmax(flat), label),
        "mean": L.mean(x),
        "accuracy": L.accuracy(L.softmax(flat), label, k=1),
        "add": L.elementwise_add(x, L.reshape(flat, [-1, 4]), axis=0),
        "relu6": L.relu6(L.scale(flat, scale=10.0)),
        "leaky": L.leaky_relu(flat, alpha=0.1),
        "dropout": L.dropout(flat, 0.25, is_test=True),
        "concat": L.concat([flat, whole], axis=1),
        "transpose": L.transpose(x, [0, 2, 3, 1]),
        "flatten": L.flatten(x),
        "one_hot": L.one_hot(label, 4),
        "square": L.square_error_cost(flat, whole),
        "logits": L.softmax_with_cross_entropy(flat, label),
        "norm": L.batch_norm(x, is_test=True),
        "swish": L.swish(flat),
        "sub": L.elementwise_sub(flat, whole),
        "mul": L.elementwise_mul(flat, whole, act="relu"),
    }
    exe = fluid.Executor(fluid.CPUPlace())
    exe.run(fluid.default_startup_program())
    rng = np.random.default_rng(0)
    shapes = {"x": (5, 4, 6, 6), "flat": (5, 4), "whole": (5, 4)}
    feed = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    feed["label"] = np.array([[0], [1], [2], [3], [0]])
    got = dict(zip(results, exe.run(feed=feed, fetch_list=list(results.values()))))
    X, F, W, Y = feed["x"], feed["flat"], feed["whole"], feed["label"]
    P = np.exp(F) / np.exp(F).sum(1, keepdims=True)
    E = -np.log(np.take_along_axis(P, Y, 1))
    padded = np.pad(X, [(0, 0), (0, 0), (1, 1), (1, 1)])
    counts = np.pad(np.ones_like(X), [(0, 0), (0, 0), (1, 1), (1, 1)])
    sums = lambda a: a.reshape(5, 4, 4, 2, 4, 2).sum((3, 5))
    windows = np.lib.stride_tricks.sliding_window_view(X, (3, 3), (2, 3)).sum((1, 4, 5))
    wanted = {
        "fc": np.maximum(np.repeat(F.sum(1, keepdims=True) / 2, 3, 1), 0),
        "conv2d": np.stack([windows, windows], 1),
        "max": X.reshape(5, 4, 3, 2, 3, 2).max((3, 5)),
        "avg": sums(padded) / sums(counts),
        "global": X.mean((2, 3), keepdims=True),
        "entropy": E,
        "mean": X.mean(keepdims=True).reshape(1),
        "accuracy": np.float32([np.mean(F.argmax(1) == Y[:, 0])]),
        "add": X + F[:, :, None, None],
        "relu6": np.clip(10 * F, 0, 6),
        "leaky": np.where(F > 0, F, F * 0.1),
        "dropout": F * 0.75,
        "concat": np.concatenate([F, W], 1),
        "transpose": X.transpose(0, 2, 3, 1),
        "flatten": X.reshape(5, -1),
        "one_hot": np.eye(4)[Y[:, 0]],
        "square": (F - W) ** 2,
        "logits": E,
        "norm": X / np.sqrt(1 + 1e-5),
        "swish": F / (1 + np.exp(-F)),
        "sub": F - W,
        "mul": np.maximum(F * W, 0),
    }
    for name, value in wanted.items():
        assert got[name].shape == value.shape, (name, got[name].shape, value.shape)
        # At most 36 terms below 4 each, in another order.
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=36 * 2**-23 * 4, err_msg=name)
"""


def test_layers_compute_what_they_did(run_python: Any) -> None:
    run_python(LAYERS, legacy_ir=True)


TRAINING = """
    import os
    import numpy as np
    import qslim.fluid as fluid
    import paddle

    main, startup = fluid.Program(), fluid.Program()
    with fluid.program_guard(main, startup):
        x = fluid.layers.data("x", [2])
        y = fluid.layers.data("y", [1])
        out = fluid.layers.fc(x, 1, param_attr=fluid.ParamAttr("w"), bias_attr=fluid.ParamAttr("b"))
        loss = fluid.layers.mean(fluid.layers.square_error_cost(out, y))
        test = main.clone(for_test=True)
        rate = fluid.layers.piecewise_decay([2, 4], [0.1, 0.01, 0.0])
        fluid.optimizer.Momentum(rate, 0.0, regularization=fluid.regularizer.L2Decay(0.5)).minimize(loss)
    exe = fluid.Executor(fluid.CPUPlace())
    exe.run(startup)
    feeder = fluid.DataFeeder([x, y], fluid.CPUPlace(), main)
    batch = [(np.float32([1, 2]), [3.0]), (np.float32([0, 1]), [1.0])]
    fluid.io.save_persistables(exe, "saved", main)
    assert {"w", "b"} <= set(os.listdir("saved")), os.listdir("saved")
    value = lambda: np.array(fluid.global_scope().find_var("w").get_tensor())
    X, Y = np.float32([[1, 2], [0, 1]]), np.float32([[3], [1]])
    w, b = value(), np.zeros(1)
    for step, lr in enumerate([0.1, 0.1, 0.01, 0.01, 0.0]):
        exe.run(test, feed=feeder.feed(batch), fetch_list=[loss])  # moves no rate
        (got,) = exe.run(main, feed=feeder.feed(batch), fetch_list=[loss])
        error = X @ w + b - Y
        np.testing.assert_allclose(got[0], np.mean(error**2), rtol=1e-5)
        w, b = w - lr * (X.T @ error + 0.5 * w), b - lr * (error.sum(0) + 0.5 * b)
        np.testing.assert_allclose(value(), w, rtol=1e-4)
    names = fluid.io.save_inference_model("model", ["x"], [out], exe, test, "model", "weights")
    assert sorted(os.listdir("model")) == ["model", "weights"] and names == [out.name]
    program, feeds, fetches = fluid.io.load_inference_model("model", exe, "model", "weights")
    np.testing.assert_allclose(exe.run(program, feed={"x": X}, fetch_list=fetches)[0], X @ w + b, rtol=1e-4)
    fluid.io.load_vars(exe, "saved", main, predicate=lambda v: os.path.exists(f"saved/{v.name}"))
    assert (value() != w).any()
    for wrong, said in (
        (lambda: fluid.CUDAPlace(0), "built for the CPU"),
        (lambda: fluid.layer, "did you mean 'layers'"),
        (lambda: fluid.dygraph, "qslim.QAT"),
    ):
        try:
            wrong()
        except (RuntimeError, AttributeError) as error:
            assert said in str(error), error
        else:
            assert paddle.is_compiled_with_cuda()
"""


def test_training_with_a_schedule_and_files(run_python: Any, tmp_path: Path) -> None:
    run_python(TRAINING, legacy_ir=True, cwd=tmp_path)


def test_a_process_with_pir_is_refused(run_python: Any) -> None:
    out = run_python("""
        import paddle
        import qslim.fluid as fluid
        try:
            fluid.layers.data("x", [2])
        except RuntimeError as error:
            print(error, paddle.in_dynamic_mode())
    """)
    assert "FLAGS_enable_pir_api=0" in out
    assert "True" in out


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1\nfrom paddle import fluid", "paddle.fluid (line 2)"),
        ("from paddle.fluid.contrib.slim import Compressor", "paddle.fluid (line 1)"),
        ("import qslim.fluid as fluid", "paddle.fluid (line 1)"),
        ("load('d', 'inference.pdmodel')", "'inference.pdmodel' (line 1)"),
        ("val = main.clone(\n    for_test=True)", "clone(for_test=True) (line 1)"),
        ("val = main.clone()", None),
        ("# paddle.fluid, x.pdmodel\nimport fluidity", None),
        ("x = = 1", None),
    ],
)
def test_scripts_that_need_the_legacy_ir(source: str, reason: Optional[str]) -> None:
    assert reason_for_legacy_ir(source) == reason
