# SPDX-License-Identifier: Apache-2.0
"""Pruning layers over one and three axes, embeddings, recurrent ones, and layers with normed weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

pytest.importorskip("paddle")

import paddle
from paddle import nn
from prunable_networks import Shuffled, assert_same_values, images, unlike_at_birth, values

import qslim
from qslim.dygraph import BNScaleFilterPruner, L1NormFilterPruner
from qslim.logger import logger

weight_norm, spectral_norm = nn.utils.weight_norm, nn.utils.spectral_norm


class Resampled(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1D(3, 8, 3), nn.Conv1D(8, 4, 3)

    def forward(self, x: Any) -> Any:
        x = nn.functional.interpolate(self.first(x), size=[12], mode="linear", data_format="NCW")
        return self.second(x)


def middle(norm: Callable[..., Any], **options: Any) -> Any:
    return nn.Sequential(
        nn.Conv2D(3, 8, 3), nn.ReLU(), norm(nn.Conv2D(8, 8, 3), **options), nn.ReLU(), nn.Conv2D(8, 4, 1)
    )


# The network, its input, the axis of the filters, and the weights that must have lost some.
NETWORKS: dict[str, tuple[Callable[[], Any], Any, int, list[str]]] = {
    "conv1d": (
        lambda: nn.Sequential(
            nn.Conv1D(3, 8, 3), nn.BatchNorm1D(8), nn.ReLU(), nn.Conv1D(8, 6, 3), nn.ReLU(),
            nn.Conv1D(6, 2, 1),
        ),
        [2, 3, 20], 0, ["0.weight", "3.weight"],
    ),
    "conv1d_resampled": (Resampled, [2, 3, 20], 0, ["first.weight"]),
    "conv3d": (
        lambda: nn.Sequential(
            nn.Conv3D(3, 8, 3), nn.BatchNorm3D(8), nn.ReLU(), nn.MaxPool3D(2), nn.Conv3D(8, 6, 2),
            nn.AdaptiveAvgPool3D(1), nn.Flatten(), nn.Linear(6, 3),
        ),
        [2, 3, 12, 12, 12], 0, ["0.weight", "4.weight"],
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(30, 16), nn.Linear(16, 8), nn.Linear(8, 3)),
        [2, 5], 1, ["0.weight", "1.weight"],
    ),
    "weight_norm": (lambda: middle(weight_norm), [2, 3, 12, 12], 0, ["0.weight", "2.weight_v"]),
    "weight_norm_of_inputs": (
        lambda: middle(weight_norm, dim=1), [2, 3, 12, 12], 0, ["0.weight", "2.weight_v"],
    ),
    "weight_norm_of_the_whole": (
        lambda: middle(weight_norm, dim=None), [2, 3, 12, 12], 0, ["0.weight", "2.weight_v"],
    ),
    "weight_norm_of_linear": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), weight_norm(nn.Linear(8, 8)), nn.Linear(8, 3)),
        [4, 6], 1, ["0.weight", "2.weight_v"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_any_rank_start_groups(name: str, tmp_path: Path) -> None:
    build, shape, axis, cut = NETWORKS[name]
    net = unlike_at_birth(build())
    before, shapes = values(net), {key: list(p.shape) for key, p in net.named_parameters()}
    pruner = L1NormFilterPruner(
        net, shape, input_dtype="int64" if name == "embedding" else "float32",
        prune_type="conv" if axis == 0 else "fc",
    )  # fmt: skip
    weights = dict(net.named_parameters())
    ratios = {weights[key].name: 0.5 for key in cut}
    x = pruner._examples
    pruner.prune_vars(ratios, axis, apply="lazy")
    masked = net(*x).numpy()
    pruner.restore()
    assert_same_values(values(net), before)
    plan = pruner.prune_vars(ratios, axis)
    for key in cut:
        assert weights[key].shape[axis] == shapes[key][axis] // 2
    assert plan.pruned_flops is not None
    assert plan.pruned_flops > 0.3
    np.testing.assert_allclose(net(*x).numpy(), masked, rtol=0, atol=1e-5)
    qslim.prune.save(net, tmp_path / "pruned.pdparams")
    again = qslim.prune.load(tmp_path / "pruned.pdparams", build())
    again.eval()
    np.testing.assert_array_equal(again(*x).numpy(), net(*x).numpy())
    pruner.restore()
    assert_same_values(values(net), before)


def test_weight_norms_other_weights_keep_their_values() -> None:
    net = middle(weight_norm)
    before = net[2].weight.numpy()
    pruner = L1NormFilterPruner(net, [1, 3, 12, 12])
    plan = pruner.prune_vars({net[0].weight.name: 0.5, net[2].weight.name: 0.25}, axis=0)  # the computed one
    inputs = plan.masks[net[0].weight.name][0].mask.astype(bool)
    filters = plan.masks[net[2].weight_g.name][0].mask.astype(bool)
    net(paddle.randn([1, 3, 12, 12]))
    np.testing.assert_allclose(net[2].weight.numpy(), before[filters][:, inputs], rtol=1e-5)


def test_uniform_prune_and_sensitive_see_conv1d() -> None:
    net = NETWORKS["conv1d"][0]()
    net.eval()
    pruner = L1NormFilterPruner(net, [1, 3, 20])
    assert set(pruner.sensitive(lambda: 1.0)) == {net[0].weight.name, net[3].weight.name}
    plan = pruner.uniform_prune(0.5)
    assert plan.pruned_flops == pytest.approx(0.5, abs=0.15)


def test_batch_norm_scale_behind_conv1d() -> None:
    net = unlike_at_birth(NETWORKS["conv1d"][0]())
    scales = np.abs(net[1].weight.numpy())
    BNScaleFilterPruner(net, [1, 3, 20]).prune_vars({net[0].weight.name: 0.5}, axis=0)
    np.testing.assert_array_equal(np.abs(net[1].weight.numpy()), scales[np.sort(np.argsort(scales)[4:])])


class Recurrent(nn.Layer):
    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.conv, self.rnn, self.head = nn.Conv2D(3, 24, 1), cell, nn.Linear(24, 9)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(nn.functional.relu(self.conv(x)).squeeze(2).transpose([0, 2, 1]))[0])


class LastState(Recurrent):
    """Reads the output and the last state."""

    def forward(self, x: Any) -> Any:
        y, state = self.rnn(self.conv(x).squeeze(2).transpose([0, 2, 1]))
        state = state[0] if isinstance(state, tuple) else state
        return self.head(paddle.concat([y[:, -1], state[-1]], axis=-1))


CELLS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: nn.LSTM(24, 12, 2, direction="bidirect"),
    "gru": lambda: nn.GRU(24, 24),
    "gru_of_three": lambda: nn.GRU(24, 24, 3),
    "simple_rnn": lambda: nn.SimpleRNN(24, 24, activation="relu"),
}


@pytest.mark.parametrize("kind", [Recurrent, LastState])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_recurrent_layers_lose_hidden_units_in_every_gate(cell: Any, kind: Any, tmp_path: Path) -> None:
    def build() -> Any:
        rnn = cell()
        net = kind(rnn)
        if kind is LastState:
            net.head = nn.Linear(24 + rnn.hidden_size, 9)
        return net

    net = build()
    hidden = net.rnn.hidden_size
    optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
    x = paddle.randn([2, 3, 1, 20])
    net(x).square().mean().backward()
    optimizer.step()
    optimizer.clear_grad()
    net.eval()
    before = values(net)
    pruner = L1NormFilterPruner(net, [2, 3, 1, 20], opt=optimizer)
    ratios = {net.rnn.weight_ih_l0.name: 0.5, net.conv.weight.name: 0.25}
    pruner.prune_vars(ratios, axis=0, apply="lazy")
    masked = net(x).numpy()
    pruner.restore()
    assert_same_values(values(net), before)
    pruner.prune_vars(ratios, axis=0)
    np.testing.assert_allclose(net(x).numpy(), masked, rtol=0, atol=1e-5)
    assert (net.rnn.hidden_size, net.rnn.input_size) == (hidden // 2, 18)
    for name, parameter in net.rnn.named_parameters():
        if "weight_hh" in name:
            assert parameter.shape[1] == hidden // 2
            assert parameter.shape[0] % (hidden // 2) == 0
    qslim.prune.save(net, tmp_path / "net.pdparams")
    again = qslim.prune.load(tmp_path / "net.pdparams", build())
    again.eval()
    np.testing.assert_array_equal(again(x).numpy(), net(x).numpy())
    net.train()
    for _ in range(2):
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()
    pruner.restore()
    assert net.rnn.hidden_size == hidden
    assert net(x).shape == [2, 20, 9] if kind is Recurrent else [2, 9]


def test_a_recurrent_layer_with_a_state_that_is_given_stays_whole(caplog: Any) -> None:
    class Given(Recurrent):
        def __init__(self) -> None:
            super().__init__(nn.GRU(24, 24))
            self.state = self.create_parameter([1, 1, 24])

        def forward(self, x: Any) -> Any:
            x = self.conv(x).squeeze(2).transpose([0, 2, 1])
            return self.head(self.rnn(x, self.state.expand([1, x.shape[0], 24]))[0])

    net = Given()
    net.eval()
    before = values(net)
    pruner = L1NormFilterPruner(net, [2, 3, 1, 20])
    logger.addHandler(caplog.handler)
    try:
        pruner.prune_vars({p.name: 0.5 for p in net.rnn.parameters()}, axis=0)
    finally:
        logger.removeHandler(caplog.handler)
    assert "starts from a state that is given" in caplog.text
    assert_same_values(values(net), before)


def test_recurrent_layers_of_a_program_stay_whole(run_python: Any) -> None:
    run_python(
        """
        import numpy as np, paddle, qslim
        paddle.enable_static()
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(main, startup):
            x = paddle.static.data("x", [2, 20, 24])
            rnn = paddle.nn.LSTM(24, 12)
            rnn.eval()
            y = rnn(x)[0]
        paddle.static.Executor().run(startup)
        names = [p.name for p in rnn.parameters()]
        scope = paddle.static.global_scope()
        shapes = [np.array(scope.find_var(n).get_tensor()).shape for n in names]
        qslim.prune.Pruner().prune(main, scope, names, [0.5] * len(names), paddle.CPUPlace())
        assert [np.array(scope.find_var(n).get_tensor()).shape for n in names] == shapes
        """
    )


@pytest.mark.parametrize("legacy_ir", [False, True])
def test_conv1d_of_a_program_is_cut_and_trains_on(legacy_ir: bool, run_python: Any) -> None:
    run_python(
        """
        import numpy as np, paddle, qslim
        from paddle import nn
        paddle.enable_static()
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(main, startup):
            x = paddle.static.data("x", [None, 3, 20])
            net = nn.Sequential(nn.Conv1D(3, 8, 3), nn.BatchNorm1D(8), nn.ReLU(), nn.Conv1D(8, 4, 3))
            loss = net(x).square().mean()
            paddle.optimizer.Momentum(0.01, parameters=net.parameters()).minimize(loss)
        executor, scope = paddle.static.Executor(), paddle.static.global_scope()
        executor.run(startup)
        feed = {"x": np.random.default_rng(0).standard_normal((4, 3, 20)).astype("float32")}
        executor.run(main, feed=feed)
        first, second = net[0].weight.name, net[3].weight.name
        pruned, _, _ = qslim.prune.Pruner().prune(main, scope, [first], [0.5], paddle.CPUPlace())
        before = np.array(scope.find_var(first).get_tensor())
        executor.run(pruned, feed=feed)
        after = np.array(scope.find_var(first).get_tensor())
        assert after.shape == (4, 3, 3) and not np.array_equal(before, after)
        assert np.array(scope.find_var(second).get_tensor()).shape == (4, 4, 3)
        """,
        legacy_ir=legacy_ir,
    )


def test_spectral_norm_is_saved_and_named_as_the_reason(tmp_path: Path) -> None:
    net = middle(spectral_norm)
    net.eval()
    pruner = L1NormFilterPruner(net, [1, 3, 12, 12])
    assert "spectral_norm" in pruner.groups[0].reason
    x = paddle.randn([1, 3, 12, 12])
    qslim.prune.save(net, tmp_path / "net.pdparams")
    again = qslim.prune.load(tmp_path / "net.pdparams", middle(spectral_norm))
    again.eval()
    np.testing.assert_array_equal(again(x).numpy(), net(x).numpy())


def test_a_network_without_anything_to_prune_says_so() -> None:
    pruner = L1NormFilterPruner(nn.Sequential(nn.Conv2D(3, 4, 1)), [1, 3, 4, 4])
    for call in (lambda: pruner.uniform_prune(0.5), lambda: pruner.sensitive(lambda: 1.0)):
        with pytest.raises(ValueError, match=r"no group of prune_type 'conv' can be pruned .*is an output"):
            call()


class Shared(nn.Layer):
    """A parameter of two layers, a layer that is called twice and has two names, a buffer, containers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2D(3, 8, 3, padding=1), nn.Conv2D(8, 4, 1)
        self.one, self.other = nn.Conv2D(8, 8, 3, padding=1), nn.Conv2D(8, 8, 3, padding=1)
        self.other.weight = self.one.weight
        self.twice = nn.Conv2D(8, 8, 1)
        self.alias = self.twice
        self.blocks = nn.LayerDict({"x": nn.Conv2D(8, 8, 1), "y": nn.LayerList([nn.Conv2D(8, 8, 1)])})
        self.register_buffer("offset", paddle.randn([1, 8, 1, 1]))

    def forward(self, x: Any) -> Any:
        relu = nn.functional.relu
        x = relu(self.other(relu(self.one(relu(self.stem(x)))))) + self.offset
        x = self.alias(relu(self.twice(x)))
        return self.head(self.blocks["y"][0](relu(self.blocks["x"](x))))


@pytest.mark.parametrize("decorate", [None, False, True], ids=["dynamic", "captured", "full_graph"])
def test_shared_parameters_buffers_and_containers(decorate: Any, tmp_path: Path) -> None:
    net = Shared()
    net.eval()
    x = paddle.randn([2, 3, 8, 8])
    if decorate is not None:
        net = paddle.jit.to_static(net, full_graph=decorate)
        net(x)
    pruner = L1NormFilterPruner(net, [2, 3, 8, 8])
    ratios = {layer.weight.name: 0.5 for layer in net.sublayers()[:6] if isinstance(layer, nn.Conv2D)}
    pruner.prune_vars(ratios, axis=0, apply="lazy")
    masked = net(x).numpy()
    pruner.restore()
    pruner.prune_vars(ratios, axis=0)
    np.testing.assert_allclose(net(x).numpy(), masked, rtol=0, atol=1e-5)
    assert list(net.offset.shape) == [1, 4, 1, 1]
    qslim.prune.save(net, tmp_path / "net.pdparams")
    again = qslim.prune.load(tmp_path / "net.pdparams", Shared())
    again.eval()
    np.testing.assert_allclose(again(x).numpy(), masked, rtol=0, atol=1e-5)
    assert again.other.weight is again.one.weight


@pytest.mark.parametrize("full_graph", [False, True])
def test_programs_of_the_uncut_network_are_forgotten(full_graph: bool) -> None:
    net = unlike_at_birth(Shuffled())  # whose programs have its extents as numbers
    x = images()
    net = paddle.jit.to_static(net, full_graph=full_graph)
    net(x)
    pruner = L1NormFilterPruner(net, [2, 3, 16, 16])
    pruner.prune_vars({net.stem.weight.name: 0.5}, axis=0)
    traced = net(x).numpy()
    net.forward.rollback()
    np.testing.assert_allclose(net(x).numpy(), traced, rtol=0, atol=1e-5)


def test_a_quantized_network_is_not_pruned() -> None:
    net = qslim.QAT().quantize(NETWORKS["weight_norm"][0]())
    with pytest.raises(ValueError, match="prune it before you quantize it"):
        L1NormFilterPruner(net, [1, 3, 12, 12])
