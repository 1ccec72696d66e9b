# SPDX-License-Identifier: Apache-2.0
"""Quantizers: Layers that round one tensor of a network, in training or with fixed parameters.

quantizer.py             their saved state, and messages that name the layer
activation_quantizers.py, weight_quantizers.py     thresholds from statistics
learned.py, learned_activations.py                 thresholds from gradients: PACT, LSQ, LSQ+
observed_quantizers.py   those that only observe, and those with fixed parameters
factory.py               what a QuantConfig holds: makes a quantizer for each layer
tensors.py, recompute.py fake quantization of Paddle tensors, and its calls under recomputation

observers/ and quanters/ give them PaddleSlim's names. Importing this imports Paddle.
"""
