# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training of static programs."""

from qslim.quant.static_qat.config import StaticQATConfig
from qslim.quant.static_qat.pact import get_pact_optimizer, pact
from qslim.quant.static_qat.quant_aware import convert, quant_aware

__all__ = ["StaticQATConfig", "convert", "get_pact_optimizer", "pact", "quant_aware"]
