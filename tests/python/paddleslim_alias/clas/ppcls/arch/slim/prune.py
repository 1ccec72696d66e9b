# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import paddle


def prune_model(config, model):
    model.pruner = None
    if not (config.get("Slim") or {}).get("prune"):
        return
    import paddleslim

    method = config["Slim"]["prune"]["name"].lower()
    assert method in ("fpgm", "l1_norm"), "The prune methods only support 'fpgm' and 'l1_norm'"
    shape = [1] + config["Global"]["image_shape"]
    if method == "fpgm":
        model.pruner = paddleslim.dygraph.FPGMFilterPruner(model, shape)
    else:
        model.pruner = paddleslim.dygraph.L1NormFilterPruner(model, shape)
    _prune(model, shape, config["Slim"]["prune"]["pruned_ratio"])


def _prune(model, shape, ratio):
    from paddleslim.analysis import dygraph_flops as flops

    print(f"FLOPs before pruning: {flops(model, shape) / 1e9}GFLOPs")
    model.eval()
    ratios = {}
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.Conv2D):
            ratios.update({param.name: ratio for param in layer.parameters(include_sublayers=False)})
    plan = model.pruner.prune_vars(ratios, [0])
    print(f"FLOPs after pruning: {flops(model, shape) / 1e9}GFLOPs; pruned ratio: {plan.pruned_flops}")
    for param in model.parameters():
        if "conv2d" in param.name:
            print(f"{param.name}\t{param.shape}")
    model.train()
