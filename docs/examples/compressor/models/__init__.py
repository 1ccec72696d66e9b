# SPDX-License-Identifier: Apache-2.0
"""Networks in fluid's layers, as the tutorial's ``models`` directory has them."""

from models.mobilenet import MobileNet, MobileNet_x0_25

__all__ = ["MobileNet", "MobileNet_x0_25"]
