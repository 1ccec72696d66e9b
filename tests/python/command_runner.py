# SPDX-License-Identifier: Apache-2.0
"""The command line in this process, its two streams apart."""

from __future__ import annotations

from click.testing import CliRunner

__all__ = ["runner"]


def runner() -> CliRunner:
    """Return click's runner; before click 8.2, all that Python 3.9 has, it mixes the streams unless told."""
    try:
        return CliRunner(mix_stderr=False)
    except TypeError:
        return CliRunner()
