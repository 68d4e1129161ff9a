"""Z1-Z3: values, texts and command lines that nobody should write; each is accepted rightly or refused in one line."""

import contextlib
import io
import math
import random
import sys
import time
from pathlib import Path

import pytest
from harness import count
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from marl_gre.cli import main
from marl_gre.config import EnvConfig, EvaluateConfig, ReportConfig, TrainConfig, load_params
from marl_gre.errors import BadInput
from marl_gre.mixers import MIXERS
from marl_gre.params_file import MAX_PARAMS_BYTES

SHIPPED = (Path(__file__).parents[2] / "params.yaml").read_text()

# What each key may hold, written down a second time and independently of marl_gre.config.
WHOLE, NUMBER = "whole", "number"
ALLOWED = {
    ("envs", "e", "total_steps"): (WHOLE, 1, None),
    ("envs", "e", "test_interval_steps"): (WHOLE, 1, None),
    ("envs", "e", "test_episodes"): (WHOLE, 1, None),
    ("envs", "e", "test_copies"): (WHOLE, 1, None),
    ("envs", "e", "entropy_interval_steps"): (WHOLE, 1, None),
    ("envs", "e", "env"): ("one of", {"lumberjacks_v0", "lumberjacks_v1", "traffic_junction_v0", "traffic_junction_v1",
                                      "smac_v0"}),
    ("train", "hidden_dim"): (WHOLE, 1, 65536),
    ("train", "optimizer"): ("one of", {"rmsprop", "adam"}),
    ("train", "td_lambda"): (NUMBER, 0, 1),
    ("train", "lr"): (NUMBER, 0, 1, "above 0"),
    ("train", "rmsprop_alpha"): (NUMBER, 0, 1, "below 1"),
    ("train", "rmsprop_eps"): (NUMBER, 0, None, "above 0"),
    ("train", "grad_norm_clip"): (NUMBER, 0, None, "above 0"),
    ("train", "gamma"): (NUMBER, 0, 1),
    ("train", "epsilon_start"): (NUMBER, 0, 1),
    ("train", "epsilon_finish"): (NUMBER, 0, 1),
    ("train", "epsilon_anneal_steps"): (WHOLE, 1, None),
    ("train", "replay_episodes"): (WHOLE, 32, None),  # batch_episodes is 32
    ("train", "batch_episodes"): (WHOLE, 1, 5000),  # replay_episodes is 5000
    ("train", "episodes_per_round"): (WHOLE, 1, 1024),
    ("train", "updates_per_round"): (WHOLE, 1, None),
    ("train", "target_update_episodes"): (WHOLE, 1, None),
    ("train", "timeout_is_terminal"): ("one of", {True, False}),
    ("train", "device"): ("one of", {"auto", "cpu", "cuda"}),
    ("evaluate", "episodes"): (WHOLE, 1, None),
    ("report", "bootstrap_resamples"): (WHOLE, 100, 1_000_000),
    ("report", "confidence"): (NUMBER, 0, 1, "above 0", "below 1"),
    ("run", "seeds", 0): (WHOLE, 0, 2**32 - 1),
    ("run", "order"): ("one of", {"seeds", "envs"}),
    ("run", "envs", 0): ("one of", {"e"}),
    ("run", "algorithms", 0): ("one of", {"a"}),
    ("algorithms", "a", "gre_lambda"): (NUMBER, 0, None),
    ("algorithms", "a", "gre_eps"): (NUMBER, 1e-30, None),
    ("algorithms", "a", "embed_dim"): (WHOLE, 1, 65536),
    ("algorithms", "a", "hypernet_dim"): (WHOLE, 1, 65536),
    ("algorithms", "a", "hypernet_layers"): ("one of", {1, 2}),
    ("algorithms", "a", "gre_gradient"): ("one of", {"exact", "released"}),
    ("algorithms", "a", "mixer"): ("one of", set(MIXERS)),
}  # fmt: skip


def test_every_key_has_a_rule():
    sections = {"train": TrainConfig, "evaluate": EvaluateConfig, "report": ReportConfig}
    fields = {(section, name) for section, model in sections.items() for name in model.model_fields}
    fields |= {("envs", "e", name) for name in EnvConfig.model_fields}
    fields |= {("algorithms", "a", name) for name in MIXERS["qmix_gre"].Config.model_fields}
    fields -= {("envs", "e", "kwargs"), ("report", "titles"), ("report", "note")}  # hold anything, or any text
    assert fields <= set(ALLOWED)


def base():
    return {
        "run": {"envs": ["e"], "algorithms": ["a"], "seeds": [0]},
        "envs": {"e": {"env": "lumberjacks_v0", "total_steps": 100, "test_interval_steps": 50}},
        "algorithms": {"a": {"mixer": "qmix_gre", "gre_lambda": 1e-4}},
        "train": {},
        "evaluate": {},
        "report": {},
    }


def is_allowed(value, rule):
    """Whether a value that YAML gave is one that the rule allows; a bool is no number, a text is no number."""
    kind, *limits = rule
    if kind == "one of" and "smac_v0" in limits[0] and isinstance(value, str) and value.count(":") == 1:
        return all(part.isidentifier() for part in value.replace(":", ".").split("."))  # package.module:factory
    if kind == "one of":
        return any(value == choice and type(value) is type(choice) for choice in limits[0])
    if isinstance(value, bool) or not isinstance(value, int if kind == WHOLE else int | float):
        return False
    if not isinstance(value, int) and not math.isfinite(value):
        return False
    low, high, *edges = limits
    if value < low or ("above 0" in edges and value <= low):
        return False
    return high is None or (value <= high and not ("below 1" in edges and value >= high))


def texts(rule):
    """Spellings of values in YAML: near the limits, of other types, of other alphabets."""
    near = [0, -1, 1, 2, 99, 100, 101, 31, 32, 33, 4999, 5000, 5001, 10**6, 10**6 + 1, 2**32 - 1, 2**32, 10**30]
    spellings = [
        *map(str, near),
        *("0.0", "-0.0", "0.5", "1.0", "1.0000001", "0.99999", "5e-324", "1e308", "1e309", "1e400", "-1e400", ".nan"),
        *(".inf", "-.inf", "nan", "inf", "1e-4", "1E-4", "1.e-4", "+1e-4", "1e4", ".5", "5.", "010", "0o10", "0x10"),
        *("1_000", "12:30", "on", "off", "yes", "no", "true", "True", "TRUE", "false", "null", "~", "''", "' '"),
        *("'1'", "'0.5'", "'1e-4'", "[]", "[1]", "{}", "{a: 1}", "2026-01-01", "!!float 1", "!!int '1'", "!!str 1"),
        *("'\\0'", '"\\u202e"', "\u0661", "\uff11", "'\U0001f600'", "&x 1", "*x", "!x 1", "<<", "=", "- 1", "? 1"),
    ]
    known = sorted(map(str, rule[1])) if rule[0] == "one of" else []
    return st.one_of(
        st.sampled_from([*spellings, *known, *(f"'{name}'" for name in known)]),
        st.integers(-3, 10**7).map(str),
        st.floats(allow_nan=True, allow_infinity=True).map(repr),
        st.text(max_size=12).map(lambda text: "'" + text.replace("'", "''") + "'"),
        st.text(alphabet="0123456789eE+-._:", min_size=1, max_size=8),
    )


def put(text, path):
    """The base file as text, with this spelling at one key."""
    content = base()
    place = content
    for part in path[:-1]:
        place = place[part]
    if isinstance(place, list):
        place[path[-1]] = "@@"
    else:
        place[path[-1]] = "@@"
    file = io.StringIO()
    YAML(typ="safe", pure=True).dump(content, file)
    return file.getvalue().replace("'@@'", text).replace("@@", text)


def read_by_yaml(text):
    """What YAML makes of a text, or None with an error."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return YAML(typ="safe", pure=True).load(text), None
    except Exception as error:
        return None, error


def get(content, path):
    for part in path:
        content = content[part]
    return content


def outcome(path):
    """The params that a file gives, or the error's text; anything but BadInput is a traceback."""
    try:
        return load_params(path), None
    except BadInput as error:
        return None, str(error)


def fuzz_values(path, tally, examples):
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def check(data):
        key = data.draw(st.sampled_from(sorted(ALLOWED, key=str)))
        text = put(data.draw(texts(ALLOWED[key])), key)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        tally.add("configs", configs=1)
        try:
            params, message = outcome(path)
        except Exception:
            tally.add("configs", tracebacks=1)
            raise
        content, problem = read_by_yaml(text)
        right = problem is None and is_base_but(content, key) and is_allowed(get(content, key), ALLOWED[key])
        if right != (params is not None):
            tally.add("configs", wrong=1)
        assert right == (params is not None), (text, message)
        if params is None:
            assert "\n" not in message
            if problem is None and is_base_but(content, key):
                assert key[0] in message
        else:
            again = params.model_dump()  # round trip: what was accepted is what was written
            value = get(again, key) if key[0] != "algorithms" else None
            written = get(content, key)
            assert value is None or value == (float(written) if isinstance(value, float) else written)

    tally.add("configs", configs=0, tracebacks=0, wrong=0)
    check()


def is_base_but(content, key):
    """Whether the spelling changed its own key and nothing else in the file."""
    expected = base()
    try:
        value = get(content, key)
        place = get(expected, key[:-1])
        place[key[-1]] = value
    except (KeyError, TypeError, IndexError):
        return False
    return repr(content) == repr(expected) or content == expected


@pytest.mark.parametrize(
    "name", [":", "a:", ":b", "a:b:c", ".a:b", "a..b:c", "a b:c", "1a:b", "a:b ", "os.:x", "json:no"]
)
def test_odd_names_of_third_parties(tmp_path, name):
    for key in (("algorithms", "a", "mixer"), ("envs", "e", "env")):
        (tmp_path / "params.yaml").write_text(put(f"'{name}'", key))
        if (key[0], name) == ("envs", "json:no"):
            continue  # well formed: whether it is there is found when it is made
        with pytest.raises(BadInput) as caught:
            load_params(tmp_path / "params.yaml")
        assert repr(name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_values(tmp_path, tally):
    fuzz_values(tmp_path / "params.yaml", tally, count(200, 4000, 10_000))


# --- Z2: the text ---------------------------------------------------------------------------------------------------


def broken(text, generator):
    """The shipped file with one or more accidents."""
    lines = text.split("\n")
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        place = generator.randrange(len(lines))
        line = lines[place]
        match generator.randrange(24):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, line)
            case 2:
                lines[place] = " " * generator.randrange(1, 4) + line
            case 3:
                lines[place] = line.lstrip(" ")
            case 4:
                lines[place] = "\t" + line
            case 5:
                lines[place] = line.replace(":", generator.choice(["", "::", " =", ": :"]), 1)
            case 6:
                lines[place] = line + generator.choice(
                    [" &a", " *a", " !!python/object:os.system", " ]", " }", " {", " ["]
                )
            case 7:
                letter = generator.randrange(len(line) + 1)
                lines[place] = (
                    line[:letter] + generator.choice("\0\x07\u2028é\U0001f600'\"{}[]&*!|>%@`,?-:#") + line[letter:]
                )
            case 8:
                lines[place] = line.swapcase()
            case 9:
                lines.insert(place, "? " * generator.choice((1, 100)) + "x: y")
            case 10:
                lines.insert(place, "x: " + "[" * generator.choice((1, 100, 3000)))
            case 11:
                other = generator.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case 12:
                lines.insert(place, "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b, *b, *b, *b]")
            case 13:
                lines.insert(place, generator.choice(["---", "...", "%YAML 1.1", "%TAG ! tag:x,2000:"]))
            case 14:
                lines = lines[:place]
                lines = lines or [""]
            case 15:
                lines[place] = line.replace("0", generator.choice(["", "-1", "1e400", "true", "0x", "٣"]), 1)
            case 16 | 17:
                lines.insert(place, generator.choice(["# a comment: [", "", "   ", "  # another"]))
            case 18 | 19:
                lines[place] = line + generator.choice(["  ", " # why", ""])
            case _:
                digit = generator.choice("0123456789")
                lines[place] = line.replace(digit, generator.choice("0123456789"), 1)
    joined = generator.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines)
    return generator.choice((*(b"",) * 20, b"\xef\xbb\xbf", b"\xff\xfe")) + joined.encode("utf-8", "replace")


def test_texts(tmp_path, tally):
    """Accepted or refused in one line, in time; what is accepted runs: each selected run has a config with an
    identity, and loading what YAML gives gives the same."""
    generator = random.Random(2)
    path = tmp_path / "params.yaml"
    accepted = wrong = slow = 0
    tracebacks = []
    wanted = count(40, 2000, 10_000)
    shipped = SHIPPED.split("# The final policy")[0]  # the part that decides runs
    for _ in range(wanted):
        path.write_bytes(broken(shipped, generator))
        started = time.process_time()
        try:
            params, message = outcome(path)
        except Exception as error:
            tracebacks.append((repr(error), path.read_bytes()))
            continue
        slow += time.process_time() - started > 20  # the target is 2 s; a busy machine is no failure
        if params is None:
            wrong += "\n" in message or str(path) not in message
            continue
        accepted += 1
        content, problem = read_by_yaml(path.read_bytes().decode("utf-8-sig"))
        same = problem is None and content["run"] == params.run.model_dump(exclude_unset=True)
        for name, entry in (content or {}).get("envs", {}).items():
            given = entry.get("total_steps")
            same = same and params.envs[name].total_steps == given and not isinstance(given, bool | float)
        for name, entry in (content or {}).get("algorithms", {}).items():
            given = entry.get("gre_lambda")
            config = params.algorithms[name].resolved()
            same = same and (given is None or (config["gre_lambda"] == given and not isinstance(given, bool)))
        for env in params.run.envs:
            for algorithm in params.run.algorithms:
                same = same and len(params.run_config(env, algorithm, params.run.seeds[0]).identity()) == 64
        wrong += not same
    tally.add("configs", configs=wanted, tracebacks=len(tracebacks), wrong=wrong)
    assert (tracebacks, wrong, slow) == ([], 0, 0)
    assert 0 < accepted < wanted


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [" + "x," * 40000 + "]",
        "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" if i else "a0: &a0 [x]" for i in range(9)),
        "run: " + "{a: " * 2000 + "1" + "}" * 2000,
        "x: '" + "y" * (MAX_PARAMS_BYTES - 100) + "'",
        "x: '" + "y" * 10_000_000 + "'",
        "run: {envs: &e [*e]}",
        "a: &a [x]\nb: &a [x]",
    ],
    ids=["long list", "a billion laughs", "deep", "long text", "10 MB", "recursive", "an anchor twice"],
)
def test_bombs_are_refused_in_bounded_memory(tmp_path, text):
    import resource

    (tmp_path / "params.yaml").write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput):
        load_params(tmp_path / "params.yaml")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 300_000_000


# --- Z3: the command line -------------------------------------------------------------------------------------------

WORDS = (
    *("train", "evaluate", "verify", "play", "check", "--params", "--env", "--algorithm", "--seed", "--out", "--gif"),
    *("--episodes", "--evaluation", "-", "--", "", " ", "-1", "0", "1", "1e3", "nan", "99999999999999999999", "qmix"),
    *(".", "/", "nowhere", "folder", "/dev/null", "a\0b", "x" * 300, "\U0001f600", "-x", "--x=1", "--seed=x", "e"),
    "params.yaml",
)  # fmt: skip


def test_command_lines(tmp_path, monkeypatch, capsys, tally):
    """No valid params file is here, so that nothing can be run: every command line is a mistake, or asks for help."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "params.yaml").write_text("run: {}")
    generator = random.Random(3)
    for _ in range(count(200, 2000, 5000)):
        words = [generator.choice(WORDS) for _ in range(generator.randrange(7))]
        monkeypatch.setattr(sys, "argv", ["marl-gre", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        error = capsys.readouterr().err
        assert ended.value.code == 2, (words, error)
        assert error.startswith("error: "), (words, error)
        assert error.count("\n") == 1, (words, error)
    tally.add("command lines", lines=count(200, 2000, 5000), tracebacks=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTHONIOENCODING", "ascii"),
        *(pytest.param(*pair, marks=pytest.mark.faults) for pair in (("COLUMNS", "x"), ("LC_ALL", "C"), ("HOME", ""))),
    ],
)
def test_odd_surroundings_change_no_message(tmp_path, monkeypatch, name, value):
    import subprocess

    monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-m", "marl_gre", "check", "--params", "föhn.yaml"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: f")
    assert done.stderr.count(b"\n") == 1
