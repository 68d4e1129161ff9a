"""The command `marl-gre`: train, evaluate, verify, play, credits, check, doctor."""

import argparse
import gc
import json
import platform
import sys
from pathlib import Path
from typing import NoReturn

from marl_gre import __version__
from marl_gre.errors import Parser, run_cli


def main() -> NoReturn:
    """Run the command line and exit."""
    run_cli(_main)


def one_thread() -> None:
    """Limit torch to one thread: two threads on two busy cores are several times slower. For programs only."""
    import torch

    torch.set_num_threads(1)


def keep_loaded() -> None:
    """Spare the garbage collector what is loaded by now, which it never frees: 5% of a run on small environments.

    For programs only.
    """
    gc.freeze()


def _main() -> None:
    sys.path.insert(0, "")  # as `python -m` does: a params file names its user's own modules
    arguments = parser().parse_args()
    one_thread()
    arguments.command(arguments)


def _train(arguments: argparse.Namespace) -> None:
    from marl_gre.config import load_params
    from marl_gre.jobs.train import train
    from marl_gre.storage.run_dir import WORK
    from marl_gre.trackers import from_variable

    config = load_params(arguments.params).run_config(arguments.env, arguments.algorithm, arguments.seed)
    out = arguments.out or Path("runs") / arguments.env / arguments.algorithm / str(arguments.seed)
    keep_loaded()
    train(config, out, WORK, log=from_variable() if arguments.log is None else arguments.log)
    print(out)


def _evaluate(arguments: argparse.Namespace) -> None:
    from marl_gre.config import EvaluateConfig
    from marl_gre.jobs.evaluate import evaluate

    result = evaluate(arguments.run, arguments.out, EvaluateConfig(episodes=arguments.episodes))
    summary = {key: value for key, value in result.items() if key not in ("episodes", "entropy_quantiles")}
    print(json.dumps(summary, indent=1))


def _verify(arguments: argparse.Namespace) -> None:
    from marl_gre.jobs.verify import verify

    for line in verify(arguments.run, arguments.evaluation, arguments.retrain):
        print(line, flush=True)


def _play(arguments: argparse.Namespace) -> None:
    from marl_gre.jobs.play import play_run

    play_run(arguments.run, arguments.gif, arguments.seed, arguments.episodes)


def _credits(arguments: argparse.Namespace) -> None:
    from marl_gre.jobs.credits import diagnose_run

    diagnose_run(arguments.run, arguments.out, arguments.seed, arguments.episodes, arguments.shapley)


def _check(arguments: argparse.Namespace) -> None:
    from marl_gre.jobs.check import check_params

    print(check_params(arguments.params))


def _doctor(arguments: argparse.Namespace) -> None:
    import torch

    import marl_gre_envs
    from marl_gre.third_party import installed
    from marl_gre_envs import starcraft

    print(f"marl-gre {__version__}, python {platform.python_version()}, torch {torch.__version__}")
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    print("device: cpu" + (f" ({cuda} with train.device: cuda)" if cuda else ""))
    print(f"environments: {', '.join(marl_gre_envs.ENVS)}")
    for name, module, why in _OPTIONAL:
        print(f"{name}: {'ok' if installed(module) else f'missing; {why}'}")
    print("SMAC, embedded engine: ok, needs nothing else")
    for title, package in (("SMAC", "smac"), ("SMACv2", "smacv2")):
        lacking = "; ".join(starcraft.missing(package))
        print(f"{title} over StarCraft II: {f'missing; needs {lacking}' if lacking else 'ok (not started)'}")


_OPTIONAL = [
    ("DVC", "dvc", 'needed by the pipeline: pip install "marl-gre[pipeline]"'),
    ("matplotlib", "matplotlib", 'needed for figures: pip install "marl-gre[pipeline]"'),
    ("pygame", "pygame", 'needed to watch in a window: pip install "marl-gre[render]"'),
    ("TensorBoard", "tensorboard", 'needed by --log tensorboard: pip install "marl-gre[tensorboard]"'),
    ("Weights & Biases", "wandb", 'needed by --log wandb: pip install "marl-gre[wandb]"'),
    ("Ray", "ray", 'needed to run the pipeline on many machines: pip install "marl-gre[distributed]"'),
    (
        "SuperSuit",
        "supersuit",
        'needed for third-party environments whose agents differ in size: pip install "marl-gre[interop]"',
    ),
]


_ABOUT = "Train, evaluate and verify runs of cooperative multi-agent reinforcement learning."
_PARAMS = Path("params.yaml")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(prog="marl-gre", description=_ABOUT)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")

    train = command("train", "train one run of a params file, resuming it if it was stopped")
    train.add_argument("--params", type=Path, default=_PARAMS, help="the params file (default: %(default)s)")
    train.add_argument("--env", required=True, help="a key of `envs` in the params file")
    train.add_argument("--algorithm", required=True, help="a key of `algorithms`")
    train.add_argument("--seed", type=_seed, default=0, help="seed of the run, 0 or more (default: %(default)s)")
    train.add_argument(
        "--out",
        type=Path,
        help="folder of the results; a finished run there is replaced (default: runs/ENV/ALGORITHM/SEED)",
    )
    log_help = "also show rows as they are written: csv, tensorboard, wandb or package.module:Class; repeatable"
    train.add_argument("--log", action="append", metavar="TRACKER", help=f"{log_help} (default: MARL_GRE_LOG)")
    train.set_defaults(command=_train)

    evaluate = command("evaluate", "play a trained policy greedily and print its returns and credits")
    evaluate.add_argument("run", type=Path, help="folder of a finished run")
    evaluate.add_argument("--episodes", type=_positive, default=100, help="number of episodes (default: %(default)s)")
    evaluate.add_argument("--out", type=Path, help="JSON file for the full result")
    evaluate.set_defaults(command=_evaluate)

    verify = command("verify", "check a finished run's files and reproduce its numbers")
    verify.add_argument("run", type=Path, help="folder of a finished run")
    verify.add_argument("--evaluation", type=Path, help="JSON file of its evaluation (default: the pipeline's)")
    verify.add_argument(
        "--retrain", action="store_true", help="also train the run again, which takes as long as the run did"
    )
    verify.set_defaults(command=_verify)

    play = command("play", "watch a trained policy, or save it as a GIF")
    play.add_argument("run", type=Path, help="folder of a finished run")
    play.add_argument("--gif", type=Path, help="write this file instead of opening a window")
    play.add_argument("--episodes", type=_positive, default=1, help="number of episodes (default: %(default)s)")
    play.add_argument("--seed", type=_seed, default=0, help="seed of the first episode (default: %(default)s)")
    play.set_defaults(command=_play)

    credits = command("credits", "show how a trained mixer assigns credit within an episode")
    credits.add_argument("run", type=Path, help="folder of a finished run")
    credits.add_argument("--out", type=Path, help="folder of the files (default: credits/ENV/ALGORITHM/SEED)")
    credits.add_argument(
        "--episodes", type=_positive, default=20, help="number of episodes; the first is drawn (default: %(default)s)"
    )
    credits.add_argument("--seed", type=_seed, default=0, help="seed of the first episode (default: %(default)s)")
    credits.add_argument(
        "--shapley",
        type=_natural,
        default=0,
        metavar="N",
        help="also compute the agents' Shapley values from N orders of the agents, an even number of 4 or more",
    )
    credits.set_defaults(command=_credits)

    check = command("check", "validate a params file without training anything")
    check.add_argument("--params", type=Path, default=_PARAMS, help="the params file (default: %(default)s)")
    check.set_defaults(command=_check)

    doctor = command("doctor", "report what this installation can do")
    doctor.set_defaults(command=_doctor)
    return parser


def _natural(text: str) -> int:
    return _whole(text, 0)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0, 2**32 - 1)


def _whole(text: str, low: int, high: int | None = None) -> int:
    """Return a whole number after checking that it lies in low..high."""
    allowed = f"a whole number of {low} or more" if high is None else f"a whole number from {low} to {high}"
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if value < low or (high is not None and value > high):
        raise argparse.ArgumentTypeError(f"found {text!r}; {allowed} is allowed")
    return value
