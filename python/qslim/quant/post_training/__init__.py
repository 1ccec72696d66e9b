# SPDX-License-Identifier: Apache-2.0
"""Post-training quantization: of saved models with calibration data or without, and of Layers (ptq.py)."""
