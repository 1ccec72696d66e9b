# SPDX-License-Identifier: Apache-2.0
"""QAT's configuration: PaddleSlim's keys and defaults, and errors in place of silence."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import paddle
import pytest

import qslim
from qslim.quant import QATConfig

# paddleslim 2.6.0, dygraph/quant/qat.py.
PADDLESLIM_DEFAULTS = {
    "weight_preprocess_type": None,
    "activation_preprocess_type": None,
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "weight_bits": 8,
    "activation_bits": 8,
    "dtype": "int8",
    "window_size": 10000,
    "moving_rate": 0.9,
    "quantizable_layer_type": ("Conv2D", "Linear"),
    "fuse_conv_bn": False,
    "onnx_format": True,
}


def test_defaults_are_paddleslims() -> None:
    config = QATConfig.from_dict(None)
    assert {key: getattr(config, key) for key in PADDLESLIM_DEFAULTS} == PADDLESLIM_DEFAULTS


def test_every_key_is_taken() -> None:
    given = {**PADDLESLIM_DEFAULTS, "activation_preprocess_type": "PACT", "weight_bits": 4}
    config = qslim.QAT(config=given).config
    assert config.weight_bits == config["weight_bits"] == 4
    assert list(config) == [field.name for field in dataclasses.fields(config)]
    assert {**config}["moving_rate"] == 0.9
    assert qslim.QAT(config=config).config == config
    with pytest.raises(KeyError, match="bits"):
        config["bits"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"weight_bit": 8}, "unknown key 'weight_bit'; did you mean 'weight_bits'?"),
        ({"zzz": 1}, "unknown key 'zzz'; known are weight_preprocess_type"),
        ({"weight_bits": 1}, "weight_bits: expected an int from 2 to 16, got 1"),
        ({"activation_bits": True}, "activation_bits: expected an int from 2 to 16, got True"),
        ({"weight_quantize_type": "channel_abs_max"}, "did you mean 'channel_wise_abs_max'?"),
        ({"activation_quantize_type": "lsq"}, "did you mean 'lsq_act'?"),
        (
            {"weight_preprocess_type": "pact"},
            "weight_preprocess_type: expected one of None, 'PACT', got 'pact'",
        ),
        ({"moving_rate": 1}, "moving_rate: expected a float in [0, 1), got 1"),
        ({"window_size": 0}, "window_size: expected an int >= 1, got 0"),
        ({"dtype": "int4"}, "dtype: expected one of 'int8', got 'int4'"),
        ({"quantizable_layer_type": "Conv2D"}, "expected a list of layer types, got 'Conv2D'"),
        ({"quantizable_layer_type": ["Conv"]}, "expected one of 'Conv2D'"),
        ({"fuse_conv_bn": 1}, "fuse_conv_bn: expected True or False, got 1"),
        (["weight_bits"], "config: expected a dict of QAT options or None, got list"),
        (
            {"activation_preprocess_type": "PACT", "activation_quantize_type": "lsq_act"},
            "both learn the scale",
        ),
    ],
)
def test_mistakes_are_named(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        qslim.QAT(config=config)


@pytest.mark.parametrize("name", ["weight_preprocess", "act_preprocess", "weight_quantize", "act_quantize"])
def test_layers_are_given_as_classes(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a subclass of paddle.nn.Layer"):
        qslim.QAT(**{name: paddle.nn.ReLU()})
