# SPDX-License-Identifier: Apache-2.0
"""Compress an image classifier as a configuration says, in the manner of PaddleSlim's example.

python -m qslim.paddleslim run.py --config_path configs/qat_dis.yaml --save_dir output
"""

import argparse
import math

import numpy as np
import paddle
from paddleslim.auto_compression import AutoCompression
from paddleslim.common import load_config
from paddleslim.common.dataloader import get_feed_vars
from pictures import Pictures

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--config_path", required=True)
parser.add_argument("--save_dir", default="output")
args = parser.parse_args()

paddle.enable_static()
config = load_config(args.config_path)
settings = config["Global"]
names = settings["model_dir"], settings["model_filename"], settings["params_filename"]
(feed,) = get_feed_vars(*names)


def loader(part, shuffle):
    pictures = Pictures(settings["data_dir"], part, settings["img_size"])
    return paddle.io.DataLoader(
        pictures,
        places=[paddle.CPUPlace()],
        batch_size=settings["batch_size"],
        shuffle=shuffle,
        drop_last=shuffle,
        return_list=True,
    )


def train_reader():
    for image, _ in train_loader:
        yield {feed: image}


def accuracy(executor, program, feed_names, fetch_targets):
    right = []
    for image, label in val_loader:
        feeds = {feed_names[0]: np.array(image)}
        (scores,) = executor.run(program, feed=feeds, fetch_list=fetch_targets)
        right.append(scores.argmax(axis=1) == np.array(label)[:, 0])
    return float(np.mean(np.concatenate(right)))


train_loader, val_loader = loader("train", shuffle=True), loader("val", shuffle=False)
rate = config.get("TrainConfig", {}).get("learning_rate")
if isinstance(rate, dict) and rate["type"] == "CosineAnnealingDecay":
    epochs = config["TrainConfig"].get("epochs", 1)
    rate.setdefault("T_max", math.ceil(len(train_loader) * epochs))

compression = AutoCompression(
    model_dir=names[0],
    model_filename=names[1],
    params_filename=names[2],
    save_dir=args.save_dir,
    config=config,
    train_dataloader=train_reader,
    eval_callback=accuracy,
)
print(compression.compress())
