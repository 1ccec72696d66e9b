# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware training of static programs, and their embeddings as integers."""

from qslim.quant.programs.config import StaticQATConfig
from qslim.quant.programs.embedding import quant_embedding
from qslim.quant.programs.pact import get_pact_optimizer, pact
from qslim.quant.programs.quant_aware import convert, quant_aware

__all__ = ["StaticQATConfig", "convert", "get_pact_optimizer", "pact", "quant_aware", "quant_embedding"]
