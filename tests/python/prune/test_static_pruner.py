# SPDX-License-Identifier: Apache-2.0
"""The static pruner on programs of both IRs, for inference and in training. Each runs in its own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("paddle")

_PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np, paddle
import qslim as slim
from prunable_networks import Residual

paddle.enable_static()
paddle.seed(0)
main, startup = paddle.static.Program(), paddle.static.Program()
with paddle.static.program_guard(main, startup):
    x = paddle.static.data("x", [None, 3, 16, 16])
    net = Residual()
    net.train() if TRAINS else net.eval()
    scores = net(x)
    loss = paddle.mean(scores * scores)
    if TRAINS:
        paddle.optimizer.Adam(0.001).minimize(loss)
place = paddle.CPUPlace()
exe, scope = paddle.static.Executor(place), paddle.static.global_scope()
exe.run(startup)
feed = {{"x": np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype("float32")}}
is_pir = paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]
stem, norm, expand = net.stem.weight.name, net.norm.weight.name, net.expand.weight.name

def run(program):
    if is_pir:  # values of a copied program are found by their operator
        target = [op for op in program.global_block().ops if op.name() == "pd_op.mean"][0].result(0)
    else:
        target = loss.name
    return float(np.asarray(exe.run(program, feed=feed, fetch_list=[target])[0]).reshape(-1)[0])

def value(name):
    return np.array(scope.find_var(name).get_tensor())

def put_back(values):
    for name, array in values.items():
        scope.find_var(name).get_tensor().set(array, place)

def parameters():
    names = [parameter.name for parameter in (*net.parameters(), *net.buffers())]
    return {{name: value(name) for name in names}}
"""


@pytest.fixture(params=["pir", "legacy"])
def run_program(request: pytest.FixtureRequest, run_python: Any, tmp_path: Path) -> Any:
    def run(code: str, trains: bool = False) -> str:
        whole = f"TRAINS = {trains}\n{_PROGRAM}\n{code}"
        out: str = run_python(whole, legacy_ir=request.param == "legacy", cwd=tmp_path)
        return out

    return run


def test_inference_program(run_program: Any) -> None:
    run_program("""
whole, before = run(main), parameters()
pruner = slim.prune.Pruner("l1_norm")
masked, backup, shapes = pruner.prune(main, scope, [stem, expand], [0.5, 0.25], place, lazy=True,
                                      param_backup=True, param_shape_backup=True)
expected = run(masked)
assert abs(expected - whole) > 1e-4
assert shapes[stem] == (8, 3, 3, 3) and value(stem).shape == (8, 3, 3, 3)
put_back(backup)
assert all(np.array_equal(value(name), array) for name, array in before.items())

scores = np.abs(value(stem)).sum((1, 2, 3))
program, backup, shapes = pruner.prune(main, scope, [stem, expand, net.project.weight.name], [0.5, 0.25, 0.9],
                                       place, param_backup=True)
assert shapes is None
np.testing.assert_array_equal(value(stem), backup[stem][np.sort(np.argsort(scores)[4:])])
assert value(expand).shape == (12, 4, 1, 1) and value(net.head.weight.name).shape == (64, 5)
np.testing.assert_allclose(run(program), expected, rtol=1e-5)
block = program.global_block()
if is_pir:
    feeds = [op.result(0) for op in block.ops if op.name() == "pd_op.data"]
    fetches = [op.result(0) for op in block.ops if op.name() == "pd_op.mean"]
else:
    feeds, fetches = [block.var("x")], [block.var(loss.name)]
paddle.static.save_inference_model("model/net", feeds, fetches, exe, program=program)
from qslim.importers.paddle import find_model_files, load_program
graph = load_program(find_model_files("model")).graph
shapes = {node.source_op: graph.tensors[node.outputs[0]].shape for node in graph.nodes}
assert shapes["batch_norm"][1] == shapes["pool2d"][1] == 4 and shapes["depthwise_conv2d"][1] == 12, shapes
assert shapes["flatten"][1] == 4 * 16, shapes

# A second program over the same scope: its shapes only.
test, _, _ = pruner.prune(main, scope, [stem, expand], [0.5, 0.25], place, only_graph=True)
np.testing.assert_allclose(run(test), expected, rtol=1e-5)
try:
    pruner.prune(main, scope, [stem], [0.5], place)
except ValueError as error:
    assert "only_graph=True" in str(error), error
else:
    raise AssertionError
put_back(backup)
np.testing.assert_allclose(run(main), whole, rtol=1e-6)
""")


def test_training_program_goes_on_training(run_program: Any) -> None:
    run_program(
        """
run(main)
pruner = slim.prune.Pruner("geometry_median")
program, backup, _ = pruner.prune(main, scope, [stem, expand], [0.5, 0.5], place, param_backup=True)
moments = [name for name in backup if name.startswith(stem) and "moment" in name]
assert len(moments) >= 2 and all(value(name).shape == (4, 3, 3, 3) for name in moments), moments
losses = [run(program) for _ in range(5)]
assert losses[-1] < losses[0], losses

slim.prune.save_model(exe, program, "pruned")
after = run(program)
put_back(backup)
loaded = slim.prune.load_model(exe, main, "pruned")
assert loaded is main
assert {parameter.name: tuple(parameter.shape) for parameter in net.parameters()}[expand] == (8, 4, 1, 1)
assert value(expand).shape == (8, 4, 1, 1)
np.testing.assert_allclose(run(main), after, rtol=1e-5)
try:
    slim.prune.load_model(exe, main, "nowhere")
except ValueError as error:
    assert "does not exist" in str(error)
""",
        trains=True,
    )


def test_a_legacy_fully_connected_layer_follows(run_python: Any) -> None:
    """`mul` flattens its input, here channels and pixels, and the program does not write down to what."""
    run_python("""
import numpy as np, paddle
import qslim as slim

paddle.enable_static()
main, startup = paddle.static.Program(), paddle.static.Program()
with paddle.static.program_guard(main, startup):
    x = paddle.static.data("x", [None, 3, 8, 8])
    conv = paddle.static.nn.conv2d(x, 8, 3, padding=1, param_attr=paddle.ParamAttr(name="conv"))
    hidden = paddle.static.nn.fc(conv, 10, weight_attr=paddle.ParamAttr(name="hidden"))
    scores = paddle.static.nn.fc(hidden, 5, weight_attr=paddle.ParamAttr(name="scores"))
exe, scope = paddle.static.Executor(paddle.CPUPlace()), paddle.static.global_scope()
exe.run(startup)
feed = {"x": np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype("float32")}
run = lambda program: exe.run(program, feed=feed, fetch_list=[scores.name])[0]
pruner = slim.prune.Pruner()
masked, backup, _ = pruner.prune(main, scope, ["conv"], [0.5], lazy=True, param_backup=True)
expected = run(masked)
for name, array in backup.items():
    scope.find_var(name).get_tensor().set(array, paddle.CPUPlace())
pruned, _, _ = pruner.prune(main, scope, ["conv"], [0.5])
block = pruned.global_block()
assert block.var("conv").shape == (4, 3, 3, 3) and block.var("hidden").shape == (256, 10)
np.testing.assert_allclose(run(pruned), expected, rtol=1e-5, atol=1e-6)
""", legacy_ir=True)  # fmt: skip


def test_criteria_sensitivity_and_errors(run_program: Any) -> None:
    run_program("""
put_back({norm: np.float32([0.1, 2, 3, -0.2, 5, 6, 7, 0.3])})
kept = slim.prune.Pruner("bn_scale").prune(main, scope, [stem], [0.4], param_backup=True)[1]
np.testing.assert_array_equal(value(norm), np.float32([2, 3, 5, 6, 7]))
put_back(kept)
kept = slim.prune.Pruner(lambda weight, axis: -np.arange(weight.shape[axis])).prune(
    main, scope, [stem], [0.4], param_backup=True)[1]
np.testing.assert_array_equal(value(stem), kept[stem][:5])
put_back(kept)
# Squares 1, 4, 9, 25, ...: the first four are less than 0.2 of all, the fifth is more.
put_back({stem: np.ones((8, 3, 3, 3), np.float32) * np.float32([1, 2, 3, 5, 8, 9, 9, 9]).reshape(8, 1, 1, 1)})
pruner = slim.prune.Pruner(idx_selector="optimal_threshold")
kept = pruner.prune(main, scope, [stem], [0.2], param_backup=True)[1]
assert len(value(stem)) == 4, value(stem).shape
put_back(kept)

before = parameters()
score = lambda program, scale: scale / (1 + run(program))
arguments = (main, place, [stem, expand])
found = slim.prune.sensitivity(*arguments, score, "sen", [0.25, 0.5], eval_args=[2.0])
assert sorted(found) == sorted([stem, expand]) and sorted(found[stem]) == [0.25, 0.5]
assert slim.prune.load_sensitivities("sen") == found
assert slim.prune.sensitivity(*arguments, None, "sen", [0.25, 0.5]) == found  # nothing is left to do
pruned, backup, _ = slim.prune.Pruner().prune(main, scope, [stem], [0.5], param_backup=True)
score = 2 / (1 + run(pruned))
put_back(backup)
base = 2 / (1 + run(main))
np.testing.assert_allclose(found[stem][0.5], (base - score) / base, rtol=1e-4)
try:
    slim.prune.sensitivity(*arguments, lambda program: 0.0)
except ValueError as error:
    assert "eval_func returned 0.0 for the program before it is pruned" in str(error)
else:
    raise AssertionError("a share of 0")

for arguments, message in (
    ((["conv2d_77.w_0"], [0.5]), "did you mean 'conv2d_"),
    (([stem, expand], [0.5, 1.0]), "would leave the layer empty"),
    (([stem], [0.5, 0.5]), "one ratio for each parameter"),
):
    try:
        slim.prune.Pruner().prune(main, scope, *arguments)
    except ValueError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
for keywords in ({"criterion": "l7"}, {"idx_selector": "best"}):
    try:
        slim.prune.Pruner(**keywords)
    except ValueError as error:
        assert "expected one of" in str(error)
assert all(np.array_equal(value(name), array) for name, array in before.items())
""")
