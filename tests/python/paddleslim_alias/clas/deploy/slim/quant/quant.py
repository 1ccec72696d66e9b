# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training as PaddleClas 2.1 did it: quantize first, then load the float weights."""

import os
import sys

sys.path.append(os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../..")))

import numpy as np
import paddle
from paddleslim.dygraph.quant import QAT
from ppcls.arch import networks
from ppcls.config import get_config, parse_args
from ppcls.data import build_dataloader


def main():
    args = parse_args()
    config = get_config(args.config, args.override)
    paddle.seed(12345)
    if paddle.distributed.get_world_size() > 1:
        paddle.distributed.init_parallel_env()
    name = config["ARCHITECTURE"]["name"]
    net = getattr(networks, name)(class_dim=config["classes_num"])
    quant_config = {
        "weight_preprocess_type": None,
        "activation_preprocess_type": "PACT",
        "weight_quantize_type": "channel_wise_abs_max",
        "activation_quantize_type": "moving_average_abs_max",
        "weight_bits": 8,
        "activation_bits": 8,
        "dtype": "int8",
        "window_size": 10000,
        "moving_rate": 0.9,
        "quantizable_layer_type": ["Conv2D", "Linear"],
    }
    QAT(config=quant_config).quantize(net)
    optimizer = paddle.optimizer.Momentum(
        config["LEARNING_RATE"]["params"]["lr"], 0.9, parameters=net.parameters()
    )
    if config.get("pretrained_model"):
        net.set_state_dict(paddle.load(config["pretrained_model"] + ".pdparams"))
    shape, batch_size = config["image_shape"], config["TRAIN"]["batch_size"]
    best = 0.0
    for epoch in range(config["epochs"]):
        net.train()
        for images, labels in build_dataloader("Train", shape, batch_size):
            paddle.nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
            optimizer.clear_grad()
        net.eval()
        with paddle.no_grad():
            loader = build_dataloader("Eval", shape, batch_size)
            hits = [(net(images).argmax(1) == labels).numpy() for images, labels in loader]
        top1 = float(np.concatenate(hits).mean())
        if top1 > best:
            best = top1
            directory = os.path.join(config["model_save_dir"], name, "best_model")
            os.makedirs(directory, exist_ok=True)
            paddle.save(net.state_dict(), os.path.join(directory, "ppcls.pdparams"))
            paddle.save(optimizer.state_dict(), os.path.join(directory, "ppcls.pdopt"))
        print(f"The best top1 acc {best:.5f}, in epoch: {epoch:d}", flush=True)


if __name__ == "__main__":
    main()
