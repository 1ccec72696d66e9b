# SPDX-License-Identifier: Apache-2.0
"""The ``qslim`` command: a module for each of its commands reads settings and data and calls the API."""
