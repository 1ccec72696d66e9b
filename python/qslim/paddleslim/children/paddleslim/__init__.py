# SPDX-License-Identifier: Apache-2.0
"""Stands in for PaddleSlim in the child processes of ``qslim.paddleslim``: its directory is on PYTHONPATH.

The first import of ``paddleslim`` finds this file, which installs the importer and makes way for its module.
"""

import importlib
import sys

from qslim.paddleslim import install

del sys.modules[__name__]
install()
importlib.import_module(__name__)
