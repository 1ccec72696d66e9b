# SPDX-License-Identifier: Apache-2.0
"""``python -m qslim``: the command line."""

from qslim.cli.main import main

main()
