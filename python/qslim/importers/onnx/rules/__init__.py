# SPDX-License-Identifier: Apache-2.0
"""Rules for ONNX's operators, by name: how each one of opset 7 to 25 is put into a Graph.

``rule(builder, node)`` adds the nodes. Operators that a Graph has in the same form take ``same``.
"""

from qslim.importers.onnx.rules.elementwise import ELEMENTWISE
from qslim.importers.onnx.rules.movement import MOVEMENT
from qslim.importers.onnx.rules.normalization import NORMALIZATION
from qslim.importers.onnx.rules.products import PRODUCTS
from qslim.importers.onnx.rules.quantization import QUANTIZATION
from qslim.importers.onnx.rules.reductions import REDUCTIONS
from qslim.importers.onnx.rules.rule import Rule
from qslim.importers.onnx.rules.selection import SELECTION
from qslim.importers.onnx.rules.windows import WINDOWS

__all__ = ["RULES"]

RULES: dict[str, Rule] = {
    **ELEMENTWISE,
    **MOVEMENT,
    **NORMALIZATION,
    **PRODUCTS,
    **QUANTIZATION,
    **REDUCTIONS,
    **SELECTION,
    **WINDOWS,
}
