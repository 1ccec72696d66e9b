# SPDX-License-Identifier: Apache-2.0
"""Paddle's framework, files and programs, for whoever reads, rewrites or trains them.

framework.py    the one module that imports Paddle, its modes, and its private names
model_files.py  the files of a saved model; params_file.py the layout of its parameters
program.py      a loaded program, its parameters, its Graph, and a way to run it
tracing.py      what a Layer needs before paddle.jit traces it
marks.py        marks in a traced program that importers read and exporters take out

It imports ``graph`` and ``files`` only. ``importers.paddle`` makes Graphs of programs, ``exporters.paddle``
writes them; neither imports the other.
"""
