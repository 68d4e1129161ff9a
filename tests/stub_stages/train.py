"""Pretend to train: note in a file that a run was asked for, and write its config."""

import json
import os
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.layout import item_arguments, run_folder

item = item_arguments("stub")
cell = f"{item.env} {item.algorithm} {item.seed}"
with Path("trained.txt").open("a") as file:
    file.write(f"{cell}\n")
if cell == os.environ.get("STUB_FAILS"):
    sys.exit("error: the stub was told to fail.")
if "STUB_SLEEPS" in os.environ:
    Path(f"pid-{os.getpid()}").touch()
    time.sleep(600)
config = YAML(typ="safe").load(item.params)["algorithms"][item.algorithm]
folder = run_folder(item.env, item.algorithm, item.seed)
folder.mkdir(parents=True)
(folder / "train.json").write_text(json.dumps(config))
