"""Verify a published run: its files by their hashes, its identity, and its numbers by playing them again.

The final weights play the last test and the evaluation again, on the same episodes; the results must be bit-identical.
On request the whole run is trained again, which also verifies a run whose weights were not published. Bit-identical
results are promised on the same CPU type, device and versions only; elsewhere differences are reported. Only recorded
numbers are compared, since a later version may record more.
"""

import csv
import dataclasses
import io
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from marl_gre.config import EVALUATION_RESULTS_VERSION, EvaluateConfig, identity_of
from marl_gre.errors import BadInput, NotVerified
from marl_gre.jobs.evaluate import evaluate_run
from marl_gre.jobs.train import train
from marl_gre.metrics import TESTS, columns
from marl_gre.networks import pick_device, restore
from marl_gre.policy import Policy
from marl_gre.rollout import opened
from marl_gre.storage.files import csv_text, json_text, read_object, sha256
from marl_gre.storage.provenance import machine
from marl_gre.storage.run_dir import (
    PROVENANCE,
    RECORD,
    SUMS,
    WORK,
    FinishedRun,
    load_run,
    read_sums,
    require_run,
)
from marl_gre.storage.weights import WEIGHTS
from marl_gre.trainer import greedy_test

MAX_BYTES = 100_000_000
"""Bytes of a JSON file; larger ones are not read."""


def verify(
    run: Path | str, evaluation: Path | str | None = None, retrain: bool = False, work: Path | str = WORK
) -> Iterator[str]:
    """Check a published run; yield one line per check.

    Args:
        run: folder of the run.
        evaluation: the JSON file of its evaluation; None takes the pipeline's file if there is one.
        retrain: also train the run again from its recorded config, which takes as long as the run did.
        work: folder of the weights that were not published.

    Raises:
        BadInput: the folder holds no run that this version can read.
        NotVerified: a file has changed, or numbers that should be reproduced are not.
        EnvironmentFailed, NonFinite: the environment raised, or returned numbers that are not finite.
        RunInUse, StorageFailed, Stopped: while it trains again.
    """
    run, evaluation = Path(run), None if evaluation is None else Path(evaluation)
    yield _check_hashes(run)
    finished = load_run(run, work)
    yield _check_identity(run, finished)
    here, there = machine(pick_device(finished.config.train.device)), _read_json(run / PROVENANCE)
    other = [f"{name}: {there.get(name)} then, {value} now" for name, value in here.items() if there.get(name) != value]
    now = finished.config.results_versions()
    if now != finished.record["results_versions"]:
        other.append(f"results_versions: {finished.record['results_versions']} then, {now} now")
    yield f"machine: {'the same type, versions and threads' if not other else '; '.join(other)}"
    retrained = ""
    if retrain:
        retrained, weights = _retrain(run, finished, other)
        finished = dataclasses.replace(finished, weights=finished.weights or weights)
    if finished.weights is None:
        yield f"weights: not here, so nothing was played again; {SUMS} has their hash, which --retrain compares"
    else:
        yield _compare(f"{run}/{TESTS}, last row", *_last_test(run, finished), other)
    path = evaluation or _usual_evaluation(run, finished)
    if path is None:
        yield "evaluation: none found; name one with --evaluation"
    else:
        yield _check_evaluation(path, finished, other)
    if retrain:
        yield retrained


def _check_hashes(run: Path) -> str:
    require_run(run)
    try:
        listed = read_sums(run)
        names = [name for name in listed if name != WEIGHTS or (run / name).exists()]
        changed = [name for name in names if sha256(run / name) != listed[name]]
    except (OSError, ValueError) as error:
        raise NotVerified(f"{run}: a published file is missing or damaged ({error}).") from error
    if changed:
        raise NotVerified(f"{run}: {', '.join(changed)} changed since it was published ({SUMS} has another hash).")
    return f"files: {', '.join(names)} are what {SUMS} says"


def _check_identity(run: Path, finished: FinishedRun) -> str:
    record = finished.record
    if identity_of(record["config"], record.get("results_versions", {})) != record.get("config_hash"):
        raise NotVerified(f"{run}/train.json: config_hash is not the hash of the recorded config and versions.")
    return f"identity: {record['config_hash'][:12]} is the hash of the recorded config and results versions"


def _last_test(run: Path, finished: FinishedRun) -> tuple[dict, dict]:
    """Return the last row of tests.csv, and what playing that test again gives for it."""
    config, record = finished.config, finished.record
    copies = min(config.env.test_episodes, config.env.test_copies)
    try:
        published = _read_csv((run / TESTS).read_text())[-1]
        counters = {name: int(record[name]) for name in ("env_steps", "episodes", "updates")}
        with opened(config.env_key, config.env, copies) as env:
            tested = greedy_test(config, env, Policy(restore(finished, env).agent))
        (again,) = _read_csv(csv_text([{"due_steps": config.env.total_steps, **counters, **tested}]))
    except (KeyError, ValueError, IndexError, TypeError, csv.Error) as error:
        raise NotVerified(f"{run}: {TESTS} or {RECORD} is not of this version ({error!r}).") from error
    return published, again


def _check_evaluation(path: Path, finished: FinishedRun, other: list[str]) -> str:
    """Compare an evaluation with what evaluating again gives, where the weights are here."""
    published = _read_json(path)
    if published.get("weights_sha256") != finished.sums[WEIGHTS]:
        raise NotVerified(f"{path}: not made from the run's weights.")
    if not isinstance(published.get("episodes"), list) or not published["episodes"]:
        raise NotVerified(f"{path}: holds no episodes.")
    if finished.weights is None:
        return f"{path}: made from the run's weights, which are not here; not played again"
    version = published.pop("results_version", 1)
    if version != EVALUATION_RESULTS_VERSION:
        other = [*other, f"results version of the evaluation: {version} then, {EVALUATION_RESULTS_VERSION} now"]
    again = json.loads(json_text(evaluate_run(finished, EvaluateConfig(episodes=len(published["episodes"])))))
    return _compare(path, published, again, other)


def _retrain(run: Path, finished: FinishedRun, other: list[str]) -> tuple[str, dict | None]:
    """Train the run again; return a line about what came out, and the weights if they have the published hash.

    Raises:
        NotVerified: as `_judge`.
    """
    compared = [name for name in finished.sums if name != PROVENANCE]  # where and when: never the same
    with tempfile.TemporaryDirectory(prefix="marl-gre-") as folder:
        out = Path(folder) / "run"
        train(finished.config, out, Path(folder) / "work")
        again = load_run(out)
        different = [name for name in compared if again.sums[name] != finished.sums[name]]
        different = [name for name in different if not _holds_the_same(run / name, out / name)]
    weights = None if WEIGHTS in different else again.weights
    if not different:
        return f"{run}: trained again, {', '.join(compared)} bit-equal", weights
    return _judge(f"{run}: trained again, {', '.join(different)} differ", other), weights


def _holds_the_same(published: Path, again: Path) -> bool:
    """Return whether a file holds everything that was published; a later version may write more or no empty columns.

    Third parties' metrics are left out: a run's record does not name them.
    """
    ours = columns(published.name)
    try:
        if published.suffix == ".csv":
            then, now = _read_csv(published.read_text()), _read_csv(again.read_text())
            return len(then) == len(now) and all(
                cell == new.get(name, "")
                for old, new in zip(then, now, strict=True)
                for name, cell in old.items()
                if name in ours or name in new
            )
        if published.suffix == ".json":
            leaves = dict(_leaves(_read_json(again)))
            return all(name in leaves and leaves[name] == value for name, value in _leaves(_read_json(published)))
    except (OSError, ValueError, csv.Error) as error:
        raise NotVerified(f"{published}: cannot be compared ({error}).") from error
    return False


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
    different = [name for name, value in then.items() if name not in now or now[name] != value]
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


def _read_csv(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    """
    rows = list(csv.DictReader(io.StringIO(text), restkey="", restval=None))
    if any("" in row or None in row.values() for row in rows):
        raise ValueError("rows are cut short or too long")
    return rows


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        return read_object(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}).") from error
