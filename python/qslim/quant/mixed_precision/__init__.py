# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: the fewest layers in fp32 with which a quantized network reaches a target."""
