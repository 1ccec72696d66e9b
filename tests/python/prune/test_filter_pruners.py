# SPDX-License-Identifier: Apache-2.0
"""The pruners' calls: which filters go, how, and back again."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("paddle")

import paddle
from paddle import nn
from prunable_networks import Residual, Squeezed, UNet, assert_same_values, images, unlike_at_birth, values

import qslim
from qslim.dygraph import (
    BNScaleFilterPruner,
    FPGMFilterPruner,
    L1NormFilterPruner,
    L2NormFilterPruner,
    TaylorFilterPruner,
)
from qslim.prune import PruningMask, PruningPlan
from qslim.prune.selection import pruned_count


def _pair(filters: int = 8) -> Any:
    return nn.Sequential(
        nn.Conv2D(3, filters, 3), nn.BatchNorm2D(filters), nn.ReLU(), nn.Conv2D(filters, 4, 3)
    )


def _expected(criterion: str, weight: Any) -> Any:
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    if criterion == "fpgm":
        return np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(2)).sum(1)
    return np.abs(rows).mean(1) if criterion == "l1" else np.sqrt((rows**2).sum(1))


@pytest.mark.parametrize(
    ("pruner", "criterion"),
    [(L1NormFilterPruner, "l1"), (L2NormFilterPruner, "l2"), (FPGMFilterPruner, "fpgm")],
)
def test_smallest_filters_go(pruner: Any, criterion: str) -> None:
    net = _pair()
    made = pruner(net, [1, 3, 8, 8])
    # The weights count as they are when pruning, not as they were when the pruner was made.
    weight = np.random.default_rng(2).standard_normal((8, 3, 3, 3)).astype(np.float32)
    net[0].weight.set_value(weight)
    after = net[3].weight.numpy()
    plan = made.prune_vars({net[0].weight.name: 0.4}, axis=[0])
    kept = np.sort(np.argsort(_expected(criterion, weight), kind="stable")[3:])
    np.testing.assert_array_equal(net[0].weight.numpy(), weight[kept])
    np.testing.assert_array_equal(net[3].weight.numpy(), after[:, kept])
    assert plan.masks[net[0].weight.name][0].mask.tolist() == [int(i in kept) for i in range(8)]
    assert {name for name in plan.masks if "batch_norm" in name} == {
        tensor.name for tensor in (net[1].weight, net[1].bias, net[1]._mean, net[1]._variance)
    }


def test_batch_norm_scale_and_taylor() -> None:
    net = unlike_at_birth(_pair())
    scale = np.abs(net[1].weight.numpy())
    BNScaleFilterPruner(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: 0.5}, axis=0)
    np.testing.assert_array_equal(np.abs(net[1].weight.numpy()), scale[np.sort(np.argsort(scale)[4:])])
    bare = nn.Sequential(nn.Conv2D(3, 4, 1), nn.Conv2D(4, 2, 1))
    pruner = BNScaleFilterPruner(bare, [1, 3, 4, 4])
    with pytest.raises(ValueError, match="no batch normalization follows"):
        pruner.prune_vars({bare[0].weight.name: 0.5}, axis=0)

    net = _pair()
    pruner = TaylorFilterPruner(net, [1, 3, 8, 8])
    with pytest.raises(ValueError, match=r"no gradient; call backward\(\)"):
        pruner.prune_vars({net[0].weight.name: 0.5}, axis=0)
    total = 0
    for seed in range(2):
        net.clear_gradients()
        net(images(size=8, seed=seed)).square().mean().backward()
        total = total + net[0].weight.grad.numpy()
        pruner.accumulate()
    weight = net[0].weight.numpy()
    scores = np.abs((weight * total).reshape(8, -1).sum(1))
    pruner.prune_vars({net[0].weight.name: 0.5}, axis=0)
    np.testing.assert_array_equal(net[0].weight.numpy(), weight[np.sort(np.argsort(scores)[4:])])
    assert net[0].weight.grad is None


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.floats(0, 0.999), st.integers(0, 3))
def test_pruned_count_is_exact(filters: int, ratio: float, distinct: int) -> None:
    """round(n * ratio), ties to even, never all; equal scores included (the first ones go)."""
    count = pruned_count(filters, filters, ratio)
    assert count == min(filters - 1, round(filters * ratio))
    from qslim.prune.groups import Groups, Member
    from qslim.prune.selection import select_atoms

    groups = Groups({("w", 0): Member("w", 0, np.arange(filters))}, filters)
    scores = np.arange(filters) % (distinct + 1)
    chosen = select_atoms(groups, "w", 0, scores.astype(np.float32), ratio)
    assert chosen == np.argsort(scores, kind="stable")[:count].tolist()


def test_equal_filters_are_cut_by_the_count() -> None:
    net = _pair(10)
    net[0].weight.set_value(np.ones((10, 3, 3, 3), np.float32))
    L1NormFilterPruner(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: 0.25}, axis=0)
    assert net[0].weight.shape[0] == 8  # round(2.5) is 2


def test_ratio_zero_changes_nothing() -> None:
    net = Residual()
    before = values(net)
    plan = L1NormFilterPruner(net, [1, 3, 16, 16]).prune_vars({net.stem.weight.name: 0.0}, axis=0)
    assert plan.pruned_flops == 0
    assert not plan.masks
    assert_same_values(values(net), before)


def test_dependent_parameters_are_pruned_once() -> None:
    """`project` is added to `stem`: the first one decides for both."""
    net = Residual()
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16])
    pruner.prune_vars({net.stem.weight.name: 0.25, net.project.weight.name: 0.75}, axis=0)
    assert net.stem.weight.shape[0] == net.project.weight.shape[0] == 6
    pruner.restore()
    pruner.prune_var(net.project.weight.name, 0, 0.75)
    assert net.stem.weight.shape[0] == net.project.weight.shape[0] == 2


@pytest.mark.parametrize("apply", ["impretive", "imperative", "lazy", None])
def test_apply_and_restore(apply: Any) -> None:
    net = unlike_at_birth(Residual())
    before, x = values(net), images()
    objects = {parameter.name: parameter for parameter in net.parameters()}
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16])
    plan = pruner.prune_vars({net.stem.weight.name: 0.5}, axis=0, apply=apply)
    assert net.stem.weight.shape[0] == (4 if apply in ("impretive", "imperative") else 8)
    assert net.state_dict().keys() == before.keys()
    assert all(objects[parameter.name] is parameter for parameter in net.parameters())
    if apply is None:
        assert_same_values(values(net), before)
        plan.apply(net)
        assert net.stem.weight.shape[0] == 4
        with pytest.raises(ValueError, match="applied already"):
            plan.apply(net)
        plan.restore(net)
    elif apply == "lazy":
        assert (net.stem.weight.numpy() == 0).all((1, 2, 3)).sum() == 4
        assert net.norm._variance.numpy().all()
    assert net(x).shape == [2, 5]
    pruner.restore()
    assert_same_values(values(net), before)


def test_pruning_twice_and_restoring_both() -> None:
    net = unlike_at_birth(Residual())
    before = values(net)
    pruner = L2NormFilterPruner(net, [1, 3, 16, 16])
    pruner.prune_vars({net.stem.weight.name: 0.5}, axis=0)
    pruner.prune_vars({net.stem.weight.name: 0.5, net.expand.weight.name: 0.5}, axis=0)
    assert net.stem.weight.shape[0] == 2
    assert net.norm._num_features == 2
    assert net(images()).shape == [2, 5]
    pruner.restore()
    assert_same_values(values(net), before)
    assert net.norm._num_features == 8


@pytest.mark.parametrize("optimizer", ["Momentum", "Adam", "AdamW"])
def test_training_goes_on(optimizer: str) -> None:
    """After a cut the optimizer's state is that of the channels that stay: two ways to one network."""

    def train(steps: int) -> None:
        for step in range(steps):
            loss = ((net(images(4, seed=step)) - 1) ** 2).mean()
            loss.backward()
            opt.step()
            opt.clear_grad()
            losses.append(float(loss))

    paddle.seed(0)
    net, losses = Residual(), []
    opt = getattr(paddle.optimizer, optimizer)(learning_rate=0.002, parameters=net.parameters())
    train(4)
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16], opt=opt)
    state = {name: value.numpy() for name, value in opt.state_dict().items() if hasattr(value, "numpy")}
    plan = pruner.prune_vars({net.expand.weight.name: 0.5}, axis=0)
    kept = plan.masks[net.expand.weight.name][0].mask.astype(bool)
    name = next(name for name in state if name.startswith(net.expand.weight.name) and state[name].ndim == 4)
    now = opt.state_dict()[name].numpy()
    np.testing.assert_array_equal(now, state[name][kept])
    train(6)
    assert losses[-1] < losses[4]
    assert opt.state_dict()[name].shape == net.expand.weight.shape
    pruner.restore()
    assert opt.state_dict()[name].shape == net.expand.weight.shape == [16, 8, 1, 1]
    train(1)


def test_align_keeps_multiples() -> None:
    net = _pair(40)
    pruner = L1NormFilterPruner(net, [1, 3, 8, 8])
    for ratio, align, kept in (
        (0.5, 16, 16),
        (0.5, 8, 24),
        (0.9, 16, 16),
        (0.1, 64, 40),
        (0.01, 32, 32),
        (0.0, 32, 40),
        (0.5, None, 20),
    ):
        pruner.prune_vars({net[0].weight.name: ratio}, axis=0, align=align)
        # 20 of 40 are 2.5 times 8: a tie, to even; 24 is 3 times 8 for ratio 0.5 only if rounding went up.
        expected = 16 if (ratio, align) == (0.5, 8) else kept
        assert net[0].weight.shape[0] == expected, (ratio, align)
        pruner.restore()


def test_uniform_prune_meets_the_flops() -> None:
    net = Residual()
    pruner = FPGMFilterPruner(net, [1, 3, 16, 16])
    before = sum(qslim.graph.flops.count(pruner.graph).values())
    plan = pruner.uniform_prune(0.5)
    assert abs(plan.pruned_flops - 0.5) < 0.06
    report = pruner.report(runs=1)
    # The plan's FLOPs come from the groups, the report's from the cut network, traced again.
    assert report.before.flops == before
    assert report.pruned_flops == pytest.approx(plan.pruned_flops, abs=1e-9)
    assert report.after.parameters == sum(value.size for value in values(net).values())
    assert report.after.bytes < report.before.bytes
    assert report.speedup is not None
    table = str(report)
    assert report.to_dict()["after"]["parameters"] == report.after.parameters
    assert report._repr_html_().count("<tr>") == 5
    for word in ("parameters", "FLOPs", ".qslim", "ms a run"):
        assert word in table


def test_plan_tells_what_it_did() -> None:
    net = _pair()
    plan = L1NormFilterPruner(net, [1, 3, 8, 8]).prune_var(net[0].weight.name, 0, 0.5)
    assert isinstance(plan, PruningPlan)
    first = net[0].weight.name
    assert plan.contains(first)
    assert plan.contains(first, 0)
    assert not plan.contains(first, 1)
    text = str(plan)
    assert text.startswith("variable name\tpruned ratio\tpruned dims\n")
    assert f"{first}:\t0.5\t0" in text
    assert re.search(r"pruned FLOPs: 0\.5", text)


class _SmallestByMask(L1NormFilterPruner):
    """PaddleSlim's way to a criterion of one's own: whole filters by L2, groups where there are some."""

    def cal_mask(self, pruned_ratio: float, collection: Any) -> Any:
        value = collection.values[collection.master_name]
        assert collection.master == {"name": collection.master_name, "axis": 0}
        assert {detail.name for detail in collection.all_pruning_details()} <= {*collection.variables()}
        scores = np.sqrt(np.square(value).sum((1, 2, 3)))
        groups = 1
        for detail in collection.all_pruning_details():
            if detail.axis == 1 and (detail.op.attr("groups") or 1) > 1:
                assert detail.op.type() == "conv2d"
                groups = detail.op.attr("groups")
        scores = scores.reshape([groups, -1]).mean(1)
        mask = np.ones([groups, len(value) // groups] if groups > 1 else len(value), "int32")
        mask[scores.argsort()[: round(len(scores) * pruned_ratio)]] = 0
        return mask.reshape(-1)


def test_cal_mask_of_ones_own() -> None:
    net = nn.Sequential(nn.Conv2D(3, 8, 3), nn.Conv2D(8, 8, 3, groups=2), nn.Conv2D(8, 4, 3))
    stem = net[0].weight.name
    plan = _SmallestByMask(net, [1, 3, 12, 12]).prune_var(stem, 0, 0.5, apply=None)
    expected = L2NormFilterPruner(net, [1, 3, 12, 12]).prune_var(stem, 0, 0.5)
    assert plan is not None
    assert expected is not None
    assert {*plan.masks} == {*expected.masks}
    for name, masks in expected.masks.items():
        for mask, own in zip(masks, plan.masks[name]):
            np.testing.assert_array_equal(own.mask, mask.mask)
    assert net[1]._groups == 1


def test_cal_mask_is_checked_and_has_a_default() -> None:
    net = nn.Sequential(nn.Conv2D(3, 8, 3), nn.Conv2D(8, 4, 3))
    name = net[0].weight.name

    class Wrong(L1NormFilterPruner):
        mask: Any = np.ones(3)

        def cal_mask(self, pruned_ratio: float, collection: Any) -> Any:
            return self.mask if self.mask is not None else super().cal_mask(pruned_ratio, collection)

    pruner = Wrong(net, [1, 3, 8, 8])
    with pytest.raises(ValueError, match=r"cal_mask: expected a mask of 8 entries .* got 3 kept of 3"):
        pruner.prune_var(name, 0, 0.5)
    pruner.mask = np.zeros(8)
    with pytest.raises(ValueError, match="got 0 kept of 8"):
        pruner.prune_var(name, 0, 0.5)
    assert net[0].weight.shape[0] == 8
    pruner.mask = None
    plan = pruner.prune_var(name, 0, 0.5, apply=None)
    expected = L1NormFilterPruner(net, [1, 3, 8, 8]).prune_var(name, 0, 0.5, apply=None)
    assert plan is not None
    assert expected is not None
    np.testing.assert_array_equal(plan.masks[name][0].mask, expected.masks[name][0].mask)


def test_plans_of_ones_own() -> None:
    net = nn.Linear(4, 6)
    plan = PruningPlan()
    plan.add(net.weight.name, PruningMask(1, [1, 1, 0, 1, 0, 1], 0.3))
    plan.add(net.weight.name, PruningMask(1, [0, 1, 1, 1, 1, 1], 0.3))
    plan.add(net.bias.name, PruningMask(0, np.array([0, 1, 0, 1, 0, 1]), 0.3))
    assert [mask.mask for mask in plan.masks[net.weight.name]] == [[0, 1, 0, 1, 0, 1]]
    np.testing.assert_array_equal(plan.masks[net.bias.name][0].mask, [0, 1, 0, 1, 0, 1])
    plan.apply(net)
    assert net.weight.shape == [4, 3]
    assert net(paddle.ones([1, 4])).shape == [1, 3]
    with pytest.raises(ValueError, match="keeps nothing"):
        PruningMask(0, [0, 0], 0.5)
    with pytest.raises(ValueError, match="an axis, an int"):
        PruningMask("0", [1], 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratio": 1.0}, "would leave the layer empty"),
        ({"ratio": -0.1}, r"expected a ratio in \[0, 1\), got -0.1"),
        ({"ratio": float("nan")}, "expected a ratio"),
        ({"ratio": "half"}, "expected a ratio"),
        ({"name": "conv2d_9999.w_0"}, r"has no parameter 'conv2d_9999.w_0'; did you mean 'conv2d_\d+.w_0'"),
        ({"axis": 4}, "no axis 4"),
        ({"axis": [0, 1]}, "a list of one int"),
        ({"apply": "eager"}, "expected 'imperative', 'lazy' or None, got 'eager'"),
        ({"align": 0}, "align: expected a positive int"),
    ],
)
def test_errors_leave_the_network_untouched(change: dict[str, Any], message: str) -> None:
    net = Squeezed()
    before = values(net)
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16])
    arguments = {
        "ratio": 0.5,
        "name": net.squeeze.weight.name,
        "axis": 0,
        "apply": "imperative",
        "align": None,
    }
    arguments.update(change)
    ratios = {net.left.weight.name: 0.5, arguments["name"]: arguments["ratio"]}
    with pytest.raises(ValueError, match=message):
        pruner.prune_vars(ratios, arguments["axis"], arguments["apply"], arguments["align"])
    assert_same_values(values(net), before)
    assert pruner.plan is None


def test_constructor_errors() -> None:
    net = _pair()
    for arguments, message in (
        ((nn, [1, 3, 8, 8]), "expected a paddle.nn.Layer"),
        ((net, []), "expected the shape of the input"),
        ((net, [1, 3, 0, 8]), "positive extents"),
    ):
        with pytest.raises(ValueError, match=message):
            L1NormFilterPruner(*arguments)
    with pytest.raises(ValueError, match="expected 'conv' or 'fc', got 'both'"):
        L1NormFilterPruner(net, [1, 3, 8, 8], prune_type="both")


def test_a_network_that_was_changed_elsewhere_is_noticed() -> None:
    net = _pair()
    pruner = L1NormFilterPruner(net, [1, 3, 8, 8])
    L1NormFilterPruner(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: 0.5}, axis=0)
    with pytest.raises(ValueError, match="make a new pruner"):
        pruner.prune_vars({net[0].weight.name: 0.5}, axis=0)


def test_transposed_convolutions_are_skipped_as_in_paddleslim() -> None:
    net = UNet()
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16])
    assert pruner.skip_vars == [net.up.weight.name, net.blur.weight.name]
    assert pruner.prune_var(net.up.weight.name, 1, 0.5) is None
    pruner.prune_vars({net.up.weight.name: 0.5, net.down.weight.name: 0.5}, axis=0)
    assert net.up.weight.shape == [12, 8, 2, 2]
    assert net.down.weight.shape[0] == 4


def test_training_flags_and_gradients_survive_the_constructor() -> None:
    net = _pair()
    net.train()
    net[1].eval()
    net(images(size=8)).mean().backward()
    gradient = net[0].weight.grad.numpy()
    L1NormFilterPruner(net, [1, 3, 8, 8])
    assert (net.training, net[1].training) == (True, False)
    np.testing.assert_array_equal(net[0].weight.grad.numpy(), gradient)


def test_plans_come_back_in_their_order() -> None:
    net = Residual()
    before = values(net)
    pruner = L1NormFilterPruner(net, [1, 3, 16, 16])
    first = pruner.prune_vars({net.stem.weight.name: 0.5}, axis=0)
    second = pruner.prune_vars({net.stem.weight.name: 0.5}, axis=0, apply=None)
    second.apply(net)
    with pytest.raises(ValueError, match="a later plan cut it further"):
        first.restore(net)
    pruner.restore()
    assert_same_values(values(net), before)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_types_of_numbers(dtype: str) -> None:
    net = _pair()
    pruner = L1NormFilterPruner(net, [1, 3, 8, 8])
    net.to(dtype=dtype)
    dtypes = {parameter.name: parameter.dtype for parameter in net.parameters()}
    filters = net[0].weight.astype("float32").numpy()
    kept = np.sort(np.argsort(np.abs(filters).mean((1, 2, 3)), kind="stable")[4:])
    pruner.prune_vars({net[0].weight.name: 0.5}, axis=0)
    assert {parameter.name: parameter.dtype for parameter in net.parameters()} == dtypes
    np.testing.assert_array_equal(net[0].weight.astype("float32").numpy(), filters[kept])
    pruner.restore()
    np.testing.assert_array_equal(net[0].weight.astype("float32").numpy(), filters)


def test_static_mode_and_networks_that_draw_numbers() -> None:
    class Noisy(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2D(3, 8, 3), nn.Conv2D(8, 4, 3)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            return self.second(x + paddle.rand([1, 1, x.shape[2], x.shape[3]]))

    net = Noisy()
    paddle.enable_static()
    try:
        pruner = L1NormFilterPruner(net, [1, 3, 8, 8])
        pruner.prune_vars({net.first.weight.name: 0.5}, [0])
        assert not paddle.in_dynamic_mode()
    finally:
        paddle.disable_static()
    assert net.first.weight.shape[0] == 4
    assert pruner.plan is not None
    assert pruner.plan.contains(net.second.weight.name, [1])
    assert net(images(size=8)).shape == [2, 4, 4, 4]


@pytest.mark.parametrize("ratio", ["0.5", True, None, float("nan")])
def test_ratios_are_numbers(ratio: Any) -> None:
    net = _pair()
    with pytest.raises(ValueError, match=r"expected a ratio in \[0, 1\), got"):
        L1NormFilterPruner(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: ratio}, axis=0)
    L1NormFilterPruner(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: np.float32(0.5)}, axis=0)
    assert net[0].weight.shape[0] == 4


def test_an_axis_of_the_kernel_is_an_error() -> None:
    net = _pair()
    for axis in (2, 3):
        with pytest.raises(ValueError, match=rf"axis {axis} of .* is an extent of its kernel"):
            L1NormFilterPruner(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: 0.5}, axis=axis)


def test_nan_weights_and_scores_are_errors() -> None:
    class Unsure(L1NormFilterPruner):
        def saliency(self, var_name: str, axis: int) -> Any:
            return np.array([1, 2, np.nan, 4, 5, 6, 7, np.inf])

    net = _pair()
    with pytest.raises(ValueError, match="expected a number for each channel, got NaN"):
        Unsure(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: 0.5}, axis=0)
    weight = net[0].weight.numpy()
    weight[3] = np.nan
    net[0].weight.set_value(weight)
    with pytest.raises(ValueError, match="holds NaN or infinite values"):
        L1NormFilterPruner(net, [1, 3, 8, 8]).prune_vars({net[0].weight.name: 0.5}, axis=0)
    assert list(net[0].weight.shape) == [8, 3, 3, 3]
