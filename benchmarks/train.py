"""DVC stage: train one (env, algorithm, seed) of params.yaml."""

import os

from benchmarks.layout import WORK, item_arguments, run_folder
from marl_gre.cli import keep_loaded, one_thread
from marl_gre.config import load_params
from marl_gre.errors import run_cli
from marl_gre.jobs.train import train
from marl_gre.storage.mirror import VARIABLE
from marl_gre.trackers import from_variable


def main() -> None:
    """Train one item."""
    one_thread()
    keep_loaded()
    item = item_arguments("Train one run of params.yaml.")
    params = load_params(item.params)
    config = params.run_config(item.env, item.algorithm, item.seed)
    first = item.seed == params.run.seeds[0]  # whose weights go into git; the others' are known by their hash
    out = run_folder(item.env, item.algorithm, item.seed)
    mirror = os.environ.get(VARIABLE) or None
    train(config, out, WORK, publish_weights=first, log=from_variable(), mirror=mirror)


if __name__ == "__main__":
    run_cli(main)
