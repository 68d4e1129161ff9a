"""Shapley values of games whose values are known by hand, and of replayed episodes."""

import csv
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from marl_gre.config import load_params
from marl_gre.errors import BadInput
from marl_gre.jobs.credits_measured import measure
from marl_gre.jobs.credits_shapley import Game, _Partial, compare, comparison_lines, contributions, correlation
from marl_gre.jobs.train import train
from marl_gre.networks import restore
from marl_gre.policy import Policy
from marl_gre.seeding import Purpose, rng
from marl_gre.shapley import Shapley, shapley
from marl_gre.storage.run_dir import load_run
from marl_gre_envs import make_vec

PARAMS = """
run: {envs: [lumber, corridor], algorithms: [qmix], seeds: [0]}
envs:
  lumber: {env: lumberjacks_v1, kwargs: {max_steps: 12}, total_steps: 60, test_interval_steps: 60, test_episodes: 2}
  traffic: {env: traffic_junction_v1, kwargs: {max_steps: 8}, total_steps: 60, test_interval_steps: 60,
            test_episodes: 2}
  corridor: {env: "third_party.corridor:parallel_env", total_steps: 60, test_interval_steps: 60, test_episodes: 2}
algorithms: {qmix: {mixer: qmix}}
train: {batch_episodes: 2, device: cpu}
"""


def generator():
    return rng(0, Purpose.SHAPLEY, 0)


def glove(coalitions):
    """Player 0 has a left glove, 1 and 2 a right one each; a pair is worth 1."""
    return (coalitions[:, 0] & (coalitions[:, 1] | coalitions[:, 2])).astype(float)


def test_glove_game():
    # player 0 adds 1 unless he comes first (in 4 of 6 orders); player 1 only in the order 0 1 2
    found = shapley(glove, 3, 4, generator())
    assert found.exact
    assert found.values == pytest.approx([4 / 6, 1 / 6, 1 / 6])
    assert (found.nobody, found.everybody) == (0, 1)
    assert not found.errors.any()


def test_majority_of_unequal_votes():
    # votes 2 1 1, three of four needed: the orders in which each completes a majority are 4, 1, 1 of 6
    found = shapley(lambda c: (c @ [2.0, 1, 1] >= 3).astype(float), 3, 4, generator())
    assert found.values == pytest.approx([4 / 6, 1 / 6, 1 / 6])


def test_additive_game_gives_each_its_own_and_no_error():
    own = np.arange(12.0) - 3
    found = shapley(lambda c: 7 + c @ own, 12, 6, generator())  # 4,096 coalitions are more than 6 orders visit
    assert not found.exact
    assert found.values == pytest.approx(own)
    assert found.errors == pytest.approx(np.zeros(12), abs=1e-12)
    assert (found.nobody, found.everybody) == (7, 7 + own.sum())


def test_errors_of_two_pairs_of_orders_by_hand():
    """Worth 1 with the first three of four players: the last of the three to come adds it.

    In an order and its reverse a player is last once unless it comes second both times: a pair gives it 1/2 or 0. Two
    pairs of 1/2 and 0 have the mean 1/4 and the standard deviation 1/2 / sqrt(2), so the standard error is 1/4.
    """
    values = set()
    for index in range(10):
        found = shapley(lambda c: c[:, :3].all(1).astype(float), 4, 4, rng(0, Purpose.SHAPLEY, index))
        assert not found.exact
        assert found.errors == pytest.approx(np.where(found.values == 0.25, 0.25, 0))
        values |= {*found.values[:3].tolist()}
    assert values == {0.0, 0.25, 0.5}


def test_antithetic_pairs_are_exact_for_pairs_of_players():
    """In an order and its reverse one of two players comes before the other once: each gets half of what both add."""
    tied = np.triu(np.random.default_rng(1).normal(size=(12, 12)), 1)
    found = shapley(lambda c: np.einsum("ci,ij,cj->c", c.astype(float), tied, c), 12, 4, generator())
    assert found.values == pytest.approx((tied.sum(0) + tied.sum(1)) / 2)


def test_samples_agree_with_all_orders_within_their_error():
    """Six players, max of their numbers: the values by definition, over all 720 orders."""
    numbers = np.array([1.0, 2, 4, 8, 16, 32])

    def worth(coalitions):
        return np.where(coalitions, numbers, 0).max(-1)

    by_hand = np.zeros(6)
    for order in itertools.permutations(range(6)):
        highest = 0.0
        for player in order:
            by_hand[player] += max(highest, numbers[player]) - highest
            highest = max(highest, numbers[player])
    by_hand /= math.factorial(6)
    assert shapley(worth, 6, 14, generator()).values == pytest.approx(by_hand)  # 64 <= 14 * 5 + 2: all of them
    found = shapley(worth, 6, 12, generator())
    assert not found.exact
    assert found.values.sum() == pytest.approx(32)  # efficiency, whatever was drawn
    assert (np.abs(found.values - by_hand) < 4 * found.errors + 1e-9).all()
    assert found.errors[5] > 0.1


def test_each_coalition_is_evaluated_once_and_the_draw_repeats():
    seen = []

    def worth(coalitions):
        seen.append(coalitions)
        return (coalitions.sum(1) ** 2).astype(float)

    first, second = (shapley(worth, 8, 6, generator()) for _ in range(2))
    assert len(np.unique(seen[0], axis=0)) == len(seen[0]) < 6 * 7 + 2
    assert np.array_equal(seen[0], seen[1])
    assert first.values.tolist() == second.values.tolist() == pytest.approx([8.0] * 8)  # symmetry: 64 / 8


@pytest.mark.parametrize("permutations", [0, 2, 5])
def test_numbers_of_orders_that_give_no_error(permutations):
    with pytest.raises(ValueError, match="an even number of 4 or more is allowed"):
        shapley(glove, 3, permutations, generator())


def game(credit, values, errors=0.0) -> Game:
    found = Shapley(np.array(values, float), np.full(len(values), errors), False, 0.0, float(sum(values)))
    return Game(0, 0, 0, np.array(credit), found)


def test_comparison_by_hand():
    # Shapley shares of size 3/4 1/4 and 1/4 3/4
    games = [game([0.6, 0.4], [3, 1], 0.1), game([0.5, 0.5], [-1, 3]), game([0.9, 0.1], [0, 0])]
    found = compare(games)
    assert (found.games, found.nothing_at_stake) == (2, 1)
    assert found.credit_unevenness == pytest.approx((0.2 + 0) / 2)
    assert found.shapley_unevenness == pytest.approx(0.5)
    assert found.credit_mean_unevenness == pytest.approx(0.1)  # means .55 .45
    assert found.shapley_mean_unevenness == pytest.approx(0)
    assert found.negative == 1 / 4
    # deviations .1 -.1 0 0 and .25 -.25 -.25 .25: .05 / sqrt(.02 * .25)
    assert found.correlation == pytest.approx(0.05 / math.sqrt(0.02 * 0.25))
    # a normal error of .1 has the mean size .1 sqrt(2 / pi), of two values, in units of 4
    assert games[0].sampling == pytest.approx(0.2 * math.sqrt(2 / math.pi) / 4)
    assert found.sampling == pytest.approx(games[0].sampling / 2)
    assert games[0].excess == pytest.approx(0.5 - 0.2 - games[0].sampling)
    assert correlation(np.full((2, 2), 0.5), np.array([[0.6, 0.4]] * 2)) is None


def test_rounding_below_zero_is_not_negative():
    assert compare([game([0.6, 0.4], [-1e-9, 3])]).negative == 0


def test_nothing_at_stake_is_not_called_even():
    found = compare([game([0.9, 0.1], [0, 1e-15])])
    assert (found.games, found.shapley_unevenness, found.correlation) == (0, None, None)
    (line,) = comparison_lines([game([0.9, 0.1], [0, 0])])
    assert line == "phase 1: nothing at stake: acting or not makes no difference"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "params.yaml").write_text(PARAMS)
    params = load_params(folder / "params.yaml")
    for env in ("lumber", "traffic", "corridor"):
        train(params.run_config(env, "qmix", 0), folder / env, folder / "work")
    return folder


def test_games_are_those_of_the_replayed_episode(runs):
    """Worth of each coalition of two lumberjacks, stepped here one environment at a time."""
    run = load_run(runs / "lumber")
    found = measure(run, [5])
    games = contributions(run, found, 4)
    actions = found[0].episode.actions

    def worth(coalition, start):
        env = make_vec("lumberjacks_v1", 1, autoreset=False, max_steps=12)
        env.reset(seed=[5])
        policy = Policy(restore(run, env).agent)
        policy.begin(1)
        total, step = 0.0, 0
        while not (env.terminated[0] or env.truncated[0]):
            chosen = policy.act(env.obs, env.action_mask, 0.0, None)
            if step < start:
                assert chosen[0].tolist() == actions[step].tolist()
            else:
                chosen = np.where(coalition, chosen, 0)
            env.step(chosen)
            total += 0.99 ** (step - start) * env.reward[0] if step >= start else 0
            step += 1
        return total

    assert [game.step for game in games] == list(found[0].starts.values())
    for game in games:
        nobody, first, second, both = (
            worth(coalition, game.step) for coalition in ([False] * 2, [True, False], [False, True], [True] * 2)
        )
        assert game.shapley.values == pytest.approx(
            [(first - nobody + both - second) / 2, (second - nobody + both - first) / 2]
        )
        assert game.shares.tolist() == found[0].shares[game.step].tolist()


def test_games_do_not_depend_on_how_many_are_played_at_once(runs, monkeypatch):
    run = load_run(runs / "traffic")
    found = measure(run, [3])
    several = contributions(run, found, 4)
    monkeypatch.setattr("marl_gre.jobs.credits_shapley.COPIES", 3)
    few = contributions(run, found, 4)
    for one, other in zip(several, few, strict=True):
        assert one.shapley.values.tolist() == other.shapley.values.tolist()
        assert one.shapley.values.sum() == pytest.approx(one.shapley.everybody - one.shapley.nobody)
    assert several[0].shapley.everybody == pytest.approx((found[0].episode.reward * 0.99 ** np.arange(8)).sum())


def test_absent_agents_take_the_first_no_op_that_they_may():
    """As on StarCraft's maps, where the living may stop (1) and the dead may do nothing (0) only."""
    actor = SimpleNamespace(act=lambda *inputs: np.full((1, 3), 2))
    policy = _Partial(SimpleNamespace(actor=lambda count: actor), SimpleNamespace(noops=(1, 0)))
    policy.begin(1)
    policy.start, policy.coalitions = 0, np.array([[True, False, False]])
    mask = np.array([[[0, 1, 1], [0, 1, 1], [1, 0, 0]]])
    assert policy.act(None, mask, 0.0, None).tolist() == [[2, 1, 0]]


def test_command(runs, tmp_path, marl_gre):
    done = marl_gre("credits", runs / "lumber", "--out", tmp_path, "--episodes", 2, "--shapley", 4)
    assert done.returncode == 0, done.stderr
    assert "of Shapley shares" in done.stdout
    rows = list(csv.DictReader((tmp_path / "shapley.csv").read_text().splitlines()))
    phases = list(csv.DictReader((tmp_path / "shapley_phases.csv").read_text().splitlines()))
    assert sum(int(row["games"]) + int(row["nothing_at_stake"]) for row in phases) == len(rows)
    added = sum(float(rows[0][f"shapley_{i}"]) for i in range(2))
    assert added == pytest.approx(float(rows[0]["everybody"]) - float(rows[0]["nobody"]), rel=1e-6)
    done = marl_gre("credits", runs / "lumber", "--out", tmp_path, "--shapley", 5)
    assert done.returncode == 2
    assert "an even number of 4 or more" in done.stderr


def test_an_environment_without_a_no_op_says_so(runs):
    run = load_run(runs / "corridor")
    with pytest.raises(BadInput, match="declares no no-op"):
        contributions(run, measure(run, [0]), 4)
