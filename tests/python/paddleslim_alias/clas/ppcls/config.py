# SPDX-License-Identifier: Apache-2.0
"""A YAML file and overrides ``-o a.b.0.c=value``."""

from __future__ import annotations

import argparse
import ast

import yaml


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", "--config", required=True)
    parser.add_argument("-o", "--override", action="append", default=[])
    return parser.parse_args()


def get_config(path, overrides):
    with open(path) as file:
        config = yaml.safe_load(file)
    for override in overrides:
        assert override.count("=") == 1, f"option({override}) should be key=value"
        keys, value = override.split("=")
        *parents, last = keys.split(".")
        node = config
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        try:
            node[last] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            node[last] = value
    return config
