# SPDX-License-Identifier: Apache-2.0
"""QSLIM_ISA: every instruction set of this machine gives the same bytes; a wrong name is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qslim import _core

SCRIPT = """
import hashlib
import numpy as np
from qslim import _core, functional as F
rng = np.random.default_rng(5)
x = rng.normal(size=(4, 33, 17, 5)).astype(np.float32)
x.ravel()[::7] = 0
digest = hashlib.sha256()
for axis in (None, 0, 1, 3):
    t = F.abs_max(x, quant_axis=axis)
    t = t * np.float32(0.8)
    for rounding in ("ties_to_even", "ties_away"):
        digest.update(F.fake_quant(x, t, quant_axis=axis, rounding=rounding).tobytes())
        digest.update(F.fake_quant_backward(x, x, t, quant_axis=axis, rounding=rounding).tobytes())
        digest.update(F.quantize(x, t, quant_axis=axis, rounding=rounding).tobytes())
    g, s = x[::-1], t / np.float32(7)
    pact = F.pact_backward(x, g, t, quant_axis=axis)
    for part in pact + F.lsq_backward(x, g, s, qmin=-8, qmax=7, quant_axis=axis):
        digest.update(np.asarray(part).tobytes())
    digest.update(F.dequantize(F.quantize(x, t, quant_axis=axis), t, quant_axis=axis).tobytes())
    digest.update(np.asarray(F.sum(x, quant_axis=axis)).tobytes())
    digest.update(np.asarray(F.sum_of_squares(x, quant_axis=axis)).tobytes())
    digest.update(np.asarray(F.min_max(x, quant_axis=axis)).tobytes())
for axis in (0, 1, 3):
    for criterion in ("l1_norm", "l2_norm", "fpgm", "taylor"):
        digest.update(F.filter_saliency(x, criterion, axis=axis, gradient=x[::-1]).tobytes())
digest.update(F.histogram(x, 100, -2, 2)[0].tobytes())
s = F.TensorStatistics()
s.update(x)
digest.update(s.to_bytes())
print(_core.Context().isa, digest.hexdigest())
"""


def run(isa: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QSLIM_ISA": isa}
    return subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment)


def test_every_isa_gives_the_same_bytes() -> None:
    digests = {}
    for isa in _core.available_isas():
        result = run(isa)
        assert result.returncode == 0, result.stderr
        used, digests[isa] = result.stdout.split()
        assert used == isa
    assert len(set(digests.values())) == 1, digests


def test_a_cap_above_the_machine_means_the_machine() -> None:
    assert run("avx512vnni").stdout.split()[0] == _core.detected_isa()


def test_an_unknown_name_lists_the_known_ones() -> None:
    result = run("mmx")
    assert "environment variable QSLIM_ISA: isa must be one of scalar" in result.stderr
    missing = "avx2" if "neon" in _core.available_isas() else "neon"
    with pytest.raises(ValueError, match=f"isa '{missing}' is not available on this machine"):
        _core.Context(isa=missing)
