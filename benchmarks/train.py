"""DVC stage: train one (env, algorithm, seed) of params.yaml."""

from benchmarks.layout import WORK, item_arguments, run_folder
from marl_gre.config import load_params
from marl_gre.errors import run_cli
from marl_gre.jobs.train import train


def main() -> None:
    """Train one item."""
    item = item_arguments("Train one run of params.yaml.")
    config = load_params(item.params).run_config(item.env, item.algorithm, item.seed)
    train(config, run_folder(item.env, item.algorithm, item.seed), WORK)


if __name__ == "__main__":
    run_cli(main)
