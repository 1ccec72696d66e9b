# SPDX-License-Identifier: Apache-2.0
"""Quantization by a ``paddle.quantization.QuantConfig``, which says layer by layer with which factories.

factory.py      what a factory of ours makes, for us and for Paddle's own QAT and PTQ
quantizers.py   quantizers that only watch, and those with a grid that stands
assign.py       which layer gets which: layer > name > type > parent > global
convert.py      from watching to grids, from training to deployment
qat.py, slim.py the classes that users call; PTQ is qslim/quant/ptq.py
"""
