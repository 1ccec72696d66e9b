# SPDX-License-Identifier: Apache-2.0
"""Readers: a framework's model in, a Graph out. One sub-package a framework; each imports it when used."""
