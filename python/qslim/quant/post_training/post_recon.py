# SPDX-License-Identifier: Apache-2.0
"""Post-training quantization that reconstructs each layer's output, under PaddleSlim's name.

PaddleSlim learns the rounding of weights layer by layer with Adam (BRECQ, arXiv:2102.05426) on inputs whose
quantization is dropped at random (QDrop, arXiv:2203.05740). Here each layer is solved for the inputs that it
gets in the quantized network, front to back, without steps: ``round_type="adaround"``.

Source: paddleslim 2.6.0, quant/quanter.py (signature and defaults).

Examples
--------
>>> import os, tempfile
>>> import numpy as np
>>> import paddle
>>> import qslim as slim
>>> work = tempfile.mkdtemp()
>>> net = paddle.nn.Sequential(paddle.nn.Linear(8, 16), paddle.nn.ReLU(), paddle.nn.Linear(16, 4))
>>> feed = paddle.static.InputSpec([None, 8], "float32", "x")
>>> paddle.jit.save(net, os.path.join(work, "fp32"), input_spec=[feed])
>>> report = slim.quant.quant_recon_static(
...     paddle.static.Executor(paddle.CPUPlace()), work, os.path.join(work, "int4"), weight_bits=4,
...     data_loader=[np.random.rand(64, 8).astype("float32")],
... )
>>> sorted(os.listdir(os.path.join(work, "int4")))
['model.json', 'model.pdiparams', 'model.qslim']
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Optional

from qslim.quant.options import choose
from qslim.quant.post_training.post_static import quant_post_static
from qslim.quant.post_training.post_training_report import QuantizationReport

__all__ = ["quant_recon_static"]


def quant_recon_static(
    executor: Any,
    model_dir: str,
    quantize_model_path: str,
    batch_generator: Any = None,
    sample_generator: Any = None,
    data_loader: Any = None,
    model_filename: Optional[str] = None,
    params_filename: Optional[str] = None,
    save_model_filename: Optional[str] = "model.pdmodel",
    save_params_filename: Optional[str] = "model.pdiparams",
    batch_size: int = 1,
    batch_nums: Optional[int] = None,
    scope: Any = None,
    algo: str = "hist",
    recon_level: str = "layer-wise",
    simulate_activation_quant: bool = False,
    hist_percent: float = 0.9999,
    bias_correction: bool = False,
    quantizable_op_type: Sequence[str] = ("conv2d", "depthwise_conv2d", "mul", "matmul", "matmul_v2"),
    is_full_quantize: bool = False,
    weight_bits: int = 8,
    activation_bits: int = 8,
    activation_quantize_type: str = "range_abs_max",
    weight_quantize_type: str = "channel_wise_abs_max",
    optimize_model: bool = False,
    onnx_format: bool = True,
    skip_tensor_list: Optional[Sequence[Any]] = None,
    is_use_cache_file: bool = False,
    cache_dir: str = "./temp_recon_quantization",
    regions: Any = None,
    region_weights_names: Any = None,
    epochs: int = 20,
    drop_prob: float = 0.5,
    lr: float = 0.1,
    limit: int = 6,
) -> QuantizationReport:
    """Quantize a saved model and reconstruct each layer's output; see the module's docstring.

    Parameters
    ----------
    executor, ..., skip_tensor_list : as for ``quant_post_static``; ``onnx_format`` is True by default
    recon_level : {"layer-wise"}
        "region-wise", which learns the layers of a block together, is not there.
    simulate_activation_quant, regions, region_weights_names : not offered
    is_use_cache_file, cache_dir, epochs, drop_prob, lr, limit : ignored
        Settings of the learning, of which there is none.

    Returns
    -------
    QuantizationReport

    Raises
    ------
    ValueError : as ``quant_post_static``; another ``recon_level``, or what is not offered.
    """
    given = dict(locals())
    choose("quant_recon_static: recon_level", recon_level, ("layer-wise",))
    for name in ("regions", "region_weights_names", "simulate_activation_quant"):
        if given[name]:
            raise ValueError(
                f"quant_recon_static: {name} is not offered: each layer is solved for its inputs in the "
                "quantized network, where activations are always quantized"
            )
    shared = inspect.signature(quant_post_static).parameters.keys() & given.keys()
    return quant_post_static(**{name: given[name] for name in shared}, round_type="adaround")
