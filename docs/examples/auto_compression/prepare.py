# SPDX-License-Identifier: Apache-2.0
"""Make what run.py needs: pictures of noise with a coloured half, and a network that tells which half.

python prepare.py --data_dir pictures --model_dir float_model
"""

import argparse
import os

import numpy as np
import paddle
from paddle import nn
from pictures import Pictures
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data_dir", default="pictures")
parser.add_argument("--model_dir", default="float_model")
parser.add_argument("--size", type=int, default=32)
parser.add_argument("--epochs", type=int, default=4)
args = parser.parse_args()

rng = np.random.default_rng(0)
os.makedirs(args.data_dir, exist_ok=True)
for part, count in (("train", 128), ("val", 64)):
    with open(os.path.join(args.data_dir, f"{part}_list.txt"), "w") as file:
        for number in range(count):
            label = number % 4
            pixels = rng.integers(0, 160, (args.size, args.size, 3), dtype=np.uint8)
            half = args.size // 2
            rows, columns = divmod(label, 2)
            place = slice(half * columns, half * columns + half)
            pixels[(place, slice(None)) if rows else (slice(None), place)] += 60
            Image.fromarray(pixels).save(os.path.join(args.data_dir, f"{part}_{number}.png"))
            file.write(f"{part}_{number}.png {label}\n")

paddle.seed(0)
net = nn.Sequential(
    *(nn.Conv2D(3, 16, 3, stride=2, padding=1), nn.BatchNorm2D(16), nn.ReLU()),
    *(nn.Conv2D(16, 16, 3, padding=1, groups=16), nn.BatchNorm2D(16), nn.ReLU()),
    *(nn.Conv2D(16, 32, 1), nn.BatchNorm2D(32), nn.ReLU()),
    *(nn.Conv2D(32, 32, 3, stride=2, padding=1), nn.BatchNorm2D(32), nn.ReLU()),
    *(nn.AdaptiveAvgPool2D(4), nn.Flatten(), nn.Linear(512, 4), nn.Softmax()),
)
optimizer = paddle.optimizer.Adam(0.003, parameters=net.parameters())
loader = paddle.io.DataLoader(Pictures(args.data_dir, "train", args.size), batch_size=16, shuffle=True)
for _ in range(args.epochs):
    for image, label in loader:
        loss = nn.functional.cross_entropy(net(image), label, use_softmax=False)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
net.eval()
spec = [paddle.static.InputSpec([None, 3, args.size, args.size], "float32", "inputs")]
paddle.jit.save(net, os.path.join(args.model_dir, "inference"), input_spec=spec)
