# SPDX-License-Identifier: Apache-2.0
"""Readers of Graphs: from qslim's own model file or from a framework's model (one sub-package each)."""

from qslim.importers.qslim_file import FormatError, load_qslim

__all__ = ["FormatError", "load_qslim"]
