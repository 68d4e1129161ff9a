"""The rules, worked out by hand on small worlds; above all where v1 differs from ma-gym."""

import numpy as np
import pytest

import marl_gre_envs

NOOP, DOWN, LEFT, UP, RIGHT = range(5)
GAS, BRAKE = 0, 1
STRAIGHT, TURN_RIGHT, TURN_LEFT = 1, 2, 3


def lumberjacks(name, agent_pos, trees, **kwargs):
    trees = np.array(trees)
    vec = marl_gre_envs.make_vec(
        name, grid_shape=trees.shape, n_agents=len(agent_pos), n_trees=0, autoreset=False, **kwargs
    )
    vec.reset(seed=0, options={"agent_pos": agent_pos, "trees": trees})
    return vec


def traffic(name, cars, size=4, **kwargs):
    """Start with cars (position, direction, route) on the road of a size x size grid; None = a waiting car."""
    kwargs = {"arrive_prob": 0} | kwargs
    vec = marl_gre_envs.make_vec(name, grid_shape=(size, size), n_max=len(cars), autoreset=False, **kwargs)
    filled = [car or ((0, 0), (0, 0), -1) for car in cars]
    vec.reset(
        seed=0,
        options={
            "pos": [car[0] for car in filled],
            "direction": [car[1] for car in filled],
            "route": [car[2] for car in filled],
            "on_road": [car is not None for car in cars],
        },
    )
    return vec


# On a 4 x 4 grid the roads are rows and columns 1 and 2; traffic keeps to the right: eastward on row 2, northward on
# column 2, westward on row 1, southward on column 1. Gate and direction of each:
FROM_WEST = ((2, 0), (0, 1))
FROM_SOUTH = ((3, 2), (-1, 0))
FROM_EAST = ((1, 3), (0, -1))
FROM_NORTH = ((0, 1), (1, 0))


def test_lumberjacks_v1_reaches_the_last_row_and_column():
    # Agent 0 walks from (1, 1) down to (2, 1) and right to (2, 2), where a tree of strength 1 stands.
    vec = lumberjacks("lumberjacks_v1", [(1, 1)], [[0, 0, 0], [0, 0, 0], [0, 0, 1]])
    vec.step([[DOWN]])
    assert vec.world["agent_pos"][0].tolist() == [[2, 1]]
    assert vec.reward[0] == -1  # step_cost
    assert not vec.terminated[0]
    vec.step([[RIGHT]])
    assert vec.world["agent_pos"][0].tolist() == [[2, 2]]
    assert vec.reward[0] == -1 + 10  # step_cost + tree_cutdown_reward
    assert vec.terminated[0]
    assert not vec.truncated[0]


def test_lumberjacks_v1_stops_at_every_border():
    vec = lumberjacks("lumberjacks_v1", [(0, 0), (2, 3)], [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    for first, second in ((UP, DOWN), (LEFT, RIGHT), (NOOP, NOOP)):
        vec.step([[first, second]])
        assert vec.world["agent_pos"][0].tolist() == [[0, 0], [2, 3]]


def test_lumberjacks_v0_drags_agents_off_the_last_row_and_column():
    # View (1, 1) on 3 x 3: rows and columns end at 3 - 1 - 1 = 1, even for the no-op.
    vec = lumberjacks("lumberjacks_v0", [(2, 2), (1, 1)], [[0, 0, 0], [0, 0, 0], [0, 0, 1]])
    vec.step([[NOOP, RIGHT]])
    assert vec.world["agent_pos"][0].tolist() == [[1, 1], [1, 1]]


def test_lumberjacks_trees_need_their_strength_and_pay_every_agent():
    # Three agents; a tree of strength 2 at (0, 1) and one of strength 3 at (1, 1), on a 2 x 3 grid.
    vec = lumberjacks("lumberjacks_v1", [(0, 0), (0, 2), (1, 2)], [[0, 2, 0], [0, 3, 0]])
    vec.step([[RIGHT, NOOP, NOOP]])  # one agent at the tree of strength 2: it stands
    assert vec.agent_reward[0].tolist() == [-1, -1, -1]
    assert vec.world["trees"][0].tolist() == [[0, 2, 0], [0, 3, 0]]
    vec.step([[NOOP, LEFT, LEFT]])  # two there: it falls; one at the tree of strength 3: it stands
    assert vec.agent_reward[0].tolist() == [9, 9, 9]  # -1 + 10, also for the agent elsewhere
    assert vec.reward[0] == 27
    assert vec.info["trees_felled"][0] == 1
    vec.step([[DOWN, DOWN, NOOP]])  # all three at the tree of strength 3
    assert vec.agent_reward[0].tolist() == [9, 9, 9]
    assert vec.terminated[0]
    assert vec.info["agent_done"][0].all()


def test_lumberjacks_two_trees_may_fall_in_one_step():
    vec = lumberjacks("lumberjacks_v1", [(0, 0), (0, 2)], [[0, 0, 0], [1, 0, 1]])
    vec.step([[DOWN, DOWN]])
    assert vec.agent_reward[0].tolist() == [19, 19]  # -1 + 2 * 10
    assert vec.info["trees_felled"][0] == 2


def test_lumberjacks_observation():
    # Agents 0 at (0, 0) and 1 at (1, 1) of 3 x 2, trees 2 at (0, 1) and 1 at (2, 0); view (1, 1); limit 4.
    vec = lumberjacks("lumberjacks_v1", [(0, 0), (1, 1)], [[0, 2], [0, 0], [1, 0]], max_steps=4)
    vec.step([[NOOP, NOOP]])
    outside = [0, 0]
    expected = [
        # index / 2, row / (3 - 1), column / (2 - 1), step / 4, then (agents / 2, strength / 2) of 3 x 3 cells
        [0 / 2, 0 / 2, 0 / 1, 1 / 4, *outside, *outside, *outside, *outside, 0.5, 0, 0, 1, *outside, 0, 0, 0.5, 0],
        [1 / 2, 1 / 2, 1 / 1, 1 / 4, 0.5, 0, 0, 1, *outside, 0, 0, 0.5, 0, *outside, 0, 0.5, 0, 0, *outside],
    ]
    assert vec.obs[0].tolist() == expected  # all are exact in float32
    assert vec.state[0].tolist() == expected[0] + expected[1]


def test_lumberjacks_goal_wins_over_the_time_limit():
    vec = lumberjacks("lumberjacks_v1", [(0, 0)], [[0, 1]], max_steps=1)
    vec.step([[RIGHT]])
    assert (vec.terminated[0], vec.truncated[0]) == (True, False)
    vec = lumberjacks("lumberjacks_v1", [(0, 0)], [[0, 1]], max_steps=1)
    vec.step([[NOOP]])
    assert (vec.terminated[0], vec.truncated[0]) == (False, True)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("name", ["traffic_junction_v0", "traffic_junction_v1"])
def test_traffic_routes(name, turns):
    # From the west gate (2, 0): straight along row 2; right at the first crossing cell (2, 1) down to (3, 1); left at
    # the second one (2, 2) up to (0, 2). The other gates are the same, turned by 90 degrees around the centre.
    paths = {
        STRAIGHT: [(2, 1), (2, 2), (2, 3)],
        TURN_RIGHT: [(2, 1), (3, 1)],
        TURN_LEFT: [(2, 1), (2, 2), (1, 2), (0, 2)],
    }

    def turned(cell):
        row, column = cell
        for _ in range(turns):
            row, column = 3 - column, row  # a quarter turn to the left
        return row, column

    (row, column), (down, right) = FROM_WEST
    for _ in range(turns):
        down, right = -right, down
    for route, path in paths.items():
        vec = traffic(name, [(turned((row, column)), (down, right), route)])
        for step, cell in enumerate(path, start=1):
            vec.step([[GAS]])
            assert tuple(vec.world["pos"][0, 0].tolist()) == turned(cell)
            assert vec.agent_reward[0, 0] == -0.01 * step
            assert vec.terminated[0] == (step == len(path))
        vec = traffic(name, [(turned((row, column)), (down, right), route)])
        vec.step([[BRAKE]])
        assert tuple(vec.world["pos"][0, 0].tolist()) == turned((row, column))
        assert vec.agent_reward[0, 0] == -0.01  # standing costs the same


def test_traffic_v1_cars_overlap_and_share_the_collision():
    # Car 0 from the west and car 1 from the south, both straight, meet in (2, 2).
    vec = traffic("traffic_junction_v1", [(*FROM_WEST, STRAIGHT), (*FROM_SOUTH, STRAIGHT)])
    vec.step([[GAS, GAS]])  # to (2, 1) and (2, 2)
    assert vec.info["collisions"][0] == 0
    assert vec.agent_reward[0].tolist() == [-0.01, -0.01]
    vec.step([[GAS, BRAKE]])  # both in (2, 2): one collision of -10, and 2 steps on the road cost 0.02 each
    assert vec.world["pos"][0].tolist() == [[2, 2], [2, 2]]
    assert vec.info["collisions"][0] == 1
    assert vec.agent_reward[0].tolist() == [-0.02 - 5, -0.02 - 5]
    assert vec.reward[0] == pytest.approx(-10.04)
    # Both see both: ids 1 1, the common place (2 / 3, 2 / 3), route straight; 5th cell of nine, 2 + 2 + 3 numbers each.
    for car in range(2):
        cells = vec.obs[0, car].reshape(9, 7)
        np.testing.assert_array_equal(cells[4], np.float32([1, 1, 2 / 3, 2 / 3, 1, 0, 0]))
        assert not np.delete(cells, 4, axis=0).any()
    vec.step([[BRAKE, BRAKE]])  # as long as they stay there, they collide
    assert vec.info["collisions"][0] == 1
    vec.step([[GAS, GAS]])  # car 0 to its destination (2, 3), car 1 to (1, 2): nothing was blocked
    assert vec.world["pos"][0].tolist() == [[2, 3], [1, 2]]
    assert vec.info["collisions"][0] == 0
    assert vec.info["agent_done"][0].tolist() == [True, False]
    assert not vec.obs[0, 0].any()  # a finished car is gone: it sees nothing and is not seen
    assert vec.obs[0, 1].reshape(9, 7).any(axis=1).tolist() == [False] * 4 + [True] + [False] * 4
    vec.step([[GAS, GAS]])  # car 1 to (0, 2) in its 5th step; the finished car pays no more
    assert vec.agent_reward[0].tolist() == [0, -0.05]
    assert vec.terminated[0]


def test_traffic_v1_three_cars_in_a_cell_are_three_collisions():
    cars = [((2, 2), (0, 1), STRAIGHT), ((2, 2), (-1, 0), STRAIGHT), ((2, 2), (0, 1), TURN_LEFT)]
    vec = traffic("traffic_junction_v1", cars)
    vec.step([[BRAKE] * 3])
    assert vec.info["collisions"][0] == 3  # pairs 01, 02, 12
    assert vec.agent_reward[0].tolist() == [-0.01 - 10] * 3  # each takes part in two, and bears half of both


def test_traffic_a_car_without_a_road_ahead_stays():
    vec = traffic("traffic_junction_v1", [((2, 0), (1, 0), STRAIGHT)])  # heading for (3, 0), which is no road
    vec.step([[GAS]])
    assert vec.world["pos"][0].tolist() == [[2, 0]]
    assert (vec.agent_reward[0, 0], vec.info["collisions"][0]) == (-0.01, 0)  # a step on the road, nothing else


def test_traffic_given_waiting_cars_wait_at_the_corner():
    """Wherever they are given, so that they block no gate: (1, 3) is the east one."""
    vec = traffic("traffic_junction_v1", [(*FROM_WEST, STRAIGHT), None])
    start = {"pos": [(2, 0), (1, 3)], "on_road": [1, 0], "route": [1, -1], "direction": [(0, 1), (0, -1)]}
    vec.reset(seed=0, options=start)
    assert vec.world["pos"][0].tolist() == [[2, 0], [0, 0]]
    assert vec.world["direction"][0].tolist() == [[0, 1], [0, 0]]


def test_traffic_v0_blocks_the_mover_and_charges_it_alone():
    vec = traffic("traffic_junction_v0", [(*FROM_WEST, STRAIGHT), (*FROM_SOUTH, STRAIGHT)])
    vec.step([[GAS, GAS]])  # to (2, 1) and (2, 2)
    vec.step([[GAS, BRAKE]])  # (2, 2) is taken: car 0 stays
    assert vec.world["pos"][0].tolist() == [[2, 1], [2, 2]]
    assert vec.info["collisions"][0] == 1
    assert vec.agent_reward[0].tolist() == [-10 - 0.02, -0.02]


def test_traffic_v0_cars_move_in_the_order_of_their_numbers():
    # Two cars one behind the other on row 2: if the first moves first, the second finds its cell empty.
    ahead, behind = ((2, 1), (0, 1), STRAIGHT), ((2, 0), (0, 1), STRAIGHT)
    vec = traffic("traffic_junction_v0", [ahead, behind])
    vec.step([[GAS, GAS]])
    assert vec.world["pos"][0].tolist() == [[2, 2], [2, 1]]
    vec = traffic("traffic_junction_v0", [behind, ahead])
    vec.step([[GAS, GAS]])
    assert vec.world["pos"][0].tolist() == [[2, 0], [2, 2]]
    assert vec.info["collisions"][0] == 1


def test_traffic_v0_a_blocked_turn_has_turned():
    # Car 0 at (2, 1) turns right towards (3, 1), its destination, where nobody can stand; so let car 1 stand in the way
    # of a left turn instead: car 0 at (2, 2) turns left to (1, 2).
    vec = traffic("traffic_junction_v0", [((2, 2), (0, 1), TURN_LEFT), ((1, 2), (-1, 0), STRAIGHT)])
    vec.step([[GAS, BRAKE]])
    assert vec.world["pos"][0, 0].tolist() == [2, 2]
    assert vec.world["direction"][0, 0].tolist() == [-1, 0]
    vec.step([[GAS, BRAKE]])  # it has turned once and goes on in the new direction, not in a circle
    assert vec.world["direction"][0, 0].tolist() == [-1, 0]
    assert vec.info["collisions"][0] == 1


def test_traffic_v1_arrivals_at_every_free_gate():
    # Car 0 stands at the west gate; arrive_prob 1: cars 1, 2, 3 enter at the three others in the gates' order.
    vec = traffic("traffic_junction_v1", [(*FROM_WEST, STRAIGHT), None, None, None, None], arrive_prob=1)
    assert vec.obs[0, 0].any()
    assert not vec.obs[0, 1:].any()  # waiting cars see nothing
    vec.step([[BRAKE] * 5])
    assert vec.world["on_road"][0].tolist() == [True, True, True, True, False]
    gates = [FROM_WEST, FROM_SOUTH, FROM_EAST, FROM_NORTH]
    assert vec.world["pos"][0, :4].tolist() == [list(cell) for cell, _ in gates]
    assert vec.world["direction"][0, :4].tolist() == [list(direction) for _, direction in gates]
    assert set(vec.world["route"][0, :4].tolist()) <= {1, 2, 3}
    assert vec.agent_reward[0].tolist() == [-0.01, 0, 0, 0, 0]  # new cars pay from their first step on
    vec.step([[BRAKE] * 5])  # no gate is free
    assert vec.world["on_road"][0].tolist() == [True, True, True, True, False]
    vec.step([[GAS, BRAKE, BRAKE, BRAKE, BRAKE]])  # car 0 leaves its gate, car 4 enters there
    assert vec.world["pos"][0].tolist()[4] == [2, 0]


def test_traffic_v0_at_most_one_arrival_per_step():
    vec = traffic("traffic_junction_v0", [None] * 4, arrive_prob=1)
    for step in range(1, 5):
        vec.step([[BRAKE] * 4])
        assert vec.world["on_road"][0].tolist() == [car < step for car in range(4)]
    assert len({tuple(cell) for cell in vec.world["pos"][0].tolist()}) == 4  # each at a free gate


def test_traffic_v0_waiting_and_finished_cars_observe():
    # n_max 5: car 4 waits at (0, 0), where it is seen as car 4 without a route: middle route bit.
    cars = [(*FROM_WEST, TURN_RIGHT), (*FROM_SOUTH, STRAIGHT), (*FROM_EAST, STRAIGHT), (*FROM_NORTH, STRAIGHT), None]
    vec = traffic("traffic_junction_v0", cars)
    car_4_waiting = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0]
    # From (0, 0) only the lower right four cells are inside the grid; (0, 1) is the north gate with car 3.
    car_3 = np.float32([0, 0, 0, 1, 0, 0, 1 / 3, 1, 0, 0])
    seen = vec.obs[0, 4].reshape(9, 10)
    np.testing.assert_array_equal(seen[4], car_4_waiting)
    np.testing.assert_array_equal(seen[5], car_3)
    # Car 3 at (0, 1) sees cell (0, 0) to its left.
    np.testing.assert_array_equal(vec.obs[0, 3].reshape(9, 10)[3], car_4_waiting)
    # Where no car waits at the start, nobody is there: the left neighbour of the car at (0, 1) is (0, 0).
    everybody_drives = traffic("traffic_junction_v0", cars[:4])
    assert everybody_drives.obs[0, 3].reshape(9, 9)[4].any()
    assert not everybody_drives.obs[0, 3].reshape(9, 9)[3].any()

    # When car 4 enters at the south gate, its mark stays in (0, 0) but shows where it is now, (3, 2), and its route 3.
    start = {name: vec.world[name][0] for name in ("pos", "on_road", "route", "direction")}
    vec.reset(options=start | {"arrivals": [(-1, -1, -1, -1), (4, 3, 2, 3)]})
    vec.step([[GAS, GAS, BRAKE, BRAKE, GAS]])
    vec.step([[GAS, GAS, BRAKE, BRAKE, GAS]])  # car 0 turns right to its destination (3, 1); car 1 goes to (1, 2)
    assert vec.info["agent_done"][0].tolist() == [True, False, False, False, False]
    car_4_driving = np.float32([0, 0, 0, 0, 1, 1, 2 / 3, 0, 0, 1])
    np.testing.assert_array_equal(vec.obs[0, 3].reshape(9, 10)[3], car_4_driving)
    # The finished car 0 still sees: its own cell is empty, its right neighbour (3, 2) holds car 4.
    seen = vec.obs[0, 0].reshape(9, 10)
    assert not seen[4].any()
    np.testing.assert_array_equal(seen[5], car_4_driving)


def test_traffic_switches_can_be_mixed():
    cars = [(*FROM_WEST, STRAIGHT), (*FROM_SOUTH, STRAIGHT), None]
    vec = traffic("traffic_junction_v0", cars, collision="overlap", off_road="zero")
    vec.step([[GAS, GAS, GAS]])
    vec.step([[GAS, BRAKE, GAS]])
    assert vec.info["collisions"][0] == 1
    assert vec.world["pos"][0, 0].tolist() == [2, 2]  # overlapping
    assert not vec.obs[0, 2].any()  # the waiting car sees nothing
    vec = traffic("traffic_junction_v1", cars, collision="block", arrivals="one", off_road="observe")
    vec.step([[GAS, GAS, GAS]])
    vec.step([[GAS, BRAKE, GAS]])
    assert vec.world["pos"][0, 0].tolist() == [2, 1]  # blocked
    assert vec.obs[0, 2].any()


def test_traffic_scripted_arrivals_at_several_gates():
    # G = 4 arrivals per step: cars 1 and 2 enter in step 1; a car that has entered does not enter again in step 2.
    vec = marl_gre_envs.make_vec("traffic_junction_v1", grid_shape=(4, 4), n_max=3, autoreset=False)
    start = {
        "pos": [(2, 0), (0, 0), (0, 0)],
        "on_road": [1, 0, 0],
        "route": [1, -1, -1],
        "direction": [(0, 1), (0, 0), (0, 0)],
    }
    none = (-1, -1, -1, -1)
    script = [[[(1, 3, 2, 1), (2, 0, 1, 2), none, none], [(1, 1, 3, 1), none, none, none]]]
    vec.reset(seed=0, options=start | {"arrivals": script})
    vec.step([[BRAKE] * 3])
    assert vec.world["pos"][0].tolist() == [[2, 0], [3, 2], [0, 1]]
    assert vec.world["route"][0].tolist() == [1, 1, 2]
    vec.step([[BRAKE] * 3])
    assert vec.world["pos"][0].tolist() == [[2, 0], [3, 2], [0, 1]]


def test_team_reward_is_the_sum_or_the_mean():
    trees = [[0, 0, 0], [1, 0, 1]]
    for team_reward, expected in (("sum", 38), ("mean", 19)):  # two agents with -1 + 2 * 10 = 19 each
        vec = lumberjacks("lumberjacks_v1", [(0, 0), (0, 2)], trees, team_reward=team_reward)
        vec.step([[DOWN, DOWN]])
        assert vec.reward[0] == expected


def test_a_return_is_the_sum_of_the_team_rewards():
    trees = [[0, 0, 0], [1, 2, 1]]
    for team_reward, expected in (("sum", 36), ("mean", 18)):  # two agents with 19 each, then with -1 each
        vec = lumberjacks("lumberjacks_v1", [(0, 0), (0, 2)], trees, team_reward=team_reward)
        vec.step([[DOWN, DOWN]])
        vec.step([[NOOP, NOOP]])
        assert vec.world["episode_return"][0] == expected


def test_starts_are_uniform():
    # 5 x 5 cells, 2 agents, 12 trees: a cell starts with an agent in 2/25, with a tree in 12/25 of all episodes.
    vec = marl_gre_envs.make_vec("lumberjacks_v1", 5000)
    vec.reset(seed=0)
    pos, trees = vec.world["agent_pos"], vec.world["trees"]
    assert (trees > 0).sum(axis=(1, 2)).tolist() == [12] * 5000
    cells = pos[..., 0].astype(int) * 5 + pos[..., 1]
    assert (cells[:, 0] < cells[:, 1]).all()  # row-major order, no shared cell
    assert not trees[np.arange(5000)[:, None], pos[..., 0], pos[..., 1]].any()
    # Six standard deviations of a binomial: sqrt(5000 * 0.48 * 0.52) = 35 and sqrt(5000 * 0.08 * 0.92) = 19.
    np.testing.assert_allclose((trees > 0).sum(axis=0), 2400, atol=212)
    np.testing.assert_allclose(np.bincount(cells.ravel(), minlength=25), 400, atol=115)
    # Strengths 1 and 2: half of 60,000 each; standard deviation sqrt(60000 / 4) = 122.
    assert abs((trees == 1).sum() - 30_000) < 6 * 123

    vec = marl_gre_envs.make_vec("traffic_junction_v1", 6000, n_max=3)
    vec.reset(seed=0)
    # Each of the 4 * 3 * 2 = 24 orders of gates has 250 of 6000 starts; sqrt(6000 / 24 * 23 / 24) = 15.5.
    orders, counts = np.unique(vec.world["pos"].reshape(6000, -1), axis=0, return_counts=True)
    assert len(orders) == 24
    np.testing.assert_allclose(counts, 250, atol=93)
    # Routes: a third of 18,000 each; sqrt(18000 * 2 / 9) = 63.
    np.testing.assert_allclose(np.bincount(vec.world["route"].ravel())[1:], 6000, atol=380)


@pytest.mark.parametrize(("name", "per_step"), [("traffic_junction_v0", 0.3), ("traffic_junction_v1", 0.9)])
def test_arrival_probability(name, per_step):
    # One waiting car joins one driving car on the road: with arrive_prob 0.3 per step, v0 lets it in with 0.3. In v1
    # three waiting cars and three free gates give 3 * 0.3 expected arrivals.
    waiting = 1 if name.endswith("v0") else 3
    vec = marl_gre_envs.make_vec(name, 4000, n_max=1 + waiting, arrive_prob=0.3, autoreset=False)
    start = {
        "pos": [(7, 0)] + [(0, 0)] * waiting,
        "on_road": [1] + [0] * waiting,
        "route": [1] + [-1] * waiting,
        "direction": [(0, 1)] + [(0, 0)] * waiting,
    }
    vec.reset(seed=5, options=start)
    vec.step(np.ones((4000, 1 + waiting), int))
    arrived = vec.world["on_road"].sum() - 4000
    # Binomial: 4000 * waiting trials of 0.3; six standard deviations are 6 * sqrt(4000 * waiting * 0.21).
    assert abs(arrived - 4000 * per_step) < 6 * np.sqrt(4000 * waiting * 0.21)
