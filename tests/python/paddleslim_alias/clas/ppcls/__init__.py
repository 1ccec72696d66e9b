# SPDX-License-Identifier: Apache-2.0
"""A classification suite like PaddleClas: its command lines, configurations and calls of paddleslim.

Written for the tests: networks of a few thousand parameters and images of four classes made up on the spot.
"""
