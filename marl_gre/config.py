"""The frozen models of params.yaml and the identity of a run; params_file.py reads the file."""

import functools
import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import marl_gre_envs
from marl_gre import losses, regularisers
from marl_gre.agents import AGENTS, GRU_RESULTS_VERSION
from marl_gre.data import EnvSizes
from marl_gre.errors import BadInput
from marl_gre.mixers import MIXERS, Mixer, MixerConfig
from marl_gre.params_file import explain, first_lines, read_mapping
from marl_gre.regularisers import GradientEntropy
from marl_gre.section import MAX_WIDTH, Section
from marl_gre.third_party import imported
from marl_gre_envs.checks import one_of

if TYPE_CHECKING:
    from marl_gre.agents.base import Agent

Model = TypeVar("Model", bound=BaseModel)

TRAINER_RESULTS_VERSION = 1
"""Raised whenever a code change alters training results; every run then becomes stale."""

TESTING_RESULTS_VERSION = 1
"""Raised whenever a code change alters tests.csv, entropy.csv or training.csv; every run then becomes stale."""

EVALUATION_RESULTS_VERSION = 1
"""Raised whenever a code change alters the evaluation of final policies; only evaluations then become stale."""

OTHER_KEYS = ("mixer", "agent", "loss_weights", "central", "loss_weight")
"""Keys of an algorithm or of its central networks that are no mixer's own."""

THIRD_PARTY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""package.module:name"""


class EnvConfig(Section):
    """One entry of `envs`: an environment with its protocol."""

    env: str = Field(
        description="an environment of this package, or package.module:factory of any PettingZoo parallel environment"
    )
    kwargs: dict[str, Any] = Field({}, description="keyword arguments of the environment's constructor")
    total_steps: int = Field(ge=1, description="environment steps of a training run")
    test_interval_steps: int = Field(ge=1, description="environment steps between greedy tests")
    test_episodes: int = Field(100, ge=1, description="greedy episodes per test")
    test_copies: int = Field(
        100, ge=1, description="parallel environments in tests and evaluations; lower it where each is a whole game"
    )
    entropy_interval_steps: int = Field(1000, ge=1, description="environment steps between entropy measurements")

    @field_validator("env")
    @classmethod
    def _known(cls, env: str) -> str:
        if env not in marl_gre_envs.ENVS and not THIRD_PARTY.fullmatch(env):
            raise ValueError(one_of("environment", env, [*marl_gre_envs.ENVS, "package.module:factory"]))
        return env

    @field_validator("kwargs")
    @classmethod
    def _plain(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        _require_plain(kwargs)
        return kwargs


class PartConfig(Section):
    """A part of an algorithm: its name, and keyword arguments if it has any."""

    name: str
    options: dict[str, Any] = Field({})

    def resolved(self) -> str | dict[str, Any]:
        """Return the part as params.yaml writes it."""
        return {"name": self.name, **self.options} if self.options else self.name


class CentralConfig(Section):
    """Central networks that provide the targets (`Networks.central`): a mixer with its keys, over its own agents."""

    mixer: str
    mixer_config: MixerConfig
    loss_weight: float = Field(1.0, ge=0, description="weight of the central networks' TD loss")

    @property
    def mixer_class(self) -> type[Mixer]:
        """The mixer's class."""
        return find_mixer(self.mixer)

    def resolved(self) -> dict[str, Any]:
        """Return the entry as plain data, the mixer's defaults filled in."""
        return {"mixer": self.mixer, "loss_weight": self.loss_weight, **self.mixer_config.model_dump()}


class AlgorithmConfig(BaseModel):
    """One entry of `algorithms`: a mixer with its own keys, and other parts where they are named.

    Absent parts are left out of every record, so adding a kind of part does not alter existing entries.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    mixer: str
    mixer_config: MixerConfig
    agent: PartConfig | None = None
    loss_weights: PartConfig | None = None
    gradient_entropy: GradientEntropy | None = None
    central: CentralConfig | None = None

    @property
    def mixer_class(self) -> type[Mixer]:
        """The mixer's class."""
        return find_mixer(self.mixer)

    def make_agent(self, sizes: EnvSizes, hidden_dim: int) -> "Agent":
        """Return an agent with new weights."""
        part = self.agent or PartConfig(name="gru")
        return find_agent(part.name)(sizes, hidden_dim, **part.options)

    def make_loss_weights(self) -> losses.LossWeights:
        """Return the function that weights the steps of the loss."""
        part = self.loss_weights or PartConfig(name="uniform")
        return functools.partial(find_loss_weights(part.name), **part.options)

    @property
    def third_parties(self) -> list[str]:
        """The names of its parts that are not of this package."""
        mixers = [self.mixer, *([] if self.central is None else [self.central.mixer])]
        named = [part.name for part in (self.agent, self.loss_weights) if part is not None]
        return [name for name in (*mixers, *named) if ":" in name]

    @property
    def regularise(self) -> regularisers.Regularise:
        """The function that mixes and regularises: the mixer's own, or one with gradient entropy regularisation."""
        return self.gradient_entropy or regularisers.own

    def resolved(self) -> dict[str, Any]:
        """Return the entry as plain data, the mixer's defaults filled in."""
        parts = {"agent": self.agent, "loss_weights": self.loss_weights, "central": self.central}
        named: dict[str, Any] = {key: part.resolved() for key, part in parts.items() if part is not None}
        if self.gradient_entropy is not None:
            named |= self.gradient_entropy.model_dump()
        return {"mixer": self.mixer, **named, **self.mixer_config.model_dump()}

    def results_versions(self) -> dict[str, int]:
        """Return the results version of the mixer and of every other named part.

        Parts that an algorithm has without naming them are left out at their first version: runs from before they were
        counted keep their identity.
        """
        versions = {"mixer": self.mixer_class.results_version}
        if self.agent is not None:
            versions["agent"] = find_agent(self.agent.name).results_version
        elif GRU_RESULTS_VERSION > 1:
            versions["agent"] = GRU_RESULTS_VERSION
        built_in = GradientEntropy.model_fields.keys() <= type(self.mixer_config).model_fields.keys()
        if built_in and GradientEntropy.results_version > 1:
            versions["gradient_entropy"] = GradientEntropy.results_version
        if self.loss_weights is not None:
            versions["loss_weights"] = getattr(find_loss_weights(self.loss_weights.name), "results_version", 1)
        if self.gradient_entropy is not None:
            versions["gradient_entropy"] = GradientEntropy.results_version
        if self.central is not None:
            versions["central"] = self.central.mixer_class.results_version
        return versions


class TrainConfig(Section):
    """The `train` section: everything that all algorithms share; the defaults are PyMARL's."""

    since_later: ClassVar[tuple[str, ...]] = ("optimizer", "td_lambda")
    """Options that older runs lack; at their defaults they are left out of every record."""

    hidden_dim: int = Field(64, ge=1, le=MAX_WIDTH, description="hidden width of the agents' network")
    optimizer: Literal["rmsprop", "adam"] = Field("rmsprop", description="Adam has torch's default constants")
    lr: float = Field(5e-4, gt=0, le=1, description="learning rate")
    rmsprop_alpha: float = Field(0.99, ge=0, lt=1, description="decay of RMSprop's average of squared gradients")
    rmsprop_eps: float = Field(1e-5, gt=0, description="added to the root of that average, as in torch")
    grad_norm_clip: float = Field(10.0, gt=0, description="maximum norm of the gradient, over all parameters together")
    gamma: float = Field(0.99, ge=0, le=1, description="discount factor per environment step")
    td_lambda: float = Field(0.0, ge=0, le=1, description="lambda of TD(lambda) targets; 0 gives one-step targets")
    epsilon_start: float = Field(1.0, ge=0, le=1, description="probability of a random action at the first step")
    epsilon_finish: float = Field(0.05, ge=0, le=1, description="probability of a random action after annealing")
    epsilon_anneal_steps: int = Field(
        50_000, ge=1, description="environment steps over which epsilon falls linearly from start to finish"
    )
    replay_episodes: int = Field(
        5_000, ge=1, description="capacity of the replay buffer; the oldest episode is dropped first"
    )
    batch_episodes: int = Field(
        32, ge=1, description="episodes in a batch; the first update waits until this many have been played"
    )
    episodes_per_round: int = Field(
        1, ge=1, le=1024, description="episodes played in parallel, with the same weights, between updates"
    )
    updates_per_round: int = Field(1, ge=1, description="gradient steps after each round of episodes")
    target_update_episodes: int = Field(200, ge=1, description="episodes between updates of the target networks")
    timeout_is_terminal: bool = Field(
        True,
        description="no bootstrapping at the time limit, as in PyMARL's configurations",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where updates are computed; auto is the CPU")

    def resolved(self) -> dict[str, Any]:
        """Return the section as plain data, defaults filled in."""
        fields = type(self).model_fields
        later = {name for name in self.since_later if getattr(self, name) == fields[name].default}
        return self.model_dump(exclude=later)

    @model_validator(mode="after")
    def _batch_fits(self) -> "TrainConfig":
        if self.batch_episodes > self.replay_episodes:
            raise ValueError(
                f"batch_episodes is {self.batch_episodes}; it must be at most replay_episodes, {self.replay_episodes}"
            )
        return self


class EvaluateConfig(Section):
    """The `evaluate` section."""

    episodes: int = Field(100, ge=1, description="greedy episodes of the final policy")


class ReportConfig(Section):
    """The `report` section: no key here makes a run stale."""

    bootstrap_resamples: int = Field(10_000, ge=100, le=1_000_000, description="resamples of each bootstrap interval")
    confidence: float = Field(0.95, gt=0, lt=1, description="coverage of all intervals")
    note: str = Field("", description="a sentence printed on every table and figure, for instance on a side study's")
    titles: dict[str, str] = Field({}, description="names of environments and algorithms in tables and figures, by key")

    def title(self, key: str) -> str:
        """Return the name of an entry of `envs` or `algorithms` in figures and tables."""
        return self.titles.get(key, key)


class RunSelection(Section):
    """The `run` section: the pipeline runs every combination of these."""

    envs: Annotated[list[str], Field(min_length=1, description="keys of `envs`")]
    algorithms: Annotated[list[str], Field(min_length=1, description="keys of `algorithms`")]
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1, description="one run for each; 0 or more")
    ]
    order: Literal["seeds", "envs"] = Field(
        "seeds",
        description="order of the runs: `seeds` finishes a seed on all environments before the next seed; `envs` "
        "finishes an environment before the next",
    )

    @field_validator("envs", "algorithms", "seeds")
    @classmethod
    def _unique(cls, values: list) -> list:
        repeated = sorted({str(value) for value in values if values.count(value) > 1})
        if repeated:
            raise ValueError(f"found {', '.join(repeated)} more than once; name each once")
        return values


class Params(Section):
    """All of params.yaml."""

    run: RunSelection
    envs: dict[str, EnvConfig]
    algorithms: dict[str, AlgorithmConfig]
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    metrics: list[str] = Field([], description="package.module:function of each further column of training.csv")

    @field_validator("metrics")
    @classmethod
    def _third_party(cls, names: list[str]) -> list[str]:
        for name in names:
            if not THIRD_PARTY.fullmatch(name):
                raise ValueError(f"found {name!r}; package.module:name of a function is needed")
        return names

    @field_validator("algorithms", mode="before")
    @classmethod
    def _split_algorithms(cls, entries: Any) -> Any:
        if not isinstance(entries, dict):
            raise ValueError("a mapping from names to algorithms is needed")
        return {name: _algorithm(name, entry) for name, entry in entries.items()}

    @model_validator(mode="after")
    def _declared(self) -> "Params":
        for kind, declared in (("envs", self.envs), ("algorithms", self.algorithms)):
            for name in declared:
                if not _is_key(name):
                    raise ValueError(
                        f"{kind}: found the name {name!r}; letters, digits, '_' and '-' are allowed (DVC reads a "
                        "dot as a path): rename it"
                    )
            for name in getattr(self.run, kind):
                if not declared:
                    raise ValueError(f"run.{kind}: found {name!r}, but `{kind}` is empty; add an entry of that name")
                if name not in declared:
                    raise ValueError(f"run.{kind}: {one_of('name', name, declared)}")
        return self

    def run_config(self, env: str, algorithm: str, seed: int) -> "RunConfig":
        """Return the resolved config of one run.

        Raises:
            BadInput: env or algorithm is not declared, or the seed is not in 0 to 2**32 - 1.
        """
        if env not in self.envs:
            raise BadInput(f"env: {one_of('name', env, self.envs)}")
        if algorithm not in self.algorithms:
            raise BadInput(f"algorithm: {one_of('name', algorithm, self.algorithms)}")
        if not 0 <= seed < 2**32:
            raise BadInput(f"seed: found {seed}; 0 to 4294967295 is allowed.")
        return RunConfig(
            env_key=env,
            algorithm_key=algorithm,
            seed=seed,
            env=self.envs[env],
            algorithm=self.algorithms[algorithm],
            train=self.train,
            metrics=tuple(self.metrics),
        )


class RunConfig(BaseModel):
    """Everything that determines the numbers of one training run, and the further metrics that it records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env_key: str
    algorithm_key: str
    seed: int
    env: EnvConfig
    algorithm: AlgorithmConfig
    train: TrainConfig
    metrics: tuple[str, ...] = ()  # third parties'; they move no number, so they are no part of the identity

    @classmethod
    def from_record(cls, record: dict[str, Any], where: Path) -> "RunConfig":
        """Return the config that a run's train.json recorded; `where` is the run's folder, for the message.

        Raises:
            BadInput: this version cannot run that record.
        """
        try:
            config = record["config"]
            return cls(
                env_key=record["env"],
                algorithm_key=record["algorithm"],
                seed=record["seed"],
                env=EnvConfig.model_validate(config["env"]),
                algorithm=_algorithm(record["algorithm"], config["algorithm"]),
                train=TrainConfig.model_validate(config["train"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{where}: the recorded config cannot be used: {first_lines(error)}") from error

    def resolved(self) -> dict[str, Any]:
        """Return the config as plain data, defaults filled in."""
        return {
            "env": self.env.model_dump(),
            "algorithm": self.algorithm.resolved(),
            "train": self.train.resolved(),
            "seed": self.seed,
        }

    def results_versions(self) -> dict[str, int]:
        """Return the results version of each part that affects this run's numbers.

        Raises:
            BadInput: a third party's environment cannot be imported.
        """
        try:
            env_version = marl_gre_envs.results_version(self.env.env)
        except ValueError as error:
            raise BadInput(f"envs.{self.env_key}.env: {error}") from error
        versions = {
            "trainer": TRAINER_RESULTS_VERSION,
            "env": env_version,
            **self.algorithm.results_versions(),
        }
        if TESTING_RESULTS_VERSION > 1:  # left out at first: runs from before it was counted keep their identity
            versions["testing"] = TESTING_RESULTS_VERSION
        return versions

    def identity(self) -> str:
        """Return the run's identity: a hash of the resolved config and the results versions, not of time or host.

        Raises:
            BadInput: the environment, the mixer or another part cannot be imported.
        """
        return identity_of(self.resolved(), self.results_versions())


def identity_of(resolved: dict[str, Any], results_versions: dict[str, int]) -> str:
    """Return the identity of a run with this resolved config and these results versions."""
    content = {"config": resolved, "results_versions": results_versions}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def find_mixer(name: str) -> type[Mixer]:
    """Return the mixer class of that name: a key of MIXERS or package.module:Class.

    Raises:
        ValueError: there is none; the message suggests the nearest name.
    """
    found = _find("mixer", name, MIXERS, "package.module:Class")
    if not (isinstance(found, type) and issubclass(found, Mixer)):
        raise ValueError(f"found {name!r}, which is not a subclass of marl_gre.mixers.Mixer")
    if not (isinstance(found.Config, type) and issubclass(found.Config, MixerConfig)):
        raise ValueError(f"found {name!r}, whose Config is not a subclass of marl_gre.mixers.MixerConfig")
    if taken := reserved_fields(found.Config):
        raise ValueError(f"found {name!r}, whose Config has a field {taken[0]}, a key of every algorithm: rename it")
    return found


def reserved_fields(config: type[MixerConfig]) -> list[str]:
    """Return the fields of a mixer's config whose names are other keys of an algorithm."""
    return [field for field in config.model_fields if field in OTHER_KEYS]


def find_agent(name: str) -> "type[Agent]":
    """Return the agent class of that name: a key of AGENTS or package.module:Class.

    Raises:
        ValueError: there is none; the message suggests the nearest name.
    """
    from marl_gre.agents.base import Agent  # with it comes compiled code, which most commands do without

    found = _find("agent", name, AGENTS, "package.module:Class")
    if isinstance(found, str):
        return find_agent(found)
    if not (isinstance(found, type) and issubclass(found, Agent)):
        raise ValueError(f"found {name!r}, which is not a subclass of marl_gre.agents.base.Agent")
    return found


def find_loss_weights(name: str) -> Callable[..., Any]:
    """Return the function of that name: a key of LOSS_WEIGHTS or package.module:function.

    Raises:
        ValueError: there is none; the message suggests the nearest name.
    """
    found = _find("loss weight", name, losses.LOSS_WEIGHTS, "package.module:function")
    if not callable(found):
        raise ValueError(f"found {name!r}, which is not a function")
    return cast(Callable[..., Any], found)


def _find(kind: str, name: str, known: Mapping[str, object], form: str) -> object:
    """Return what a name stands for: an entry of `known`, or what it imports in the form package.module:name."""
    if name in known:
        return known[name]
    if not THIRD_PARTY.fullmatch(name):
        raise ValueError(one_of(kind, name, [*known, form]))
    return imported(name, form)


def load_params(path: str | Path) -> Params:
    """Read and check a params file.

    Raises:
        BadInput: the file is missing or unreadable, is not YAML, or holds a key or value that is not allowed; the
            message is one line with the key's path.
    """
    path = Path(path)
    content = read_mapping(path, Params.model_fields)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise BadInput(f"{path}: {explain(error, Params)}") from error


def _algorithm(name: str, entry: Any) -> Any:
    """Split an entry of `algorithms` into the names of its parts and the mixer's own keys."""
    if isinstance(entry, AlgorithmConfig):
        return entry
    if not isinstance(entry, dict) or not isinstance(entry.get("mixer"), str):
        raise ValueError(f"{name}: found {entry!r}; a mapping with a key mixer is needed, one of {', '.join(MIXERS)}")
    mixer = _mixer(name, entry["mixer"])
    parts = {
        "agent": _part(f"{name}.agent", entry.get("agent"), find_agent, n_inputs=2),  # sizes, hidden_dim
        "loss_weights": _part(f"{name}.loss_weights", entry.get("loss_weights"), find_loss_weights, n_inputs=1),
        "central": _central(f"{name}.central", entry.get("central")),
    }
    shared = [key for key in GradientEntropy.model_fields if key not in mixer.Config.model_fields]
    entropy = {key: entry[key] for key in shared if key in entry}
    own = {key: value for key, value in entry.items() if key not in ("mixer", *parts, *entropy)}
    allowed = ["mixer", *parts, *shared]
    config = _checked(mixer.Config, own, name, allowed)
    require_recordable(config, name)
    gradient_entropy = _checked(GradientEntropy, entropy, name, allowed) if entropy else None
    return AlgorithmConfig(mixer=entry["mixer"], mixer_config=config, gradient_entropy=gradient_entropy, **parts)


def _mixer(key: str, name: str) -> type[Mixer]:
    """Return the mixer class of that name; where there is none, the message begins with the key."""
    try:
        return find_mixer(name)
    except ValueError as error:
        raise ValueError(f"{key}.mixer: {error}") from error


def _checked(model: type[Model], values: dict[str, Any], key: str, allowed: Sequence[str]) -> Model:
    """Return values as a model; where they do not fit, the message begins with the key.

    Args:
        model: the model.
        values: of its fields.
        key: where they stand.
        allowed: further keys that may stand there.

    Raises:
        ValueError: they do not fit.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{key}.{explain(error, model, allowed)}") from error


def require_recordable(config: MixerConfig, key: str) -> None:
    """Check that the JSON of a run's record gives a mixer's config back.

    Args:
        config: the config.
        key: where it stands, for messages.

    Raises:
        ValueError: it does not.
    """
    kept = config.model_dump()
    try:
        _require_plain(kept)
        if type(config).model_validate(json.loads(json.dumps(kept))) == config:
            return
        problem = "it comes back changed"
    except ValidationError as error:
        problem = explain(error, type(config)).removesuffix(".")
    except ValueError as error:
        problem = str(error)
    name = f"{type(config).__module__}.{type(config).__qualname__}"
    raise ValueError(
        f"{key}: {name} does not survive a run's record: {problem}; its fields may be text, booleans, finite "
        "numbers, and lists and mappings of these"
    )


def _central(key: str, entry: Any) -> CentralConfig | None:
    """Return the central networks of an algorithm, given as the name of a mixer or a mapping with its keys."""
    if entry is None:
        return None
    entry = {"mixer": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("mixer"), str):
        raise ValueError(f"{key}: found {entry!r}; a mixer's name is needed, or a mapping with mixer and its keys")
    mixer = _mixer(key, entry["mixer"])
    if mixer.mix_and_regularise is not Mixer.mix_and_regularise:
        raise ValueError(
            f"{key}.mixer: found {entry['mixer']!r}, which has a regulariser (mix_and_regularise); central networks "
            "train on their TD loss alone: use a mixer without one"
        )
    allowed = ("mixer", "loss_weight")
    config = _checked(mixer.Config, {name: entry[name] for name in entry if name not in allowed}, key, allowed)
    require_recordable(config, key)
    others = {name: entry[name] for name in allowed if name in entry}
    return _checked(CentralConfig, {**others, "mixer_config": config}, key, allowed)


def _part(key: str, entry: Any, find: Callable[[str], Callable[..., Any]], n_inputs: int) -> PartConfig | None:
    """Return a part of an algorithm, given as a name or as a mapping of `name` and its options, after finding it."""
    if entry is None:
        return None
    if not isinstance(entry, str) and not (isinstance(entry, dict) and isinstance(entry.get("name"), str)):
        raise ValueError(f"{key}: found {entry!r}; a name is needed, or a mapping with the key name and its options")
    options = {} if isinstance(entry, str) else {option: value for option, value in entry.items() if option != "name"}
    try:
        _require_plain(options)
        part = PartConfig(name=entry if isinstance(entry, str) else entry["name"], options=options)
        found = find(part.name)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    try:
        inspect.signature(found).bind(*[None] * n_inputs, **options)
    except (TypeError, ValueError) as error:  # ValueError: compiled functions may have no signature
        raise ValueError(f"{key}: {part.name} does not take these options ({error})") from error
    return part


def _require_plain(value: Any, place: str = "") -> None:
    """Check that nested values are what a run's record holds unchanged: JSON.

    Raises:
        ValueError: a number is not finite, a key is no text, or a value is of another type, as YAML's dates are.
    """
    allowed = "text in quotes, true, false, null and finite numbers are allowed"
    match value:
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise ValueError(f"{place}found the key {key!r}; keys are text: quote it")
                _require_plain(item, f"{place}{key}: ")
        case list() | tuple():
            for index, item in enumerate(value):
                _require_plain(item, f"{place}{index}: ")
        case float() if not math.isfinite(value):
            raise ValueError(f"{place}found {value!r}; {allowed}")
        case None | str() | bool() | int() | float():
            pass
        case _:
            raise ValueError(f"{place}found {value!r}, a {type(value).__name__}; {allowed}")


def _is_key(name: Any) -> bool:
    return isinstance(name, str) and name != "" and all(c.isascii() and (c.isalnum() or c in "_-") for c in name)
