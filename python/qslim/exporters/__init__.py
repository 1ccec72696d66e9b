# SPDX-License-Identifier: Apache-2.0
"""Writers of Graphs: qslim's own model file, ONNX, and models of frameworks (sub-packages)."""

from qslim.exporters.onnx import export_onnx
from qslim.exporters.qslim_file import dumps_qslim, save_qslim
from qslim.files.staging import WriteError

__all__ = ["WriteError", "dumps_qslim", "export_onnx", "save_qslim"]
