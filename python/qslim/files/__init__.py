# SPDX-License-Identifier: Apache-2.0
"""File handling for readers and writers: digests, safe pickles, staged writing, the .qslim format.

Needs no Paddle. Packages import only packages to their left:
graph < files < paddle < importers, exporters < analysis, quant, prune < the top. ``runtime`` uses importers
and exporters, and quant runs calibration through it.
"""
