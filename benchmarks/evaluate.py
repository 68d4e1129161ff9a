"""DVC stage: evaluate the final policy of one (env, algorithm, seed)."""

from benchmarks.layout import WORK, evaluation_file, item_arguments, run_folder
from marl_gre.cli import one_thread
from marl_gre.config import load_params
from marl_gre.errors import run_cli
from marl_gre.jobs.evaluate import evaluate


def main() -> None:
    """Evaluate one item."""
    one_thread()
    item = item_arguments("Evaluate one trained run of params.yaml.")
    params = load_params(item.params)
    params.run_config(item.env, item.algorithm, item.seed)  # names that params.yaml does not have end here
    key = (item.env, item.algorithm, item.seed)
    evaluate(run_folder(*key), evaluation_file(*key), params.evaluate, WORK)


if __name__ == "__main__":
    run_cli(main)
