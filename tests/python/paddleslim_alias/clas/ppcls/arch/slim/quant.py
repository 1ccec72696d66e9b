# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import paddle

QUANT_CONFIG = {
    "weight_preprocess_type": None,
    "activation_preprocess_type": None,
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "weight_bits": 8,
    "activation_bits": 8,
    "dtype": "int8",
    "window_size": 10000,
    "moving_rate": 0.9,
    "quantizable_layer_type": ["Conv2D", "Linear"],
}


def quantize_model(config, model, mode="train"):
    model.quanter = None
    if not (config.get("Slim") or {}).get("quant"):
        return
    from paddleslim.dygraph.quant import QAT

    assert config["Slim"]["quant"]["name"].lower() == "pact", "Only PACT quantization method is supported now"
    # The exporting process has no use for PACT's parameters.
    QUANT_CONFIG["activation_preprocess_type"] = "PACT" if mode in ("train", "eval") else None
    model.quanter = QAT(config=QUANT_CONFIG)
    model.quanter.quantize(model)
    print("QAT model summary:")
    paddle.summary(model, (1, 3, 224, 224))
