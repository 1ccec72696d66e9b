# SPDX-License-Identifier: Apache-2.0
from ppcls.arch.slim.prune import prune_model
from ppcls.arch.slim.quant import quantize_model

__all__ = ["prune_model", "quantize_model"]
