# SPDX-License-Identifier: Apache-2.0
"""quant_recon_static: post-training quantization whose weights are rounded by reconstructing layers' outputs.

Layer-wise reconstruction is ``quant_post_static(round_type="adaround")``.
Source: paddleslim 2.6.0, quant/reconstruction_quantization.py (signature and defaults).
"""

from __future__ import annotations

from typing import Any

from qslim.logger import logger
from qslim.quant.options import choose
from qslim.quant.post_training.post_static import quant_post_static
from qslim.quant.post_training.post_training_report import QuantizationReport

__all__ = ["quant_recon_static"]

# What only PaddleSlim's training of the rounding needs.
_OF_TRAINING = ("epochs", "lr", "drop_prob", "limit", "is_use_cache_file", "cache_dir")
_OF_REGIONS = ("regions", "region_weights_names")


def quant_recon_static(
    executor: Any,
    model_dir: str,
    quantize_model_path: str,
    *args: Any,
    recon_level: str = "layer-wise",
    simulate_activation_quant: bool = False,
    **options: Any,
) -> QuantizationReport:
    """Quantize a saved model, each weight rounded so that its layer's output changes least.

    Parameters
    ----------
    executor, model_dir, quantize_model_path, and all others : as for ``quant_post_static``
    recon_level : {"layer-wise"}
    simulate_activation_quant : False
    epochs, lr, drop_prob, limit, is_use_cache_file, cache_dir : ignored
        Nothing is trained here: ``adaptive_rounding`` says how the rounding is found.

    Raises
    ------
    ValueError : reconstruction of regions, or simulated noise of activations, which are not offered.
    """
    choose("quant_recon_static: recon_level", recon_level, ("layer-wise",))
    if simulate_activation_quant:
        raise ValueError(
            "quant_recon_static: simulate_activation_quant: expected False, noise of activations is not "
            "offered"
        )
    for key in _OF_REGIONS:
        if options.pop(key, None) is not None:
            raise ValueError(f"quant_recon_static: {key}: expected None, layers are reconstructed one by one")
    ignored = [key for key in _OF_TRAINING if options.pop(key, None) is not None]
    if ignored:
        logger.info("quant_recon_static: %s have no effect: the rounding is not trained", ", ".join(ignored))
    options.setdefault("onnx_format", False)
    if options.setdefault("round_type", "adaround") != "adaround":
        raise ValueError(
            f"quant_recon_static: round_type: expected 'adaround', got {options['round_type']!r}; "
            "quant_post_static has the others"
        )
    return quant_post_static(executor, model_dir, quantize_model_path, *args, **options)
