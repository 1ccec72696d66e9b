# SPDX-License-Identifier: Apache-2.0
"""Run models in the engine; no Paddle needed."""

from qslim.runtime.predictor import Config, Predictor, create_predictor
from qslim.runtime.profile import Layer, Profile
from qslim.runtime.session import Session, TensorSpec

__all__ = ["Config", "Layer", "Predictor", "Profile", "Session", "TensorSpec", "create_predictor"]
