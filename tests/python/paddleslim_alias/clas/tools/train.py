# SPDX-License-Identifier: Apache-2.0
import os
import sys

sys.path.append(os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")))

from ppcls.config import get_config, parse_args
from ppcls.engine import Engine

if __name__ == "__main__":
    args = parse_args()
    Engine(get_config(args.config, args.override), mode="train").train()
