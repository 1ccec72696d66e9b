# SPDX-License-Identifier: Apache-2.0
"""The logger speaks once: through the application's handlers, or by itself where there are none."""

from __future__ import annotations

import subprocess
import sys

_SAY = "import logging, qslim; from qslim.logger import logger; "


def _said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr


def test_without_an_application_s_handler_qslim_prints() -> None:
    assert _said(_SAY + "logger.info('done'); logger.debug('no')") == "qslim: done\n"


def test_records_go_to_the_application_s_handlers_once() -> None:
    setup = "logging.basicConfig(format='app %(name)s %(message)s', level=logging.INFO); "
    assert _said(_SAY + setup + "logger.info('done')") == "app qslim done\n"
    own = "logger.addHandler(logging.StreamHandler()); "
    assert _said(_SAY + own + "logger.info('done')") == "done\n"


def test_the_level() -> None:
    said = _said(_SAY + "qslim.set_log_level('warning'); logger.info('no'); logger.warning('yes')")
    assert said == "qslim: yes\n"
