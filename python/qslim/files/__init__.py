# SPDX-License-Identifier: Apache-2.0
"""What readers and writers of files share: digests, safe pickles, staged writing, the .qslim format.

Needs no Paddle. Packages import only packages to their left:
graph < files < paddle < importers, exporters < analysis, quant, prune < the top. ``runtime`` uses importers
and exporters, and quant runs calibration through it.
"""
