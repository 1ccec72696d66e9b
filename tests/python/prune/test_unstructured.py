# SPDX-License-Identifier: Apache-2.0
"""Unstructured pruning: counts that are exact, masks that outlive momentum, state that comes back."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qslim.prune.sparse_masks import SparseRule, sparsity

paddle = pytest.importorskip("paddle")

from small_networks import SmallNetwork, dygraph  # noqa: E402

from qslim.prune.gmp import DygraphGMPUnstructuredPruner, GMPSchedule  # noqa: E402
from qslim.prune.unstructured import DygraphUnstructuredPruner  # noqa: E402

nn = paddle.nn


@given(st.integers(0, 40), st.integers(1, 5), st.floats(0, 0.999), st.integers(0, 3), st.booleans())
def test_counts_are_exact_also_with_ties(
    rows: int, columns: int, ratio: float, levels: int, local: bool
) -> None:
    """Few different magnitudes, so that nearly every threshold is a tie."""
    rng = np.random.default_rng(rows + 7 * columns)
    weights = {
        "a": rng.integers(-levels, levels + 1, (rows, columns)).astype(np.float32),
        "b": rng.integers(-levels, levels + 1, (columns, 2, 3)).astype(np.float32),
    }
    masks = SparseRule("ratio", ratio, local_sparsity=local).masks(weights)
    pruned = {name: int((mask == 0).sum()) for name, mask in masks.items()}
    if local:
        assert pruned == {name: round(ratio * weight.size) for name, weight in weights.items()}
    else:
        assert sum(pruned.values()) == round(ratio * (weights["a"].size + weights["b"].size))
    for name, mask in masks.items():
        assert mask.shape == weights[name].shape
        kept, gone = (np.abs(weights[name][mask == value]) for value in (1, 0))
        assert kept.size == 0 or gone.size == 0 or gone.max() <= kept.min()


def test_threshold() -> None:
    mask = SparseRule("threshold", threshold=0.5).masks({"w": np.float32([-0.6, 0.5, 0.4, 0])})["w"]
    assert mask.tolist() == [1, 1, 0, 0]


def test_blocks_go_as_a_whole() -> None:
    weight = np.arange(1, 36, dtype=np.float32).reshape(5, 7)
    mask = SparseRule("ratio", 0.5, sparse_block=[2, 3]).masks({"w": weight})["w"]
    # 3 x 3 blocks, 4 of them pruned: the means rise with the row, so the first row and the next block.
    assert mask[:2].sum() == 0
    assert mask[2:4, :3].sum() == 0
    assert mask[2:4, 3:].all()
    assert mask[4:].all()
    by_threshold = SparseRule("threshold", threshold=5.0, sparse_block=[1, 7]).masks({"w": weight})["w"]
    assert by_threshold.sum(1).tolist() == [0, 7, 7, 7, 7]


def zeros_of(net: Any) -> int:
    return sum(int((p.numpy() == 0).sum()) for p in prunable(net))


def prunable(net: Any) -> list[Any]:
    return [p for p in net.parameters() if len(p.shape) > 1]


def train(net: Any, optimizer: Any, pruner: Any, steps: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(steps):
        loss = (net(paddle.to_tensor(rng.normal(size=(4, 3, 8, 8)).astype(np.float32))) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        pruner.step()


def momentum(net: Any) -> Any:
    return paddle.optimizer.Momentum(0.05, 0.9, parameters=net.parameters(), weight_decay=1e-3)


@pytest.fixture
def net() -> Any:
    with dygraph():
        paddle.seed(3)
        yield SmallNetwork()


def test_training_keeps_the_sparsity(net: Any) -> None:
    pruner = DygraphUnstructuredPruner(net, "ratio", ratio=0.6)
    total = sum(p.size for p in prunable(net))
    norms = {name: p.numpy() for name, p in net.named_parameters() if "norm" in name and "_" not in name}
    train(net, momentum(net), pruner, 4)
    assert zeros_of(net) == round(0.6 * total)
    assert all((norms[name] != 0).any() for name in norms)
    assert DygraphUnstructuredPruner.total_sparse(net) == sparsity([p.numpy() for p in net.parameters()])


def test_momentum_does_not_bring_masked_weights_back(net: Any) -> None:
    pruner = DygraphUnstructuredPruner(net, "ratio", ratio=0.5)
    optimizer = momentum(net)
    train(net, optimizer, pruner, 3)
    pruner.set_static_masks()
    masks = pruner.masks
    rng = np.random.default_rng(1)
    for _ in range(3):  # without step(): the hook applies the masks before each forward pass
        (net(paddle.to_tensor(rng.normal(size=(4, 3, 8, 8)).astype(np.float32))) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
    pruner.update_params()
    for name, mask in pruner.masks.items():
        np.testing.assert_array_equal(mask, masks[name])
    for parameter in prunable(net):
        np.testing.assert_array_equal(parameter.numpy() != 0, masks[parameter.name] == 1)


def test_state_comes_back_with_the_model(net: Any) -> None:
    pruner = DygraphUnstructuredPruner(net, "ratio", ratio=0.5)
    train(net, momentum(net), pruner, 2)
    state, own = net.state_dict(), pruner.state_dict()
    assert "stem.weight_mask" in state
    other = SmallNetwork()
    again = DygraphUnstructuredPruner(other, "ratio", ratio=0.5)
    other.set_state_dict(state)
    for (_, one), (_, two) in zip(pruner.masks.items(), again.masks.items()):
        np.testing.assert_array_equal(one, two)
    renamed = {name: mask for name, mask in zip(again.masks, own["masks"].values())}
    again.set_state_dict({**own, "masks": renamed, "is_static": True})
    again.step()
    assert zeros_of(other) == zeros_of(net)
    with pytest.raises(ValueError, match="the state is of another network"):
        again.set_state_dict({**own, "masks": {}})


def test_a_pruned_network_is_saved_and_stays_sparse(net: Any, tmp_path: Any) -> None:
    from qslim.importers.paddle import find_model_files, load_program

    pruner = DygraphUnstructuredPruner(net, "ratio", ratio=0.5)
    train(net, momentum(net), pruner, 2)
    net.eval()
    x = np.ones((1, 3, 8, 8), np.float32)
    expected = net(paddle.to_tensor(x)).numpy()
    spec = paddle.static.InputSpec([None, 3, 8, 8], "float32", "image")
    paddle.jit.save(net, str(tmp_path / "net"), input_spec=[spec])
    program = load_program(find_model_files(str(tmp_path)))
    np.testing.assert_allclose(program.run_outputs({"image": x})[0], expected, rtol=1e-5, atol=1e-6)
    weights = [program.parameter(p.name) for p in prunable(net)]
    assert sum(int((weight == 0).sum()) for weight in weights) == zeros_of(net)


def test_what_is_pruned_can_be_chosen(net: Any) -> None:
    only = DygraphUnstructuredPruner(net, "ratio", ratio=0.5, prune_params_type="conv1x1_only")
    assert list(only.masks) == [net.pointwise.weight.name]
    only.step()
    assert DygraphUnstructuredPruner.total_sparse_conv1x1(net) == 0.5
    assert int((net.stem.weight.numpy() == 0).sum()) == 0
    only.remove_hook()
    skipping = DygraphUnstructuredPruner(net, "ratio", skip_params_func=lambda m: {m.head.weight.name})
    assert net.head.weight.name not in skipping.masks
    assert net.head.bias.name in skipping.masks  # the function stands in place of the default
    assert net.stem_norm.weight.name not in skipping.masks


def test_masks_are_the_models_own(net: Any) -> None:
    """Assigned to, also as booleans, they hold; what has none says so in skip_params."""
    pruner = DygraphUnstructuredPruner(net, "threshold", threshold=0.0)
    name = net.head.weight.name
    paddle.assign(net.head.weight > 0, output=pruner.masks[name])
    pruner.update_params()
    assert float(net.head.weight.min()) == 0 < float(net.head.weight.max())
    assert pruner.state_dict()["masks"][name].shape == tuple(net.head.weight.shape)
    assert {*pruner.masks} == {p.name for p in net.parameters()} - pruner.skip_params
    assert net.stem_norm.full_name() in pruner.skip_params
    fewer = DygraphUnstructuredPruner(net, "ratio", prune_params_type="conv1x1_only")
    assert pruner.skip_params < fewer.skip_params


def test_summarize_weights(net: Any) -> None:
    pruner = DygraphUnstructuredPruner(net, "threshold")
    weights = np.sort(np.abs(np.concatenate([p.numpy().ravel() for p in prunable(net)])))
    assert pruner.summarize_weights(net, 0.3) == weights[round(0.3 * weights.size) - 1]
    assert pruner.summarize_weights(net, 0.0) == pruner.summarize_weights(ratio=0.0) == 0.0
    other = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1D(4))
    assert pruner.summarize_weights(other, 1.0) == float(other[0].weight.abs().max())


def test_gmp_schedule_and_resuming(net: Any) -> None:
    configs = {"stable_iterations": 1, "pruning_iterations": 4, "pruning_steps": 4, "initial_ratio": 0.2}
    schedule = GMPSchedule.from_configs(configs, 0.8)
    ratios = [schedule.ratio_at(i, 0.8) for i in range(8)]
    expected = [0.0] + [((i / 4 - 1) ** 3 + 1) * 0.6 + 0.2 for i in range(5)] + [0.8] * 2
    assert ratios == pytest.approx(expected)
    total = sum(p.size for p in prunable(net))
    pruner = DygraphGMPUnstructuredPruner(net, ratio=0.8, configs=configs)
    assert pruner.ratios_stack[::-1] == ratios[:5]
    optimizer = momentum(net)
    for ratio in ratios[:3]:
        assert pruner.ratios_stack[-1] == ratio
        train(net, optimizer, pruner, 1)
        assert zeros_of(net) == round(ratio * total)
    resumed = DygraphGMPUnstructuredPruner(net, ratio=0.8, configs={**configs, "resume_iteration": 3})
    assert resumed.ratio == ratios[3]
    from_state = DygraphGMPUnstructuredPruner(net, ratio=0.8, configs=configs)
    from_state.set_state_dict(pruner.state_dict())
    for pruner in (resumed, from_state):
        pruner.step()
        assert zeros_of(net) == round(ratios[3] * total)
    train(net, optimizer, resumed, 4)
    assert zeros_of(net) == round(0.8 * total)


STATIC = """
    import numpy as np, paddle
    from qslim.prune.gmp import StaticGMPUnstructuredPruner
    from qslim.prune.unstructured import StaticUnstructuredPruner

    paddle.enable_static()
    paddle.seed(1)
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup):
        image = paddle.static.data("image", [None, 3, 8, 8], "float32")
        net = paddle.nn.Sequential(
            paddle.nn.Conv2D(3, 8, 1), paddle.nn.BatchNorm2D(8), paddle.nn.Flatten(), paddle.nn.Linear(512, 5)
        )
        loss = (net(image) ** 2).mean()
        paddle.optimizer.Momentum(0.01, 0.9, parameters=net.parameters()).minimize(loss)
    executor = paddle.static.Executor(paddle.CPUPlace())
    try:
        StaticUnstructuredPruner(main, "ratio").step()
    except ValueError as error:
        print(error)
    executor.run(startup)
    pruner = StaticUnstructuredPruner(main, "ratio", 0.4)
    feed = {"image": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    def run(pruner):
        executor.run(main, feed=feed)
        pruner.step()
        weights = [np.array(paddle.static.global_scope().find_var(n).get_tensor()) for n in pruner.masks]
        return sum(int((w == 0).sum()) for w in weights)
    print(len(pruner.masks), run(pruner), run(pruner), round(0.4 * (24 + 512 * 5)))
    pruner.set_static_masks()
    before = {n: m.copy() for n, m in pruner.masks.items()}
    print(run(pruner), all((before[n] == m).all() for n, m in pruner.masks.items()))
    conv = next(mask for mask in pruner.masks.values() if mask.ndim == 4)
    print(pruner.summarize_weights(main, 1.0) == pruner.summarize_weights(ratio=1.0) > 0)
    print(StaticUnstructuredPruner.total_sparse(main) > 0.39)
    by_layer = pruner.sparse_by_layer(main)
    masks = pruner.masks
    print(all(by_layer[name] == (mask == 0).mean() for name, mask in masks.items()),
          {*by_layer} - {*masks} == pruner.skip_params)
    print(abs(StaticUnstructuredPruner.total_sparse_conv1x1(main) - (conv == 0).mean()) < 1e-9)
    configs = {"pruning_iterations": 2, "pruning_steps": 2, "initial_ratio": 0.5}
    gmp = StaticGMPUnstructuredPruner(main, 0.9, configs=configs)
    print([run(gmp) for _ in range(3)], [round(r * 2584) for r in (0.5, 0.85, 0.9)])
"""


@pytest.mark.parametrize("legacy_ir", [False, True])
def test_static_programs(run_python: Any, legacy_ir: bool) -> None:
    lines = [line for line in run_python(STATIC, legacy_ir=legacy_ir).splitlines() if line]
    assert "has no value in the scope; run the startup program first" in lines[0]
    assert lines[1:] == [
        "2 1034 1034 1034",
        "1034 True",
        "True",
        "True",
        "True True",
        "True",
        f"{[1292, 2196, 2326]} {[1292, 2196, 2326]}",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "x"}, "mode must be selected from 'ratio' and 'threshold', got 'x'"),
        ({"mode": "ratio", "ratio": 1.0}, r"ratio must be in \[0, 1\), got 1.0"),
        ({"mode": "threshold", "threshold": -1}, "threshold must be >= 0"),
        ({"mode": "threshold", "local_sparsity": True}, "local_sparsity needs mode 'ratio'"),
        ({"mode": "ratio", "sparse_block": [2]}, "sparse_block must be two positive integers"),
        ({"mode": "ratio", "sparse_block": [2, 0]}, "sparse_block must be two positive integers"),
        (
            {"mode": "ratio", "prune_params_type": "fc"},
            "prune_params_type only supports None or 'conv1x1_only'",
        ),
        (
            {"mode": "ratio", "skip_params_func": lambda m: {p.name for p in m.parameters()}},
            "no parameter is left",
        ),
    ],
)
def test_messages(net: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DygraphUnstructuredPruner(net, **arguments)


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        (None, "configs must be a dict with pruning_iterations"),
        ({"pruning_iterations": 4, "tuning_iterations": 3}, "did you mean 'tunning_iterations'"),
        ({"pruning_iterations": 0}, "pruning_iterations must be > 0, got 0"),
        ({"pruning_iterations": 4, "initial_ratio": 0.9}, "initial_ratio must not be above ratio 0.55"),
    ],
)
def test_gmp_messages(net: Any, configs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DygraphGMPUnstructuredPruner(net, configs=configs)


@pytest.mark.parametrize("name", ["sparse_masks", "unstructured", "gmp"])
def test_examples(name: str) -> None:
    with dygraph():
        results = doctest.testmod(importlib.import_module(f"qslim.prune.{name}"))
    assert results.failed == 0
    assert results.attempted > 0
