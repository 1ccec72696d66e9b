# SPDX-License-Identifier: Apache-2.0
"""Turn Paddle's quantizing operators into quantization parameters of tensors."""

from qslim.graph.passes.prepare import QUANTIZER_READERS
from qslim.importers.paddle.quantizers.read import has_quantizers, read_quantizers

__all__ = ["has_quantizers", "read_quantizers"]

# So that prepare_for_runtime takes the Graph of a PaddleProgram as it is.
QUANTIZER_READERS.append(read_quantizers)
