"""D7: short runs of every algorithm on every kind of environment, and what they came to when they were recorded.

`make golden` records them anew (tests/data/golden_runs.json), `make golden ENVS="smac smacv2"` those environments only,
`make golden ENVS=smac/qplex` one algorithm there. Do that only together with a raised results version, with a new
algorithm, or on a change of the recording itself.
"""

import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from marl_gre.config import RunConfig, load_params
from marl_gre.metrics import QUANTILES, quantile_name
from marl_gre.rollout import make_env
from marl_gre.storage.files import csv_text
from marl_gre.storage.provenance import machine
from marl_gre.storage.weights import weights_bytes
from marl_gre.trainer import Trainer

PATH = Path(__file__).parents[1] / "data" / "golden_runs.json"
ENVS = {
    "lumberjacks_v0": "env: lumberjacks_v0, kwargs: {max_steps: 20}, total_steps: 240",
    "lumberjacks_v1": "env: lumberjacks_v1, kwargs: {max_steps: 20}, total_steps: 240",
    "traffic_junction_v0": "env: traffic_junction_v0, kwargs: {n_max: 10, max_steps: 20}, total_steps: 240",
    "traffic_junction_v1": "env: traffic_junction_v1, kwargs: {n_max: 10, max_steps: 20}, total_steps: 240",
    "smac": "env: smac_v0, kwargs: {map_name: 2s3z}, total_steps: 400",
    "smacv2": "env: smac_v0, kwargs: {map_name: terran_5_vs_5}, total_steps: 400",
    "third_party": "env: 'probe_envs:Memory', kwargs: {episode_limit: 2}, total_steps: 60",
}
ALGORITHMS = {
    "vdn": "mixer: vdn",
    "qmix": "mixer: qmix",
    "qmix_simple": "mixer: qmix_simple",
    "qmix_gre": "mixer: qmix_gre, gre_lambda: 1e-3",
    "qmix_gre_released": "mixer: qmix_gre, gre_lambda: 1e-3, gre_gradient: released",
}
ALGORITHMS_OF_SMAC = {
    "qmix_equal": "mixer: qmix_equal",
    "qmix_regularised": "mixer: qmix, gre_lambda: 1e-3",
    "qatten": "mixer: qatten, unit_dim: 7",
    "qplex": "mixer: qplex",
    "qplex_10_kernels": "mixer: qplex, kernels: 10, kernel_layers: 3",
    "ow_qmix": "mixer: qmix, central: {mixer: feed_forward, hidden_dim: 16}, loss_weights: ow",
    "cw_qmix": "mixer: qmix, central: {mixer: feed_forward, hidden_dim: 16}, loss_weights: cw",
}
"""Later ones, each for a mixer or loss weight alone: one environment shows whether its numbers moved."""
ENTROPY_COLUMNS = (
    *("due_steps", "env_steps", "updates"),
    *(f"{prefix}{name}" for prefix in ("", "released_") for name in ("mean", *map(quantile_name, QUANTILES))),
)
"""Of the recorded tables, which hold the columns of all algorithms, in this order."""
PROTOCOL = "test_interval_steps: 100, test_episodes: 4, entropy_interval_steps: 50"
TRAIN = "{hidden_dim: 16, batch_episodes: 4, replay_episodes: 8, target_update_episodes: 4, device: cpu}"


def configs() -> dict[str, dict[str, RunConfig]]:
    """Return the configs of all runs by environment and algorithm."""
    algorithms = ALGORITHMS | ALGORITHMS_OF_SMAC
    text = f"run: {{envs: [{', '.join(ENVS)}], algorithms: [{', '.join(algorithms)}], seeds: [0]}}\nenvs:\n"
    text += "".join(f"  {name}: {{{entry}, {PROTOCOL}}}\n" for name, entry in ENVS.items())
    text += "algorithms:\n" + "".join(f"  {name}: {{{entry}}}\n" for name, entry in algorithms.items())
    text += f"train: {TRAIN}\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "params.yaml").write_text(text)
        params = load_params(Path(folder) / "params.yaml")
    return {env: {name: params.run_config(env, name, 0) for name in names_on(env)} for env in ENVS}


def names_on(env: str) -> list[str]:
    """Return the algorithms that run on an environment."""
    return [*ALGORITHMS, *(ALGORITHMS_OF_SMAC if env == "smac" else ())]


def play(config: RunConfig) -> dict:
    """Return what two episodes of random legal actions come to."""
    env = make_env(config.env_key, config.env, 1)
    outputs, generator = hashlib.sha256(), np.random.default_rng(0)
    total, steps = 0.0, 0
    for seed in (0, 1):
        env.reset(seed=[seed])
        while not (env.terminated | env.truncated).any():
            for array in (env.obs, env.state, env.action_mask):
                outputs.update(np.ascontiguousarray(array).tobytes())
            actions = [[generator.choice(np.flatnonzero(mask)) for mask in env.action_mask[0]]]
            env.step(np.array(actions))
            outputs.update(env.reward.tobytes())
            total, steps = total + float(env.reward[0]), steps + 1
    env.close()
    return {"version": config.results_versions()["env"], "sha256": outputs.hexdigest(), "return": total, "steps": steps}


def run(config: RunConfig) -> dict:
    """Return what a run comes to: hashes of everything, and the numbers of its first update."""
    trainer = Trainer(config)
    update, first = trainer.learner.update, {}

    def noting(batch):
        result = update(batch)
        if not first:
            first.update({name: float(value) for name, value in vars(result).items()}, env_steps=trainer.env_steps)
        return result

    trainer.learner.update = noting
    for _ in trainer.run():
        pass
    contents = {
        "tests": csv_text(trainer.tests).encode(),
        "entropy": csv_text([dict.fromkeys(ENTROPY_COLUMNS, math.nan) | row for row in trainer.entropies]).encode(),
        "weights": weights_bytes(trainer.learner.networks),
    }
    return {
        "versions": config.results_versions(),
        "counters": [trainer.env_steps, trainer.episodes, trainer.updates],
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "first_update": first,
    }


def record(parts: list[str], into: dict) -> dict:
    """Return what was recorded with the runs of these environments, or of env/algorithm, recorded on this machine.

    Raises:
        ValueError: the other runs of an environment were recorded on another type of machine.
    """
    torch.set_num_threads(1)
    all_configs = configs()
    here = machine(torch.device("cpu"))
    for part in parts:
        env, _, algorithm = part.partition("/")
        own = all_configs[env]
        if algorithm:
            if into["machines"][env] != here:
                raise ValueError(f"{part}: {env} was recorded on {into['machines'][env]}: record all of it.")
            into["runs"][env][algorithm] = run(own[algorithm])
            continue
        into["machines"][env] = here
        into["envs"][env] = play(own["vdn"])
        into["runs"][env] = {name: run(config) for name, config in own.items()}
    return into


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(ENVS)
    if unknown := {*chosen} - {*ENVS} - {f"{env}/{name}" for env in ENVS for name in names_on(env)}:
        sys.exit(f"error: found {', '.join(sorted(unknown))}; allowed: {', '.join(ENVS)}, alone or as env/algorithm.")
    recorded = json.loads(PATH.read_text()) if sys.argv[1:] else {"machines": {}, "envs": {}, "runs": {}}
    PATH.write_text(json.dumps(record(chosen, recorded), indent=1, sort_keys=True) + "\n")
    print(f"{PATH}: {', '.join(chosen)}.")
