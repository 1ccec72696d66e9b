# SPDX-License-Identifier: Apache-2.0
"""slim.models in dygraph and as static programs of either IR: shapes, names, sizes, and that they learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")

import qslim as slim  # noqa: E402


def trainable(layer: Any) -> int:
    return sum(int(np.prod(p.shape)) for p in layer.parameters() if not p.stop_gradient)


def names(layer: Any) -> list[str]:
    return [value.name for value in layer.state_dict().values()]


# Counted by hand. A convolution with batch normalization has out * (in / groups) * k * k + 2 * out weights.
_MOBILENET_BLOCKS = [(32, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)] + [(512, 512)] * 5
_MOBILENET_BLOCKS += [(512, 1024), (1024, 1024)]


def mobilenet_size(in_channels: int, class_dim: int) -> int:
    conv1 = 32 * in_channels * 9 + 64
    blocks = sum(9 * cin + 2 * cin + cin * cout + 2 * cout for cin, cout in _MOBILENET_BLOCKS)
    return conv1 + blocks + 1024 * class_dim + class_dim


def test_mobilenet_on_imagenet_has_the_published_size() -> None:
    # 4.2 million in Howard et al., table 8; exactly, by the sum above:
    assert mobilenet_size(3, 1000) == 4_231_976
    assert trainable(slim.models.MobileNet().layer()) == 4_231_976


@pytest.mark.parametrize(
    ("model", "class_dim", "size"),
    [
        # torchvision's counts for the same networks: 11.69, 21.80, 25.56 million. Its 18 and 34 have no
        # convolution on the first shortcut; PaddleSlim's, and ours, do: 64 * 64 + 2 * 64 weights more.
        ("ResNet18", 1000, 11_689_512 + 4_224),
        ("ResNet34", 1000, 21_797_672 + 4_224),
        ("ResNet50", 1000, 25_557_032),
        ("ResNet101", 1000, 44_549_160),
        ("ResNet152", 1000, 60_192_808),
        # torchvision's 3,504,872, whose first unit does not expand: 32 * 32 + 2 * 32 weights more here.
        ("MobileNetV2", 1000, 3_504_872 + 1_088),
        # timm's count for efficientnet_lite0.
        ("EfficientNetLite0", 1000, 4_652_008),
    ],
)
def test_sizes(model: str, class_dim: int, size: int) -> None:
    assert trainable(getattr(slim.models, model)().layer(class_dim)) == size


def test_pplcnet_has_the_published_size() -> None:
    # 3.0 million in Cui et al., table 5; exactly: convolutions with batch normalization, two gates, the end.
    outs = [32, 64, 64, 128, 128] + [256] * 6 + [512] * 2
    ins = [16, *outs[:-1]]
    kernels = [3] * 6 + [5] * 7
    blocks = sum(c * k * k + 2 * c + c * out + 2 * out for c, out, k in zip(ins, outs, kernels))
    gates = sum(2 * c * (c // 4) + c // 4 + c for c in (256, 512))
    size = 16 * 27 + 32 + blocks + gates + 512 * 1280 + 1280 * 1000 + 1000
    assert trainable(slim.models.PPLCNet_x1_0().layer()) == size
    assert round(size / 1e6, 1) == 3.0


def test_mobilenet_takes_the_channels_of_its_input() -> None:
    assert trainable(slim.models.MobileNet().layer(10, in_channels=1)) == mobilenet_size(1, 10)


@pytest.mark.parametrize("model", ["MobileNet", "MobileNetV2", "MobileNetV2_x0_25", "ResNet18", "ResNet50"])
def test_layer_returns_probabilities(model: str) -> None:
    layer = getattr(slim.models, model)().layer(7)
    layer.eval()
    probabilities = layer(paddle.randn([2, 3, 40, 32])).numpy()
    assert probabilities.shape == (2, 7)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-6)


def test_mnist_extents_halve_down_to_one() -> None:
    layer = slim.models.MobileNet().layer(10, in_channels=1)
    extents = []
    for block in [layer.conv1, *layer.blocks]:
        block.register_forward_post_hook(lambda _, __, y: extents.append(y.shape[-1]))
    layer.eval()
    layer(paddle.zeros([1, 1, 28, 28]))
    assert extents == [14, 14, 7, 7, 4, 4, 2, 2, 2, 2, 2, 2, 1, 1]


def test_scale_multiplies_channels() -> None:
    layer = slim.models.MobileNet().layer(10, 0.25)
    assert layer.conv1.conv.weight.shape == [8, 3, 3, 3]
    assert layer.head.fc.weight.shape == [256, 10]


def test_two_layers_in_one_process_have_weights_of_their_own() -> None:
    first, second = (slim.models.MobileNet().layer(10, 0.25) for _ in range(2))
    assert not set(names(first)) & set(names(second))
    assert list(first.state_dict()) == list(second.state_dict())
    second.set_state_dict(first.state_dict())
    assert np.array_equal(first.conv1.conv.weight.numpy(), second.conv1.conv.weight.numpy())


def test_params_belong_to_the_model() -> None:
    model = slim.models.MobileNet()
    assert model.params["input_size"] == [3, 224, 224]
    assert model.params["learning_strategy"]["name"] == "piecewise_decay"
    model.params["input_size"][0] = 1
    assert slim.models.MobileNet().params["input_size"] == [3, 224, 224]


def test_errors_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"class_dim: expected at least 1, got 0"):
        slim.models.MobileNet().layer(0)
    with pytest.raises(ValueError, match=r"scale: expected at least 1/32.*0\.01"):
        slim.models.MobileNet().layer(10, 0.01)
    with pytest.raises(ValueError, match=r"layers: expected one of 18, 34, 50, 101, 152, got 20"):
        slim.models.ResNet(20)
    with pytest.raises(ValueError, match=r"input: expected images \[N, C, H, W\].*\[8, 784\]"):
        slim.models.MobileNet().net(paddle.zeros([8, 784]))


def test_image_classification_errors() -> None:
    with pytest.raises(ValueError, match=r"'MobilNet' is unknown; the nearest are 'MobileNet'"):
        slim.models.image_classification("MobilNet", [1, 28, 28], 10)
    with pytest.raises(ValueError, match=r"image_shape: expected \(C, H, W\), got \[28, 28\]"):
        slim.models.image_classification("MobileNet", [28, 28], 10)
    with pytest.raises(RuntimeError, match=r"paddle\.enable_static\(\)"):
        slim.models.image_classification("MobileNet", [1, 28, 28], 10)


# Static programs need a process of their own: their IR is chosen at import, and static mode is global.
_STATIC = """
    import json, sys, warnings
    warnings.simplefilter("ignore")
    import numpy as np, paddle
    import qslim as slim

    paddle.enable_static()
    paddle.seed(0)
    model = {model!r}
    exe, train, val, (image, label), outputs = slim.models.image_classification(model, [1, 28, 28], 10)
    rng = np.random.default_rng(0)
    feed = {{"image": rng.standard_normal([8, 1, 28, 28], dtype=np.float32), "label": np.arange(8)[:, None]}}
    losses = [float(exe.run(train, feed=feed, fetch_list=list(outputs))[2]) for _ in range({steps})]
    first, again = (exe.run(val, feed=feed, fetch_list=list(outputs.for_test)) for _ in range(2))
    print(json.dumps({{
        "losses": losses,
        "shape": first[3].shape,
        "sums": first[3].sum(1).tolist(),
        "evaluates alike": bool(np.array_equal(first[3], again[3])),
        "outputs are names": all(isinstance(output, str) for output in outputs),
        "names": sorted(train.state_dict()),
    }}))
"""


@pytest.mark.parametrize("legacy_ir", [False, True], ids=["pir", "legacy"])
@pytest.mark.parametrize("model", ["MobileNet", "MobileNetV2", "ResNet18"])
def test_image_classification_trains(model: str, legacy_ir: bool, run_python: Any) -> None:
    out = run_python(_STATIC.format(model=model, steps=12), legacy_ir=legacy_ir)
    seen = json.loads(out.splitlines()[-1])
    assert min(seen["losses"][1:]) < seen["losses"][0]
    assert seen["shape"] == [8, 10]
    assert np.allclose(seen["sums"], 1, atol=1e-5)
    assert seen["evaluates alike"]  # batch normalization is frozen in the evaluation program
    assert seen["outputs are names"] == legacy_ir
    assert _PARAMETERS[model] <= set(seen["names"])


def _batch_norm(name: str) -> set[str]:
    return {f"{name}_{part}" for part in ("scale", "offset", "mean", "variance")}


_PARAMETERS = {
    "MobileNet": {
        "conv1_weights",
        *_batch_norm("conv1_bn"),
        *(f"conv{block}_{part}_weights" for block in ("2_1", "4_2", "5_6", "6") for part in ("dw", "sep")),
        *_batch_norm("conv6_sep_bn"),
        "fc7_weights",
        "fc7_offset",
    },
    "MobileNetV2": {
        "conv1_1_weights",
        *(f"conv7_3_{part}_weights" for part in ("expand", "dwise", "linear")),
        *_batch_norm("conv8_1_linear_bn"),
        "conv9_weights",
        "fc10_weights",
        "fc10_offset",
    },
    "ResNet18": {
        "conv1_weights",
        *_batch_norm("bn_conv1"),
        "res2a_branch1_weights",
        "res5b_branch2b_weights",
        *_batch_norm("bn5b_branch2b"),
        "fc_0.w_0",
        "fc_0.b_0",
    },
}


def test_deep_resnets_number_their_fourth_stage_and_take_a_prefix() -> None:
    found = set(names(slim.models.ResNet(101, prefix_name="teacher").layer(10, fc_name="out")))
    assert {"teacher_res4a_branch2a_weights", "teacher_res4b22_branch2c_weights"} <= found
    assert {"teacher_bn4b22_branch2c_scale", "teacher_out.w_0"} <= found
