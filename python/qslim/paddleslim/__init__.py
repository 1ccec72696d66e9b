# SPDX-License-Identifier: Apache-2.0
"""Run what was written for PaddleSlim: ``import paddleslim`` means qslim.

    python -m qslim.paddleslim train.py -c config.yaml
    python -m qslim.paddleslim -m package.module args
    python -m qslim.paddleslim -m paddle.distributed.launch --nproc_per_node 2 train.py -c config.yaml
    python -m paddle.distributed.launch --nproc_per_node 2 $(python -m qslim.paddleslim --path) train.py ...

In a notebook, call ``install()`` before the first ``import paddleslim``. Nothing is installed into the
environment: an importer answers for the name ``paddleslim`` in this process, in front of any other, and a
directory on PYTHONPATH does so in the processes that it starts. A PaddleSlim that is really installed is
neither touched nor used.
"""

from __future__ import annotations

from qslim.paddleslim.importer import install, uninstall

__all__ = ["install", "uninstall"]
