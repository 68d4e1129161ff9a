import itertools

import numpy as np
import pytest
import scipy.stats

from marl_gre import stats

LEVELS = np.linspace(0, 1, 21)


@pytest.mark.parametrize("n", range(1, 14))
def test_iqm_is_scipys_trimmed_mean(n):
    values = np.random.default_rng(n).normal(size=(4, n))
    # the same values in another order of summation: equal up to rounding
    assert stats.iqm(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25, axis=-1), rel=1e-12, abs=1e-15)


def test_iqm_by_hand():
    # five values: floor(5/4) = 1 dropped at each end, (2 + 3 + 10) / 3 = 5
    assert stats.iqm([100, 2, 3, 10, -100]) == 5
    # three values: floor(3/4) = 0 dropped, the mean
    assert stats.iqm([1, 2, 9]) == 4


def test_interval_of_two_runs_against_all_resamples():
    # two runs 0 and 1: the four equally likely resamples have means 0, 1/2, 1/2, 1; 2.5 % and 97.5 % are the ends
    assert stats.bootstrap_interval([0, 1], stats.mean, seed=3) == (0, 1)
    # at confidence 0.4 the ends are the 30 % and 70 % quantiles, both 1/2
    assert stats.bootstrap_interval([0, 1], stats.mean, confidence=0.4, seed=3) == (0.5, 0.5)


@pytest.mark.parametrize("statistic", [stats.mean, stats.iqm])
def test_interval_against_enumeration(statistic):
    scores = np.array([1.0, 4.0, 9.0, 16.0])
    # all 4**4 = 256 equally likely resamples; of 20,000 random ones a share of 5 % has a standard error of 0.15 %, so
    # the ends lie between the exact quantiles at 5 +- 1 and 95 +- 1 %
    exact = [statistic(np.array(sample)) for sample in itertools.product(scores, repeat=4)]
    low, high = stats.bootstrap_interval(scores, statistic, resamples=20_000, confidence=0.9)
    assert np.quantile(exact, 0.04) <= low <= np.quantile(exact, 0.06)
    assert np.quantile(exact, 0.94) <= high <= np.quantile(exact, 0.96)


def test_interval_is_stratified():
    # two tasks without spread inside: each resample holds both tasks in full, so the mean never moves from 5;
    # resampling over all ten scores together would move it
    table = np.array([[0.0, 10.0]] * 5)
    assert stats.bootstrap_interval(table, stats.mean) == (5, 5)


def test_interval_edges():
    assert stats.bootstrap_interval([7.0]) == (7, 7)
    assert stats.bootstrap_interval([2.0, 2.0, 2.0]) == (2, 2)
    with pytest.raises(ValueError, match="no scores"):
        stats.bootstrap_interval([])
    with pytest.raises(ValueError, match="finite"):
        stats.bootstrap_interval([1.0, np.nan])


def test_seed_decides_and_global_state_does_not():
    scores = np.random.default_rng(0).normal(size=6)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = stats.bootstrap_interval(scores, resamples=200, seed=1)
    assert first == stats.bootstrap_interval(scores, resamples=200, seed=1)
    assert first != stats.bootstrap_interval(scores, resamples=200, seed=2)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_band_is_the_interval_at_every_point():
    curves = np.random.default_rng(0).normal(size=(5, 3))
    low, high = stats.bootstrap_band(curves, stats.mean, resamples=500, seed=4)
    assert low.shape == high.shape == (3,)
    for t in range(3):
        # with one task the interval draws the same indices [resamples, R] as the band
        assert (low[t], high[t]) == stats.bootstrap_interval(curves[:, t], stats.mean, resamples=500, seed=4)


def test_probability_of_improvement_by_hand():
    # pairs (1,0) (1,1) (1,5) (3,0) (3,1) (3,5): wins 1, tie, loss, win, win, loss = (3 + 1/2) / 6
    assert stats.probability_of_improvement([1, 3], [0, 1, 5]) == pytest.approx(3.5 / 6)
    assert stats.probability_of_improvement([2, 2], [2, 2]) == 0.5
    x, y = np.random.default_rng(1).normal(size=(2, 7))
    u = scipy.stats.mannwhitneyu(x, y).statistic  # number of pairs with x > y
    assert stats.probability_of_improvement(x, y) == pytest.approx(u / 49)


def test_probability_of_improvement_interval():
    assert stats.probability_of_improvement_interval([3, 4], [1, 2], paired=False) == (1, 1)
    low, high = stats.probability_of_improvement_interval([1, 2, 3], [1.5, 2.5, 3.5], paired=False)
    assert 0 <= low < 2 / 9 * 1.5 < high <= 1  # the estimate is 3/9: (2,1.5), (3,1.5), (3,2.5)
    # one seed drawn every time (probability 1/9 each) pairs a run with its partner, which it never beats
    paired_low, paired_high = stats.probability_of_improvement_interval([1, 2, 3], [1.5, 2.5, 3.5], paired=True)
    assert paired_low == 0
    assert paired_high < high  # the pairing removes the luck of drawing good x with bad y
    with pytest.raises(ValueError, match="as many"):
        stats.probability_of_improvement_interval([1, 2], [1], paired=True)


def test_pooled_quantiles_of_one_uniform_distribution():
    # the sketch of Uniform(0,1) is its own levels; 200 midpoints know it to half a step, 1/400
    at = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.abs(stats.pooled_quantiles([LEVELS], LEVELS, at) - at).max() <= 1 / 400


def test_pooled_quantiles_against_the_raw_values():
    generator = np.random.default_rng(0)
    raw = [generator.beta(8, 1 + k, size=3000) for k in range(4)]
    sketches = [np.quantile(values, LEVELS) for values in raw]
    at = [0.05, 0.25, 0.5, 0.75, 0.95]
    exact = np.quantile(np.concatenate(raw), at)
    error = np.abs(stats.pooled_quantiles(sketches, LEVELS, at) - exact)
    # within a sketch's lowest twentieth the quantile function is far from linear, which reaches the pooled 5 %
    assert error[0] < 0.02
    assert error[1:].max() < 0.002


def test_pooled_quantiles_of_constants():
    sketches = [[1.0] * 21, [1.0] * 21, [0.0] * 21]
    assert stats.pooled_quantiles(sketches, LEVELS, [0.0, 0.3, 0.5, 1.0]).tolist() == [0, 0, 1, 1]


@pytest.mark.slow
def test_coverage_is_what_the_module_says():
    generator = np.random.default_rng(0)
    documented = {3: (0.76, 0.76), 5: (0.90, 0.84), 10: (0.94, 0.90)}  # module docstring: IQM, mean
    for runs, expected in documented.items():
        benchmarks = generator.normal(size=(2000, runs))  # true location 0
        for statistic, share in zip((stats.iqm, stats.mean), expected, strict=True):
            ends = [stats.bootstrap_interval(x, statistic, resamples=2000, seed=k) for k, x in enumerate(benchmarks)]
            covered = np.mean([low <= 0 <= high for low, high in ends])
            # standard error of a share near 0.9 over 2,000 benchmarks: sqrt(.9 * .1 / 2000) = 0.007
            assert abs(covered - share) < 0.03


def test_mean_interval_by_hand():
    # mean 4, standard deviation 2, n = 3: 4 +- t(.975, 2) * 2 / sqrt(3) with t = 4.3026527
    assert stats.mean_interval([2, 4, 6]) == pytest.approx((4 - 4.968275, 4 + 4.968275), abs=1e-6)
    assert stats.mean_interval([3, 3, 3]) == (3, 3)
    with pytest.raises(ValueError, match="two or more"):
        stats.mean_interval([1.0])


def test_one_sided_tests_agree_with_intervals():
    values = np.random.default_rng(0).normal(0.1, 1, size=8)
    for confidence in (0.8, 0.9, 0.95):
        low, high = stats.mean_interval(values, confidence)
        alpha = (1 - confidence) / 2
        # the bounds at the interval's ends: the larger of the two p-values is alpha
        assert stats.one_sided_tests(values, low, high) == pytest.approx(alpha)
        assert stats.one_sided_tests(values, low, np.inf) == pytest.approx(alpha)
        assert stats.one_sided_tests(values, low - 0.1, high + 0.1) < alpha
        assert stats.one_sided_tests(values, low + 0.1, high) > alpha
    expected = scipy.stats.ttest_1samp(values, -0.5, alternative="greater").pvalue
    assert stats.one_sided_tests(values, -0.5, np.inf) == pytest.approx(expected)
    assert stats.one_sided_tests([1, 1], 0.5, 2) == 0
    assert stats.one_sided_tests([1, 1], 1, 2) == 1


def test_seeds_to_decide():
    generator = np.random.default_rng(1)
    values = generator.normal(size=5)
    values = (values - values.mean()) / values.std(ddof=1)  # mean 0, standard deviation 1
    # bounds +-1: the smallest n with (t(.975) + t(.9)) / sqrt(n) < 1; n = 13: (2.1788 + 1.3562) / 3.6056 = 0.980,
    # n = 12: (2.2010 + 1.3634) / 3.4641 = 1.029
    assert stats.seeds_to_decide(values, -1, 1) == 13
    # with that many seeds the interval does stay within the bounds in at least 80 % of cases
    drawn = generator.normal(size=(2000, 13))
    inside = [low > -1 and high < 1 for low, high in map(stats.mean_interval, drawn)]
    assert 0.78 < np.mean(inside) < 0.95
    assert stats.seeds_to_decide(values, 0, np.inf) is None  # the mean is on the bound
    assert stats.seeds_to_decide([5, 5, 5], 0, 1) == 2


def test_mean_height_by_hand():
    # straight from (0, 0) to (10, 10), flat to 20: area from 5 to 20 is (5 + 10) / 2 * 5 + 10 * 10 = 137.5
    assert stats.mean_height([0, 10, 20], [0, 10, 10], 5, 20) == pytest.approx(137.5 / 15)
    assert stats.mean_height([0, 10], [3, 3], 2, 7) == pytest.approx(3)
    with pytest.raises(ValueError, match="from 0 to 10, not from 5 to 11"):
        stats.mean_height([0, 10], [3, 3], 5, 11)
