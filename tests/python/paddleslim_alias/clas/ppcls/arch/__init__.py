# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ppcls.arch import networks
from ppcls.arch.slim import prune_model, quantize_model


def build_model(config, mode="train"):
    """The network of ``Arch``, pruned and quantized as ``Slim`` says."""
    arch = dict(config["Arch"])
    model = getattr(networks, arch.pop("name"))(**arch)
    prune_model(config, model)
    quantize_model(config, model, mode)
    return model
