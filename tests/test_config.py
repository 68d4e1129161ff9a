"""params.yaml: what is accepted, and one line for every mistake."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from marl_gre.config import RunConfig, load_params
from marl_gre.errors import BadInput
from marl_gre.params_file import MAX_PARAMS_BYTES

SHIPPED = Path(__file__).parent.parent / "params.yaml"
SMALL = """
run: {envs: [lumberjacks_v0], algorithms: [qmix], seeds: [0]}
envs:
  lumberjacks_v0: {env: lumberjacks_v0, total_steps: 100, test_interval_steps: 50}
algorithms:
  qmix: {mixer: qmix}
  gre: {mixer: qmix_gre, gre_lambda: 1e-4}
"""


def load(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_params(path)


def test_shipped_file_is_the_papers_protocol():
    params = load_params(SHIPPED)
    games = ["lumberjacks", "traffic_junction10"]
    assert params.run.envs[:2] == [f"{name}_v0" for name in games]  # as in ma-gym
    assert set(params.run.envs[2:]) <= {f"{name}_v1" for name in games} <= set(params.envs)  # as the paper says
    papers = ["vdn", "qmix", "qmix_simple", "qmix_gre_1e-3", "qmix_gre_5e-4", "qmix_gre_1e-4"]
    assert params.run.algorithms[: len(papers)] == papers
    assert params.algorithms["qmix_gre_1e-3_released"].mixer_config.gre_gradient == "released"
    assert params.run.seeds == [0, 1, 2, 3, 4]
    for name, env in params.envs.items():
        smac = env.env == "smac_v0"
        protocol = (2_000_000, 10_000, 32, 10_000) if smac else (200_000, 5_000, 100, 1_000)
        found = (env.total_steps, env.test_interval_steps, env.test_episodes, env.entropy_interval_steps)
        assert found == protocol, name
    lambdas = [params.algorithms[f"qmix_gre_{value}"].mixer_config.gre_lambda for value in ("1e-3", "5e-4", "1e-4")]
    assert lambdas == [1e-3, 5e-4, 1e-4]  # numbers, not the strings that PyYAML would read
    assert params.envs["traffic_junction10_v0"].kwargs == {"n_max": 10}


def test_shipped_train_section_spells_out_the_defaults():
    """A reader of params.yaml sees every constant, and they are fidelity's: PyMARL's."""
    train = load_params(SHIPPED).train
    assert train == type(train)()
    assert set(train.model_fields_set) == set(type(train).model_fields) - {*train.since_later}
    assert (train.lr, train.rmsprop_alpha, train.rmsprop_eps) == (5e-4, 0.99, 1e-5)
    assert (train.gamma, train.grad_norm_clip, train.batch_episodes, train.replay_episodes) == (0.99, 10, 32, 5000)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "mixer: qmix}",
            "mixer: qmxi}",
            r"qmix\.mixer: unknown mixer 'qmxi'; did you mean 'qmix'\? Allowed: vdn, qmix,",
        ),
        (
            "env: lumberjacks_v0",
            "env: lumberjack",
            r"envs\.lumberjacks_v0\.env: unknown environment 'lumberjack'; did you mean 'lumb",
        ),
        (
            "envs: [lumberjacks_v0]",
            "envs: [lumber]",
            r"run\.envs: unknown name 'lumber'; did you mean 'lumberjacks_v0'",
        ),
        ("algorithms: [qmix]", "algorithms: [qmax]", r"run\.algorithms: unknown name 'qmax'; did you mean 'qmix'"),
        ("seeds: [0]", "seeds: [0, 0]", r"run\.seeds: found 0 more than once"),
        ("seeds: [0]", "seeds: []", r"run\.seeds: found \[\]"),
        ("seeds: [0]", "seeds: [-1]", r"run\.seeds\.0: found -1; input should be greater than or equal to 0"),
        ("seeds: [0]", "seeds: [true]", r"run\.seeds\.0: found True"),
        ("seeds: [0]", "seeds: [0.5]", r"run\.seeds\.0: found 0\.5"),
        ("total_steps: 100", "total_steps: 0", r"total_steps: found 0; input should be greater than or equal to 1"),
        (
            "total_steps: 100",
            "total_steps: '100'",
            r"found '100'; a whole number is needed: write 100 without quotes\.$",
        ),
        ("total_steps: 100", "total_steps: 1e2", r"found 100\.0; a whole number is needed: write 100\.$"),
        ("seeds: [0]", "seeds: '0 1'", r"run\.seeds: found '0 1'; a list is needed: write \[0, 1\]\.$"),
        ("seeds: [0]", "seeds: {0: 1}", r"run\.seeds: found \{0: 1\}; a list is needed, such as \[0, 1\]\.$"),
        ("seeds: [0]", "seeds: 3", r"run\.seeds: found 3; a list is needed: write \[3\]\.$"),
        ("total_steps: 100", "total_step: 100", r"envs\.lumberjacks_v0\.total_step"),
        ("gre_lambda: 1e-4", "gre_lambda: -1", r"gre\.gre_lambda: found -1"),
        ("gre_lambda: 1e-4", "gre_lambda: '1e-4'", r"found '1e-4'; a number is needed: write 1e-4 without quotes\.$"),
        (
            "gre_lambda: 1e-4",
            "gre_lambda: 1, gre_lambda: 2",
            r'not valid YAML: line \d: found duplicate key "gre_\w+"\.$',
        ),
        ("mixer: qmix}", "mixer: QMIX}", r"unknown mixer 'QMIX'; did you mean 'qmix'\?"),
        ("gre_lambda: 1e-4", "gre_lambda: .nan", r"gre\.gre_lambda: found nan"),
        ("gre_lambda: 1e-4", "gre_lambda: .inf", r"gre\.gre_lambda: found inf"),
        ("gre_lambda: 1e-4", "lamb: 1e-4", r"gre\.lamb: unknown key 'lamb'.*gre_lambda"),
        (
            "gre_lambda: 1e-4",
            "gre_gradient: exakt",
            r"gre_gradient: found 'exakt'; input should be 'exact' or 'released'",
        ),
        (
            "gre_lambda: 1e-4",
            "hypernet_layers: 1.0",
            r"hypernet_layers: found 1\.0; a whole number is needed: write 1\.$",
        ),
        ("gre_lambda: 1e-4", "hypernet_layers: 3", r"hypernet_layers: found 3; input should be less than or eq"),
        ("gre:", "gre.5:", r"found the name 'gre\.5'; letters, digits"),
        ("mixer: qmix}", "}", r"qmix: found \{\}; a mapping with a key mixer"),
        ("mixer: qmix}", "mixer: 'math:sqrt'}", r"'math:sqrt', which is not a subclass of marl_gre\.mixers\.Mixer"),
        ("mixer: qmix}", "mixer: 'no_such_module:M'}", r"'no_such_module:M', which cannot be imported"),
    ],
)
def test_mistakes_name_the_key_what_was_found_and_what_is_allowed(tmp_path, old, new, expected):
    assert old in SMALL
    with pytest.raises(BadInput) as caught:
        load(tmp_path, SMALL.replace(old, new))
    message = str(caught.value)
    assert re.search(expected, message), message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_unknown_section_names_the_nearest(tmp_path):
    with pytest.raises(BadInput, match=r"trian: unknown key 'trian'; did you mean 'train'\?"):
        load(tmp_path, SMALL + "\ntrian: {lr: 1e-3}\n")
    with pytest.raises(BadInput, match=r"train\.leaning_rate: unknown key 'leaning_rate'; allowed: hidden_dim, optim"):
        load(tmp_path, SMALL + "\ntrain: {leaning_rate: 1e-3}\n")


@pytest.mark.parametrize(("key", "typo"), [("seeds", "sedes"), ("total_steps", "totl_steps"), ("env", "enf")])
def test_a_required_key_that_is_misspelled(tmp_path, key, typo):
    with pytest.raises(BadInput, match=rf"\.{typo}: unknown key '{typo}'; did you mean '{key}'\?"):
        load(tmp_path, SMALL.replace(f"{key}:", f"{typo}:"))


def test_a_batch_larger_than_the_replay(tmp_path):
    with pytest.raises(BadInput, match=r"train: batch_episodes is 32; it must be at most replay_episodes, 8"):
        load(tmp_path, SMALL + "\ntrain: {replay_episodes: 8}\n")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("hypernet_dim: as_qmi", "found 'as_qmi'; a whole number from 1 to 65536 or as_qmix is allowed"),
        ("hypernet_dim: 0", "found 0; a whole number from 1 to 65536 or as_qmix"),
        ("hypernet_dim: true", "found True; a whole number"),
        ("hypernet_dim: as_qmix, hypernet_layers: 1", "found as_qmix, which needs hypernet_layers: 2"),
    ],
)
def test_the_size_of_qmix_simple(tmp_path, settings, expected):
    with pytest.raises(BadInput, match=rf"qmix\.hypernet_dim: {expected}"):
        load(tmp_path, SMALL.replace("mixer: qmix}", f"mixer: qmix_simple, {settings}}}"))
    assert load(tmp_path, SMALL.replace("mixer: qmix}", "mixer: qmix_simple, hypernet_dim: as_qmix}"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"- 1\n",
        b"run: [",
        b"run: {a: 1, a: 2}",
        b"\xff\xfe\x00",
        b"run: !!python/object/apply:os.system ['true']",
        b"a: &a [*a]",
        b"\t",
        b"[" * 5000,
        b"x" * (MAX_PARAMS_BYTES + 1),
        SMALL.replace("seeds: [0]", "seeds: [0]\nseeds: [1]").encode(),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_broken_files_end_in_one_line(tmp_path, text):
    with pytest.raises(BadInput) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "params.yaml") in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        load_params(tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="cannot be read"):
        load_params(tmp_path)


def test_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    expected = load(tmp_path, SMALL)
    assert load(tmp_path, SMALL.replace("\n", "\r\n")) == expected
    assert load(tmp_path, b"\xef\xbb\xbf" + SMALL.encode()) == expected


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10**12), st.floats(), st.text(max_size=8), st.just([]), st.just({})
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(key="lr", value=":0")
@given(key=st.sampled_from(["lr", "gamma", "batch_episodes", "device", "timeout_is_terminal", "lrr"]), value=VALUES)
def test_any_value_is_accepted_or_explained(tmp_path, key, value):
    from ruamel.yaml import YAML

    path = tmp_path / "params.yaml"
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump({**YAML(typ="safe", pure=True).load(SMALL), "train": {key: value}}, file)
    explained, train = None, None
    try:
        train = load_params(path).train
    except BadInput as error:
        explained = str(error)
    if explained is not None:
        lines = path.read_text().splitlines()
        (line,) = [number for number, text in enumerate(lines, 1) if f"{key}:" in text]
        assert key in explained or f"not valid YAML: line {line}: " in explained  # ruamel writes :0 and cannot read it
        assert "\n" not in explained
    else:
        accepted = getattr(train, key)
        assert accepted == value
        assert isinstance(value, bool) == isinstance(accepted, bool)
        assert not isinstance(accepted, float) or math.isfinite(accepted)


def test_identity_is_the_config_and_nothing_else(tmp_path):
    base = load(tmp_path, SMALL).run_config("lumberjacks_v0", "qmix", 0)
    assert base.identity() == load(tmp_path, SMALL).run_config("lumberjacks_v0", "qmix", 0).identity()
    changes = [
        (SMALL.replace("total_steps: 100", "total_steps: 101"), "qmix", 0),
        (SMALL + "\ntrain: {lr: 1e-3}\n", "qmix", 0),
        (SMALL, "gre", 0),
        (SMALL, "qmix", 1),
    ]
    identities = {load(tmp_path, text).run_config("lumberjacks_v0", a, s).identity() for text, a, s in changes}
    assert len(identities | {base.identity()}) == 5
    titled = load(tmp_path, SMALL + "\nreport: {titles: {qmix: Q}}\n").run_config("lumberjacks_v0", "qmix", 0)
    assert titled.identity() == base.identity()


def test_a_record_gives_the_config_back(tmp_path):
    config = load(tmp_path, SMALL).run_config("lumberjacks_v0", "gre", 3)
    record = {"env": "lumberjacks_v0", "algorithm": "gre", "seed": 3, "config": config.resolved()}
    assert RunConfig.from_record(record, Path("run")) == config
    with pytest.raises(BadInput, match="^run: the recorded config cannot be used"):
        RunConfig.from_record({**record, "config": {}}, Path("run"))


def test_runs_that_are_not_declared(tmp_path):
    params = load(tmp_path, SMALL)
    for arguments in (("x", "qmix", 0), ("lumberjacks_v0", "x", 0), ("lumberjacks_v0", "qmix", -1)):
        with pytest.raises(BadInput, match="found|unknown"):
            params.run_config(*arguments)
