"""Whether a published run is what it was: its files by their hashes, its identity, and its numbers by playing again.

The last test of a run is played by its published weights, and so is its evaluation: both are played again on the same
episodes and must come out bit for bit; if asked for, the whole run is trained again too. That is promised on the same
CPU type, device and versions only; elsewhere the difference is reported.
"""

import csv
import hashlib
import io
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from marl_gre.config import EvaluateConfig
from marl_gre.errors import BadInput, NotVerified
from marl_gre.jobs.evaluate import evaluate_run
from marl_gre.jobs.train import train
from marl_gre.networks import pick_device
from marl_gre.storage.checkpoint import sha256
from marl_gre.storage.run_dir import PUBLISHED, SUMS, FinishedRun, csv_text, json_text, load_run, machine, read_sums
from marl_gre.trainer import Trainer

MAX_BYTES = 100_000_000
"""A JSON or CSV file larger than this is not read."""


def verify(run: Path, evaluation: Path | None = None, retrain: bool = False) -> Iterator[str]:
    """Check a published run; yield one line about each thing checked.

    Args:
        run: folder of the run.
        evaluation: the JSON file of its evaluation; None looks where the pipeline puts it and does without if there is
            none.
        retrain: also train it again from its recorded config, which takes as long as the run did.

    Raises:
        BadInput: there is no run, or not one that this version can read.
        NotVerified: a file changed, or numbers do not come out although they should.
    """
    torch.set_num_threads(1)
    yield _check_hashes(run)
    finished = load_run(run)
    yield _check_identity(run, finished)
    here, there = machine(pick_device(finished.config.train.device)), _read_json(run / "provenance.json")
    other = [f"{name}: {there.get(name)} then, {value} now" for name, value in here.items() if there.get(name) != value]
    now = finished.config.results_versions()
    if now != finished.record["results_versions"]:
        other.append(f"results_versions: {finished.record['results_versions']} then, {now} now")
    yield f"machine: {'the same type, versions and threads' if not other else '; '.join(other)}"
    yield _compare(f"{run}/tests.csv, last row", *_last_test(run, finished), other)
    path = evaluation or _usual_evaluation(run, finished)
    if path is None:
        yield "evaluation: none found; name one with --evaluation"
    else:
        yield _compare(path, *_evaluation(path, finished), other)
    if retrain:
        yield _retrain(run, finished, other)


def _check_hashes(run: Path) -> str:
    if not (run / "train.json").is_file():
        raise BadInput(f"{run}: no finished run here; name a folder with train.json.")
    try:
        listed = read_sums(run)
        changed = [name for name in PUBLISHED if sha256(run / name) != listed[name]]
    except (OSError, ValueError) as error:
        raise NotVerified(f"{run}: a published file is missing or damaged ({error}).") from error
    if changed:
        raise NotVerified(f"{run}: {', '.join(changed)} changed since it was published ({SUMS} has another hash).")
    return f"files: {', '.join(PUBLISHED)} are what {SUMS} says"


def _check_identity(run: Path, finished: FinishedRun) -> str:
    record = finished.record
    content = {"config": record["config"], "results_versions": record.get("results_versions")}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(canonical.encode()).hexdigest() != record.get("config_hash"):
        raise NotVerified(f"{run}/train.json: config_hash is not the hash of the recorded config and versions.")
    return f"identity: {record['config_hash'][:12]} is the hash of the recorded config and results versions"


def _last_test(run: Path, finished: FinishedRun) -> tuple[dict, dict]:
    """Return the last row of tests.csv, and what playing that test again gives for it."""
    try:
        rows = list(csv.DictReader(io.StringIO((run / "tests.csv").read_text())))
        trainer = Trainer(finished.config)
        finished.load_into(trainer.learner.agent, trainer.learner.mixer)
        trainer.env_steps, trainer.episodes, trainer.updates = (
            int(finished.record[name]) for name in ("env_steps", "episodes", "updates")
        )
        trainer.test_if_due()
        (again,) = csv.DictReader(io.StringIO(csv_text(trainer.tests)))
        return rows[-1], again
    except (KeyError, ValueError, IndexError, TypeError, csv.Error) as error:
        raise NotVerified(f"{run}: tests.csv or train.json is not of this version ({error!r}).") from error


def _evaluation(path: Path, finished: FinishedRun) -> tuple[dict, dict]:
    """Return an evaluation, and what evaluating again gives."""
    published = _read_json(path)
    if published.get("weights_sha256") != finished.sums["weights.safetensors"]:
        raise NotVerified(f"{path}: made from other weights than the run's.")
    if not isinstance(published.get("episodes"), list) or not published["episodes"]:
        raise NotVerified(f"{path}: holds no episodes.")
    again = json.loads(json_text(evaluate_run(finished, EvaluateConfig(episodes=len(published["episodes"])))))
    return published, again


def _retrain(run: Path, finished: FinishedRun, other: list[str]) -> str:
    """Train the run again and return a line about what came out; raise as `_judge` does."""
    with tempfile.TemporaryDirectory(prefix="marl-gre-") as folder:
        out = Path(folder) / "run"
        train(finished.config, out, Path(folder) / "work")
        again = read_sums(out)
    compared = [name for name in PUBLISHED if name != "provenance.json"]  # where and when: never the same
    different = [name for name in compared if again[name] != finished.sums[name]]
    if not different:
        return f"{run}: trained again, {', '.join(compared)} bit-equal"
    return _judge(f"{run}: trained again, {', '.join(different)} differ", other)


def _usual_evaluation(run: Path, finished: FinishedRun) -> Path | None:
    """Return results/evaluation/ENV/ALGORITHM/SEED.json of a run in results/runs/ENV/ALGORITHM/SEED, if it is there."""
    key = (finished.config.env_key, finished.config.algorithm_key, str(finished.config.seed))
    place = run.resolve()
    if place.parts[-4:] != ("runs", *key):
        return None
    path = place.parents[3] / "evaluation" / key[0] / key[1] / f"{key[2]}.json"
    return path if path.is_file() else None


def _compare(what: Path | str, published: dict, again: dict, other: list[str]) -> str:
    """Return a line about equality; raise as `_judge` does."""
    then, now = dict(_leaves(published)), dict(_leaves(again))
    different = [name for name in then.keys() | now.keys() if name not in then or then.get(name) != now.get(name)]
    if not different:
        return f"{what}: played again, {len(then)} values bit-equal"
    largest = max((_distance(then.get(name), now.get(name)), name) for name in different)
    text = f"{what}: {len(different)} of {len(then)} values differ, most at {largest[1]} (by {largest[0]:g})"
    return _judge(text, other)


def _judge(difference: str, other: list[str]) -> str:
    """Return the line about a difference where something else may explain it.

    Raises:
        NotVerified: nothing that may change bits is different here.
    """
    if not other:
        raise NotVerified(f"{difference}, although machine, versions and threads are the same.")
    return f"{difference}; bit equality is not promised here (see machine)"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Return all values of nested JSON by their path."""
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _distance(one: Any, two: Any) -> float:
    try:
        distance = abs(float(one) - float(two))
    except (TypeError, ValueError):
        return math.inf
    return distance if distance == distance else math.inf


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path}: cannot be read (an object is needed).")
    return content
