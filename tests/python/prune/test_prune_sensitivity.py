# SPDX-License-Identifier: Apache-2.0
"""Sensitivities: measured, kept through a kill, turned into ratios that cut the FLOPs asked for."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("paddle")

import paddle
from prunable_networks import Residual, assert_same_values, images, unlike_at_birth, values

import qslim as slim
from qslim.prune import (
    L1NormFilterPruner,
    get_ratios_by_loss,
    load_sensitivities,
    merge_sensitive,
)
from qslim.prune.sensitivity import save_sensitivities


def _made() -> tuple[Any, Any, Any]:
    """A network, its pruner, and a score that falls as its result moves away from the uncut one's."""
    paddle.seed(5)
    net = unlike_at_birth(Residual())
    x = images(4)
    whole = net(x).numpy()
    return (
        net,
        L1NormFilterPruner(net, [1, 3, 16, 16]),
        lambda: float(np.exp(-np.abs(net(x).numpy() - whole).mean())),
    )


def test_sensitivities_resume_after_a_kill(tmp_path: Path) -> None:
    net, pruner, score = _made()
    before, file = values(net), str(tmp_path / "sen.pickle")
    calls = 0

    def interrupted() -> float:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return score()

    with pytest.raises(KeyboardInterrupt):
        pruner.sensitive(interrupted, sen_file=file)
    assert_same_values(values(net), before)
    assert os.listdir(tmp_path) == ["sen.pickle"]
    kept = load_sensitivities(file)
    assert sum(map(len, kept.values())) == 4

    calls = -1000
    found = pruner.sensitive(interrupted, sen_file=file)
    masters = [net.stem.weight.name, net.expand.weight.name]
    assert sorted(found) == sorted(masters)
    assert all(list(losses) == [round(0.1 * i, 2) for i in range(1, 10)] for losses in found.values())
    assert calls == -1000 + 1 + 18 - 4  # the score of the whole network, and the points that were missing
    assert load_sensitivities(file) == found == pruner.sensitive()
    assert_same_values(values(net), before)
    again = L1NormFilterPruner(net, [1, 3, 16, 16], sen_file=file)
    assert again.sensitive() == found
    assert again.sensitive(sen_file=file) == found
    base = score()
    pruner.prune_vars({masters[0]: 0.3}, axis=0, apply="lazy")
    assert found[masters[0]][0.3] == pytest.approx((base - score()) / (base + 1e-3))


def test_targets_and_skips_do_not_leak() -> None:
    net, pruner, score = _made()
    stem, expand = net.stem.weight.name, net.expand.weight.name
    assert list(pruner.sensitive(score, skip_vars=[stem])) == [expand]
    assert sorted(pruner.sensitive(score, target_vars=[stem])) == sorted([stem, expand])
    with pytest.raises(ValueError, match="did you mean"):
        pruner.sensitive(score, target_vars=["conv2d_12345.w_0"])


@pytest.mark.parametrize("align", [None, 4])
def test_sensitive_prune(align: Any) -> None:
    net, pruner, score = _made()
    with pytest.raises(ValueError, match=r"call sensitive\(eval_func\) first"):
        pruner.get_ratios_by_sensitivity(0.3)
    pruner.sensitive(score)
    before = values(net)
    ratios, flops = pruner.get_ratios_by_sensitivity(0.4, align=align)
    assert_same_values(values(net), before)
    assert net.expand.weight.name in ratios
    plan = pruner.sensitive_prune(0.4, align=align)
    assert plan.pruned_flops == pytest.approx(flops)
    if align is None:
        assert abs(plan.pruned_flops - 0.4) < 0.05  # a filter of `expand` is 0.045 of the FLOPs
    else:
        assert net.stem.weight.shape[0] % 4 == net.expand.weight.shape[0] % 4 == 0
    assert net(images()).shape == [2, 5]
    skipped = pruner.sensitive_prune(0.2, skip_vars=[net.stem.weight.name])  # the last cut is taken back
    assert net.stem.weight.shape[0] == 8
    assert skipped.contains(net.expand.weight.name)
    for wrong in (0, 1, -0.5, "half"):
        with pytest.raises(ValueError, match=r"in \(0, 1\)"):
            pruner.sensitive_prune(wrong)


def test_ratios_shrink_together_where_pruning_costs_nothing() -> None:
    """Every ratio qualifies at every loss: 0.9 everywhere would be far more than was asked for."""
    net, pruner, _ = _made()
    losses = pruner.sensitive(lambda: 1.0)
    assert all(loss == 0 for by_ratio in losses.values() for loss in by_ratio.values())
    ratios, flops = pruner.get_ratios_by_sensitivity(0.4)
    assert abs(flops - 0.4) < 0.05
    assert len(set(ratios.values())) == 1
    assert 0 < ratios[net.stem.weight.name] < 0.5


@pytest.mark.parametrize("align", [None, 4])
def test_the_least_step_is_taken_rather_than_none(align: Any) -> None:
    """One filter, or a multiple of four: more than was asked for, but nothing is no answer."""
    _, pruner, _ = _made()
    pruner.sensitive(lambda: 1.0)
    plan = pruner.sensitive_prune(0.01, align=align)
    assert plan.pruned_flops > 0.02
    assert len(plan.masks) > 1


def test_status_keeps_the_files_of_both(tmp_path: Path) -> None:
    losses = {"conv2d_0.w_0": {0.1: 0.02, 0.5: 0.3}}
    status = slim.dygraph.Status()
    status.sensitivies = losses
    status.save(str(tmp_path / "status"))
    assert load_sensitivities(str(tmp_path / "status")) == losses
    save_sensitivities(losses, str(tmp_path / "file"))
    again = slim.dygraph.Status(str(tmp_path / "file"))
    assert again.sensitivies == losses
    with pytest.raises(ValueError, match="does not exist"):
        again.load(str(tmp_path / "nowhere"))


def test_ratios_by_loss_and_merging(tmp_path: Path) -> None:
    one = {"a": {0.1: 0.0, 0.2: 0.1, 0.3: 0.05, 0.4: 0.5}, "b": {0.1: 0.2}}
    two = {"a": {0.4: 0.4}, "c": {0.1: 0.0}}
    file = str(tmp_path / "two")
    save_sensitivities(two, file)
    merged = merge_sensitive([one, load_sensitivities(file)])
    assert merged == {"a": {**one["a"], 0.4: 0.4}, "b": {0.1: 0.2}, "c": {0.1: 0.0}}
    assert merge_sensitive([file, file]) == two
    ratios = get_ratios_by_loss(merged, 0.1)
    # The largest point that qualifies is 0.3; from there a straight line to (0.4, 0.4).
    assert ratios["a"] == pytest.approx(0.3 + 0.05 / 0.35 * 0.1)
    assert ratios["b"] == 0
    assert ratios["c"] == 0.1
    with pytest.raises(ValueError, match="at least one"):
        merge_sensitive([])


class _Hostile:
    def __reduce__(self) -> Any:
        return (os.system, ("touch hacked",))


def test_files_are_read_with_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in (pickle.dumps(_Hostile()), b"\x80\x04", b"", pickle.dumps({"a": 3})):
        (tmp_path / "sen").write_bytes(content)
        with pytest.raises(ValueError, match="is no file of sensitivities"):
            load_sensitivities("sen")
    assert not (tmp_path / "hacked").exists()
    assert load_sensitivities("missing") == {}
    # NumPy's numbers, as PaddleSlim pickles them.
    (tmp_path / "sen").write_bytes(pickle.dumps({"a": {np.float64(0.1): np.float32(0.5)}}))
    assert load_sensitivities("sen") == {"a": {0.1: 0.5}}
    with pytest.raises(ValueError, match="belongs to another network"):
        L1NormFilterPruner(Residual(), [1, 3, 16, 16], sen_file="sen")
