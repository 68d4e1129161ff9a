"""Shares of credit and what makes them uneven, by hand."""

import pytest
import torch

from marl_gre.shares import by_agent, shares, shift, unevenness


def test_shares_by_hand():
    # 3 + 1 = 4, whatever the signs; a step without credit counts as even
    credits = torch.tensor([[3.0, 1.0], [-3.0, 1.0], [0.0, 0.0]])
    assert shares(credits).tolist() == [[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]


def test_unevenness_and_shift_by_hand():
    table = torch.tensor([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]])
    assert unevenness(table).tolist() == [0.5, 0.0, 1.0]  # twice the distance from 1/2; at most 2 (2 - 1) / 2 = 1
    # |.75 - .5| + |.25 - .5| = .5, |.5 - 1| + |.5 - 0| = 1, |1 - .75| + |0 - .25| = .5
    assert shift(table, table[[1, 2, 0]]).tolist() == [0.5, 1.0, 0.5]
    assert shift(table, table).tolist() == [0.0, 0.0, 0.0]


def test_part_of_the_agents_index_by_hand():
    always = torch.tensor([[0.75, 0.25]]).expand(4, 2)
    assert by_agent(always) == pytest.approx(1)  # the same on every step
    in_turn = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    assert by_agent(in_turn) == pytest.approx(0)  # even on average
    # deviations of agent 0 are .5 and 0 (mean .25, mean square .125), of agent 1 their negatives: .0625 / .125
    assert by_agent(torch.tensor([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(0.5)
    assert by_agent(torch.full((3, 10), 0.1) + 1e-9) is None
    assert by_agent(torch.tensor([[0.50001, 0.49999]] * 3)) == pytest.approx(1)  # little, but more than rounding
