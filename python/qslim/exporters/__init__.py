# SPDX-License-Identifier: Apache-2.0
"""Writers: a Graph out, as qslim's own model file or as a framework's model (one sub-package each)."""

from qslim.exporters.qslim_file import dumps_qslim, save_qslim

__all__ = ["dumps_qslim", "save_qslim"]
