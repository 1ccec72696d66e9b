# SPDX-License-Identifier: Apache-2.0
import argparse
import os
import sys

sys.path.append(os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../..")))

import paddle
from paddleslim.dygraph.quant import QAT
from ppcls.arch import networks


class Net(paddle.nn.Layer):
    def __init__(self, net):
        super().__init__()
        self.pre_net = net

    def forward(self, inputs):
        return paddle.nn.functional.softmax(self.pre_net(inputs))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", "--model")
    parser.add_argument("-p", "--pretrained_model")
    parser.add_argument("-o", "--output_path", default="./inference")
    parser.add_argument("--class_dim", type=int, default=1000)
    parser.add_argument("--img_size", type=int, default=224)
    args = parser.parse_args()
    quanter = QAT(
        config={
            "weight_preprocess_type": None,
            "activation_preprocess_type": None,
            "weight_quantize_type": "channel_wise_abs_max",
            "activation_quantize_type": "moving_average_abs_max",
            "weight_bits": 8,
            "activation_bits": 8,
            "dtype": "int8",
            "window_size": 10000,
            "moving_rate": 0.9,
            "quantizable_layer_type": ["Conv2D", "Linear"],
        }
    )
    model = Net(getattr(networks, args.model)(class_dim=args.class_dim))
    quanter.quantize(model)
    model.pre_net.set_state_dict(paddle.load(args.pretrained_model + ".pdparams"))
    model.eval()
    path = os.path.join(args.output_path, "inference")
    spec = [paddle.static.InputSpec([None, 3, args.img_size, args.img_size], "float32")]
    quanter.save_quantized_model(model, path, input_spec=spec)
    print(f"inference QAT model is saved to {path}")


if __name__ == "__main__":
    main()
