# SPDX-License-Identifier: Apache-2.0
import os
import sys

sys.path.append(os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")))

import numpy as np
import paddle
import paddleslim
from paddle.jit import to_static  # noqa: F401
from paddleslim.analysis import dygraph_flops as flops  # noqa: F401
from ppcls.config import get_config, parse_args
from ppcls.data import build_dataloader


def main():
    args = parse_args()
    config = get_config(args.config, args.override)["Global"]
    directory = config["save_inference_dir"]
    assert os.path.exists(os.path.join(directory, "inference.pdmodel"))
    assert os.path.exists(os.path.join(directory, "inference.pdiparams"))
    place = paddle.set_device("cpu")
    loader = build_dataloader("Eval", config["image_shape"], batch_size=1)

    def sample_generator(loader):
        def samples():
            for data in loader:
                yield np.array(data[0])

        return samples

    paddle.enable_static()
    executor = paddle.static.Executor(place)
    paddleslim.quant.quant_post_static(
        executor=executor,
        model_dir=directory,
        model_filename="inference.pdmodel",
        params_filename="inference.pdiparams",
        quantize_model_path=os.path.join(directory, "quant_post_static_model"),
        sample_generator=sample_generator(loader),
        batch_size=1,
        batch_nums=10,
    )


if __name__ == "__main__":
    main()
