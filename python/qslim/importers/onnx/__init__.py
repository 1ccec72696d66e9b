# SPDX-License-Identifier: Apache-2.0
"""Reader of ONNX models: float ones, and quantized ones in both of ONNX's forms."""

from qslim.importers.onnx.load import load_onnx

__all__ = ["load_onnx"]
