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
    # two runs 0 and 1: the four equally likely resamples have means 0, 1/2, 1/2, 1; 2.5% and 97.5% are the ends
    assert stats.bootstrap_interval([0, 1], stats.mean, seed=3) == (0, 1)
    assert stats.bootstrap_interval(np.ones((1, 64)), stats.mean, seed=3) == (1, 1)  # one run, more tasks than axes
    # at confidence 0.4 the ends are the 30% and 70% quantiles, both 1/2
    assert stats.bootstrap_interval([0, 1], stats.mean, confidence=0.4, seed=3) == (0.5, 0.5)


@pytest.mark.parametrize("statistic", [stats.mean, stats.iqm])
def test_interval_against_enumeration(statistic):
    scores = np.array([1.0, 4.0, 9.0, 16.0])
    # all 4**4 = 256 equally likely resamples, whatever the seed
    exact = [statistic(np.array(sample)) for sample in itertools.product(scores, repeat=4)]
    enumerated = stats.bootstrap_interval(scores, statistic, resamples=256, confidence=0.9, seed=5)
    assert enumerated == pytest.approx(np.quantile(exact, [0.05, 0.95], method="inverted_cdf"))
    assert enumerated == stats.bootstrap_interval(scores, statistic, confidence=0.9, seed=6)
    # one fewer is drawn; with 20,000 of the 10^10 resamples of ten values a share of 5% has a standard error of 0.15%
    ten = np.arange(10.0) ** 2
    low, high = stats.bootstrap_interval(ten, statistic, resamples=20_000, confidence=0.9)
    other = [statistic(ten[np.random.default_rng(k).integers(0, 10, 10)]) for k in range(5000)]
    assert np.quantile(other, 0.03) <= low <= np.quantile(other, 0.07)
    assert np.quantile(other, 0.93) <= high <= np.quantile(other, 0.97)


def test_paired_probability_is_enumerated():
    x, y = [1.0, 2, 3], [1.5, 2.5, 3.5]
    ends = [stats.probability_of_improvement_interval(x, y, paired=True, resamples=27, seed=seed) for seed in (0, 1)]
    assert ends[0] == ends[1]  # 3^3 = 27 resamples
    shares = [stats.probability_of_improvement(np.take(x, sample), np.take(y, sample))
              for sample in itertools.product(range(3), repeat=3)]  # fmt: skip
    assert ends[0] == pytest.approx(np.quantile(shares, [0.025, 0.975], method="inverted_cdf"))


def test_interval_is_stratified():
    # two tasks without spread inside: each resample holds both tasks in full, so the mean never moves from 5;
    # resampling over all ten scores together would move it
    table = np.array([[0.0, 10.0]] * 5)
    assert stats.bootstrap_interval(table, stats.mean) == (5, 5)
    # runs are drawn for each task by itself: of the 16 resamples of two runs with scores (0, 0) and (1, -1), one has
    # the mean -1/2 and one 1/2, and 1/16 is more than 2.5%; the same runs for both tasks would always have the mean 0
    assert stats.bootstrap_interval([[0, 0], [1, -1]], stats.mean) == (-0.5, 0.5)


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
    # of y's four resamples one is (0, 0), which 1 always beats, and one (2, 2), which it never does
    assert stats.probability_of_improvement_interval([1], [0, 2], paired=False) == (0, 1)
    low, high = stats.probability_of_improvement_interval([1, 2, 3], [1.5, 2.5, 3.5], paired=False)
    assert 0 <= low < 2 / 9 * 1.5 < high <= 1  # the estimate is 3/9: (2,1.5), (3,1.5), (3,2.5)
    # one seed drawn every time (probability 1/9 each) pairs a run with its partner, which it never beats
    paired_low, paired_high = stats.probability_of_improvement_interval([1, 2, 3], [1.5, 2.5, 3.5], paired=True)
    assert paired_low == 0
    assert paired_high < high  # the pairing removes the luck of drawing good x with bad y
    with pytest.raises(ValueError, match="equal in number"):
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
    # within a sketch's lowest twentieth the quantile function is far from linear, which reaches the pooled 5%
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


def unit(count: int = 5) -> np.ndarray:
    """Values of mean 0 and standard deviation 1."""
    values = np.random.default_rng(1).normal(size=count)
    return (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize(("low", "high", "number"), [(-1, 1, 13), (-1, np.inf, 10), (0.5, np.inf, 34)])
def test_seeds_to_decide_gives_the_power_it_says(low, high, number):
    """The first guess is normal theory: (1.96 + .84)^2 / d^2 seeds at a distance of d standard deviations.

    d = 1: 7.8; d = 1/2: 31.4; Student's t takes a few more. Between two bounds at 1 the interval can miss either, so
    each miss may have 10%: (1.96 + 1.28)^2 = 10.5, and a few more.
    """
    assert stats.seeds_to_decide(unit(), low, high).about == number

    def power(count):
        drawn = np.random.default_rng(2).normal(size=(40_000, count))
        half = scipy.stats.t.ppf(0.975, count - 1) * drawn.std(1, ddof=1) / np.sqrt(count)
        ends = drawn.mean(1) - half, drawn.mean(1) + half
        decided = (ends[0] > low) & (ends[1] < high) if low < 0 else ends[1] < low
        return decided.mean()

    # a share of .8 of 40,000 has a standard error of 0.002
    assert power(number) > 0.8 - 0.006
    assert power(number - 1) < 0.8 + 0.006


def test_seeds_to_decide_at_other_levels_and_at_the_ends():
    # a power of 90%: (1.96 + 1.28)^2 = 10.5 by normal theory, and a few more
    assert 12 <= stats.seeds_to_decide(unit(), -1, np.inf, power=0.9).about <= 13
    assert stats.seeds_to_decide(unit(), 0, np.inf).about is None  # the mean is on the bound
    assert stats.seeds_to_decide([5, 5, 5], 0, 1).about == 2
    assert stats.seeds_to_decide([1, 1, 1], 0, 1).about is None


def test_ends_of_the_number_of_seeds():
    """Five values at a distance of one standard deviation have t = sqrt(5) with 4 degrees of freedom.

    True distances of 1.6665 and 0.2249 give less than that with 10% and 90%.
    """
    found, distances = stats.seeds_to_decide(unit(), -1, np.inf), (1.666543, 0.224876)
    assert scipy.stats.nct.cdf(5**0.5, 4, 5**0.5 * np.array(distances)) == pytest.approx([0.1, 0.9], abs=1e-5)
    for number, distance in zip((found.least, found.most), distances, strict=True):
        fewer, enough = (
            scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, n - 1), n - 1, n**0.5 * distance) for n in (number - 1, number)
        )
        assert fewer < 0.8 <= enough


def test_interval_of_the_number_of_seeds(monkeypatch):
    """In 80% of samples of five the true distance lies in the interval, so the true number does."""
    monkeypatch.setattr(stats, "MOST_SEEDS", 200)
    truth = stats.seeds_to_decide(unit(), -1, np.inf).about
    drawn = np.random.default_rng(3).normal(size=(1000, 5))
    found = [stats.seeds_to_decide(values, -1, np.inf) for values in drawn if values.mean() > -1]
    held = [one.least <= truth <= (one.most or np.inf) for one in found]
    # standard error sqrt(.8 * .2 / 1000) = 0.013, and numbers are whole
    assert 0.76 < np.mean(held) < 0.86
    assert all(one.least <= (one.about or np.inf) <= (one.most or np.inf) for one in found)


def test_holm_by_hand():
    # sorted .01, .02, .04, times 3, 2, 1: .03, .04, .04; never below a smaller one's: .04 stays
    assert stats.holm([0.02, 0.01, 0.04]) == pytest.approx([0.04, 0.03, 0.04])
    assert stats.holm([0.02, 0.015]) == pytest.approx([0.03, 0.03])
    assert stats.holm([0.9, 0.8]) == pytest.approx([1, 1])


def test_mean_height_by_hand():
    # straight from (0, 0) to (10, 10), flat to 20: area from 5 to 20 is (5 + 10) / 2 * 5 + 10 * 10 = 137.5
    assert stats.mean_height([0, 10, 20], [0, 10, 10], 5, 20) == pytest.approx(137.5 / 15)
    assert stats.mean_height([0, 10], [3, 3], 2, 7) == pytest.approx(3)
    with pytest.raises(ValueError, match="from 0 to 10, not from 5 to 11"):
        stats.mean_height([0, 10], [3, 3], 5, 11)
    with pytest.raises(ValueError, match="not from -1 to 5"):
        stats.mean_height([0, 10], [3, 3], -1, 5)
