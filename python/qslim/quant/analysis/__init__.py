# SPDX-License-Identifier: Apache-2.0
"""Analysis of a quantized network: which layers lose accuracy, why, and what to leave in fp32."""

from qslim.quant.analysis.analysis import Analysis
from qslim.quant.analysis.analysis_report import AnalysisReport, LayerReport, TargetModel
from qslim.quant.analysis.by_version import AnalysisPTQ, AnalysisQAT

__all__ = ["Analysis", "AnalysisPTQ", "AnalysisQAT", "AnalysisReport", "LayerReport", "TargetModel"]
