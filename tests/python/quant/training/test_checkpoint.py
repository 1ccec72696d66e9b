# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of float networks, of quantized ones and of PaddleSlim's, into any of our networks."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_networks import images, small_network

import qslim
from qslim.quant import load_checkpoint

QUANTIZED = ["stem", "depthwise", "pointwise", "head"]
PACT = {"activation_preprocess_type": "PACT", "calibration_batches": 3}


def quantized(config: Any = None, seed: int = 0, batches: int = 0) -> Any:
    net = qslim.QAT(config).quantize(small_network(seed))
    net.train()
    for batch in range(batches):
        net(paddle.to_tensor(images(2, batch)))
    return net


def bits(net: Any) -> dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in net.state_dict().items()}


def output(net: Any) -> np.ndarray:
    net.eval()
    return net(paddle.to_tensor(images(2, seed=9))).numpy()


@pytest.mark.parametrize("config", [{}, PACT], ids=["plain", "pact"])
def test_a_float_checkpoint(config: Any, tmp_path: Path) -> None:
    trained = small_network(7)
    paddle.save(trained.state_dict(), str(tmp_path / "net.pdparams"))
    net = quantized(config)
    with pytest.warns(UserWarning, match="single-card"):
        wrapped = paddle.DataParallel(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_checkpoint(wrapped, tmp_path / "net") == QUANTIZED
    assert {key: value for key, value in bits(net).items() if "_fake_quant" not in key} == bits(trained)
    # The weights are quantized already.
    np.testing.assert_allclose(output(net), output(trained), rtol=0, atol=0.05)


def test_a_quantized_checkpoint() -> None:
    trained = quantized(batches=3, seed=7)
    net, plain = quantized(), small_network()
    assert load_checkpoint(net, trained.state_dict()) == []
    assert bits(net) == bits(trained)
    assert load_checkpoint(plain, {key: value.numpy() for key, value in trained.state_dict().items()}) == []
    np.testing.assert_array_equal(plain.stem.weight.numpy(), trained.stem.weight.numpy())


@pytest.mark.parametrize(
    ("of", "into"),
    [
        (PACT, {}),
        ({}, PACT),
        ({"activation_quantize_type": "range_abs_max", "window_size": 4}, {"activation_is_signed": True}),
        ({}, {"activation_quantize_type": "range_abs_max", "window_size": 4}),
        ({}, {"activation_quantize_type": "abs_max", "weight_quantize_type": "abs_max"}),
        ({"activation_quantize_type": "lsqplus_act"}, PACT),
        ({}, {"activation_quantize_type": "lsqplus_act"}),
    ],
)
def test_a_checkpoint_of_another_configuration(of: Any, into: Any) -> None:
    trained, net = quantized(of, seed=7, batches=4), quantized(into)
    assert load_checkpoint(net, trained.state_dict()) == []
    for name in QUANTIZED:
        theirs, ours = (getattr(each, name)._fake_quant_input.quant_params() for each in (trained, net))
        reached = (np.array([each.qmin, each.qmax]) - each.zero_point for each in (theirs, ours))
        for their_end, our_end in zip(*reached):
            # As far on either side, but for the step that symmetric grids have less, or the sign they add.
            end = our_end * ours.scale
            assert abs(end) >= 0.98 * abs(their_end * theirs.scale), name
    assert np.abs(output(net) - output(trained)).max() < 0.1 * np.abs(output(trained)).max()
    # and trains on from there
    before = net.stem._fake_quant_input.threshold
    net.train()
    net(paddle.to_tensor(images(2, 0)))
    assert abs(net.stem._fake_quant_input.threshold / before - 1) < 0.3


def paddleslims(net: Any, alpha: float) -> dict[str, Any]:
    """The state of `net` under PaddleSlim 2.6's keys, with its PACT."""
    state: dict[str, Any] = {}
    for key, value in net.state_dict().items():
        layer, _, rest = key.partition(".")
        if key.rpartition(".")[2] in ("_batches", "_signed"):
            continue
        state[f"{layer}._layer.{rest}" if layer in QUANTIZED else key] = value
    for layer in QUANTIZED:
        state[f"{layer}._layer._act_preprocess.alpha"] = paddle.to_tensor([alpha])
        for name in ("_scale", "_state", "_accum"):
            state[f"{layer}._ma_output_scale.{name}"] = paddle.zeros([1])
    return state


@pytest.mark.parametrize("into", [{}, PACT], ids=["plain", "pact"])
def test_paddleslims_checkpoint(into: Any, tmp_path: Path) -> None:
    trained, net = quantized(seed=7, batches=3), quantized(into)
    paddle.save(paddleslims(trained, alpha=1.5), str(tmp_path / "slim.pdparams"))
    assert load_checkpoint(net, str(tmp_path / "slim.pdparams")) == []
    for name in QUANTIZED:
        theirs, ours = (getattr(each, name)._fake_quant_input for each in (trained, net))
        assert ours.threshold == min(theirs.threshold, 1.5)
        assert ours.is_signed
        assert ours.batches >= 1
        np.testing.assert_array_equal(
            getattr(net, name).weight.numpy(), getattr(trained, name).weight.numpy()
        )
    if not into:
        np.testing.assert_array_equal(
            net.head._fake_quant_input._accum, trained.head._fake_quant_input._accum
        )


def test_paddleslims_untrained_thresholds_are_none() -> None:
    assert load_checkpoint(quantized(), paddleslims(quantized(seed=7), alpha=100.0)) == QUANTIZED


def test_another_networks_checkpoint_changes_nothing(tmp_path: Path) -> None:
    net = quantized(batches=1)
    before = bits(net)
    state = small_network(7).state_dict()
    state["stem.weights"] = state.pop("stem.weight")
    state["head.bias"] = paddle.zeros([7])
    for key in ("up.weight", "up.bias", "stem_norm.weight"):
        del state[key]
    with pytest.raises(ValueError, match="another network, nothing was loaded") as seen:
        load_checkpoint(net, state)
    assert "4 of 17 tensors are missing (stem.weight, stem_norm.weight, up.weight, ...)" in str(seen.value)
    assert "1 are not the network's (stem.weights, nearest is stem.weight)" in str(seen.value)
    assert "1 have another shape (head.bias: (7,) for (5,))" in str(seen.value)
    assert bits(net) == before
    (tmp_path / "garbage").write_bytes(b"garbage")
    for wrong, message in (
        (tmp_path / "nowhere", "there is no file"),
        (tmp_path / "garbage", "no file of paddle.save"),
        ({}, "holds no tensors"),
        (3, "expected a path or a dict"),
    ):
        with pytest.raises(ValueError, match=message):
            load_checkpoint(net, wrong)
    assert bits(net) == before


def test_set_state_dict_says_in_one_sentence_what_a_float_state_lacks(caplog: Any) -> None:
    net, state = quantized(), small_network(7).state_dict()
    with caplog.at_level(logging.INFO, "qslim"), warnings.catch_warnings():
        warnings.simplefilter("error")
        missing, unexpected = net.set_state_dict(state)
    assert all("_fake_quant" in key for key in missing)
    assert unexpected == []
    (sentence,) = [each.getMessage() for each in caplog.records if "state_dict" in each.getMessage()]
    assert "the quantizers of 4 layers" in sentence
    np.testing.assert_array_equal(net.stem.weight.numpy(), state["stem.weight"].numpy())


def test_set_state_dict_still_warns_of_what_is_wrong() -> None:
    net, state = quantized(), quantized(seed=7).state_dict()
    del state["stem.weight"], state["head._fake_quant_input._scale"]
    with pytest.warns(UserWarning, match="Skip loading for") as seen:
        net.set_dict(state)
    assert sorted(str(each.message).split()[3] for each in seen) == [
        "head._fake_quant_input._scale.",
        "stem.weight.",
    ]


def test_a_copy_loads_into_itself() -> None:
    net = quantized()
    other = copy.deepcopy(net)
    before = bits(net)
    other.set_state_dict(quantized(seed=7).state_dict())
    assert bits(net) == before != bits(other)


CONFIGS: dict[str, Any] = {
    "plain": {},
    "range": {"activation_quantize_type": "range_abs_max", "weight_quantize_type": "range_abs_max"},
    "pact": {**PACT, "weight_preprocess_type": "PACT"},
    "lsqplus": {"activation_quantize_type": "lsqplus_act", "weight_quantize_type": "lsq_weight"},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_averaged_weights_of_an_ema_load(config: Any) -> None:
    net = quantized(config)
    optimizer = paddle.optimizer.Momentum(0.01, parameters=net.parameters())
    assert {str(value.dtype) for value in net.state_dict().values()} == {"paddle.float32"}
    average = {key: paddle.zeros_like(value) for key, value in net.state_dict().items()}
    for batch in range(8):
        net(paddle.to_tensor(images(2, batch))).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        average = {key: 0.9 * average[key] + 0.1 * value for key, value in net.state_dict().items()}
    trained = output(net)
    net.set_state_dict({key: value / (1 - 0.9**8) for key, value in average.items()})
    averaged = output(net)
    assert all(layer.batches > 1 for _, layer in net.named_sublayers() if hasattr(layer, "batches"))
    assert np.abs(averaged - trained).max() < 0.5 * np.abs(trained).max()
    assert np.abs(averaged).max() > 0


def test_older_checkpoints_count_in_integers() -> None:
    state = quantized(batches=3).state_dict()
    older = {
        key: value.astype("int64") if key.endswith("_batches") else value for key, value in state.items()
    }
    net = quantized(seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.set_state_dict(older)
    assert {key: value.numpy().tobytes() for key, value in state.items()} == bits(net)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_quantizers_state_stays_float32_when_the_network_changes_its_dtype(dtype: str) -> None:
    net = quantized(PACT, batches=4)
    before = {key: value.numpy() for key, value in net.state_dict().items() if "_fake_quant" in key}
    net.to(dtype=dtype)
    assert str(net.head.weight.dtype) == f"paddle.{dtype}"
    after = {key: value.numpy() for key, value in net.state_dict().items() if "_fake_quant" in key}
    assert {key: value.tobytes() for key, value in before.items()} == {
        key: value.tobytes() for key, value in after.items()
    }
