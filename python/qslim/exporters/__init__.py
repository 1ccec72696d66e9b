# SPDX-License-Identifier: Apache-2.0
"""Writers: a quantized Graph out, as a framework's model. One sub-package a framework."""
