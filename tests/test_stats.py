"""Statistics against outside oracles: scipy's own tests, brute force, exact integrals, and what each method promises over many experiments."""
import itertools, warnings

import numpy as np, pandas as pd, pytest
from bioplaus.core import BadInput
from bioplaus.matched import at_compute, at_equal, common_level
from bioplaus.stats import Comparison, bootstrap, compare_paired, confidence, effect_size, holm, interval, permutation, tost, tost_power
from scipy import integrate, optimize, stats


def draws(*shape, seed=0): return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("n", [2, 3, 9])
def test_small_samples_get_students_t(n):
    v = draws(n)
    np.testing.assert_allclose(confidence(v), stats.t.interval(0.95, n - 1, v.mean(), stats.sem(v)))


@pytest.mark.parametrize("kind", ["normal", "exponential", "lognormal"])
def test_bca_covers(kind):
    "20 seeds: 95% on paper, a little less for so few values that are skewed."
    g, mean = np.random.default_rng(1), {"normal": 0, "exponential": 1, "lognormal": np.exp(0.5)}[kind]
    both = np.array([bootstrap(getattr(g, kind)(size=20), draws=499, seed=i) for i in range(600)])
    assert {"normal": 0.91, "exponential": 0.88, "lognormal": 0.83}[kind] < np.mean((both[:, 0] < mean) & (mean < both[:, 1])) < 0.98


@pytest.mark.parametrize("values", [[0.5] * 10, [0.0] * 12, [0.1 + 0.2, 0.3] * 6, [1e-300] * 10, [0.9] * 10 + [np.nan]])
def test_bca_of_values_that_are_all_the_same(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = bootstrap(values)
    assert low == high == values[0]


@pytest.mark.parametrize("values", [[0.5] * 9 + [0.6], [0.0] * 19 + [1e-9], [0, 1] * 5])
def test_bca_of_values_that_are_nearly_the_same(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = bootstrap(values)
    assert min(values) <= low <= np.mean(values) <= high <= max(values)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 13])
@pytest.mark.parametrize("ties", [False, True])
def test_permutation_is_scipys(n, ties):
    a, b = draws(n, seed=n) + 0.3, draws(n, seed=n + 1)
    if ties: a, b = a.round(1), b.round(1)
    if n == 1: return np.testing.assert_allclose(permutation(a, b), (1, 1))  # scipy wants two
    mean = lambda x, y, axis=-1: np.mean(x - y, axis=axis)
    theirs = stats.permutation_test((a, b), mean, permutation_type="samples", n_resamples=np.inf, vectorized=True).pvalue
    assert np.isclose(permutation(a, b).p, theirs, rtol=1e-12) and permutation(a, b).smallest == 2.0 ** (1 - n)


def test_permutation_counts_what_differs_by_rounding_alone():
    "0.1 + 0.2 − 0.3 isn't 0 for a computer; by hand, 0.1 and 0.2 against −0.3 give sums of 0, which every choice of signs reaches."
    assert permutation([0.1, 0.2, -0.3], [0, 0, 0]).p == 1


@pytest.mark.parametrize("n", [3, 5, 20])
def test_hedges_correction_is_unbiased(n):
    d = draws(10_000, n, seed=n) + 0.5
    g = np.array([effect_size(v, np.zeros(n)) for v in d])
    assert abs(g.mean() - 0.5) < 4 * g.std() / np.sqrt(len(g))
    exact = np.mean(d[0]) / d[0].std(ddof=1) / (integrate.quad(lambda u: u ** -0.5 * stats.chi2.pdf(u, n - 1), 0, np.inf)[0] * np.sqrt(n - 1))  # over E[1/s]
    assert np.isclose(g[0], exact, rtol=1e-4)


@pytest.mark.parametrize("m", [1, 2, 5, 8])
def test_holm_is_the_closed_bonferroni_test(m):
    p = np.random.default_rng(m).uniform(0, 0.2, m).round(2)
    every = [c for k in range(1, m + 1) for c in itertools.combinations(range(m), k)]
    np.testing.assert_allclose(holm(p), [max(min(1, len(c) * p[list(c)].min()) for c in every if i in c) for i in range(m)])
    assert (holm(p) >= p).all() and (np.diff(holm(np.sort(p))) >= 0).all()


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_false_findings_of_a_whole_table(alpha):
    "600 studies of four rules that are all the same, twelve seeds that share their luck: a family errs in at most alpha of them."
    g, wrong = np.random.default_rng(2), 0
    pairs = [Comparison(f"{r} − 0", r, "0") for r in "123"]
    for _ in range(600):
        values = g.normal(size=(1, 12)) + g.standard_t(4, size=(4, 12))
        table = pd.DataFrame({"rule": np.repeat(list("0123"), 12), "seed": np.tile(range(12), 4), "accuracy": values.ravel()})
        p = [permutation(values[i], values[0]).p for i in (1, 2, 3)]
        wrong += min(holm(p)) <= alpha
        if _ == 0: np.testing.assert_allclose(compare_paired(table, pairs).holm, holm(p))
    assert wrong / 600 < alpha + 3 * np.sqrt(alpha / 600)


def test_tost_is_two_t_tests():
    for seed in range(20):
        a, b = draws(8, seed=seed), draws(8, seed=seed + 100) + 0.1
        found = tost(a, b, 1.0)
        lower, upper = stats.ttest_1samp(a - b, -1, alternative="greater").pvalue, stats.ttest_1samp(a - b, 1, alternative="less").pvalue
        assert np.isclose(found.p, max(lower, upper))
        assert (found.p <= 0.05) == (-1 <= found.low and found.high <= 1)


@pytest.mark.parametrize("n,sd,difference", [(2, 0.2, 0), (5, 0.5, 0.2), (10, 1, 0), (10, 1, -0.4), (40, 2, 0.1)])
def test_power_of_tost_is_the_exact_integral(n, sd, difference):
    error, t = sd / np.sqrt(n), stats.t.ppf(0.95, n - 1)
    inside = lambda s: stats.norm.cdf((1 - t * s - difference) / error) - stats.norm.cdf((-1 + t * s - difference) / error)
    density = lambda s: stats.chi.pdf(s / error * np.sqrt(n - 1), n - 1) * np.sqrt(n - 1) / error
    exact = integrate.quad(lambda s: inside(s) * density(s), 0, 1 / t, points=[min(error, 0.99 / t)], limit=200)[0]
    assert abs(tost_power(1, sd, n, difference) - exact) < 1e-4


def test_comparisons_of_seeds_in_any_order():
    a, b = draws(10, seed=3), draws(10, seed=4)
    table = pd.DataFrame({"rule": ["x"] * 10 + ["y"] * 10, "seed": [*range(10), *range(9, -1, -1)], "accuracy": [*a, *b[::-1]]}).sample(frac=1, random_state=0)
    row = compare_paired(table, [Comparison("x − y", "x", "y", margin=3.0)]).iloc[0]
    mean, half = interval(a - b, 0.90)
    assert np.isclose(row.difference, (a - b).mean()) and np.isclose(row.p, permutation(a, b).p) and np.allclose((row.tost_low, row.tost_high), (mean - half, mean + half))


def test_bad_comparisons():
    table = pd.DataFrame({"rule": list("xxyy"), "seed": [0, 1, 0, 1], "accuracy": [0.1, np.nan, 0.2, 0.3]})
    pair = Comparison("x − y", "x", "y")
    with pytest.raises(BadInput, match="1 of 2 pairs"): compare_paired(table, [pair])
    with pytest.raises(BadInput, match="one side only"): compare_paired(table.iloc[:3], [pair])
    with pytest.raises(BadInput, match="share a seed"): compare_paired(pd.concat([table, table]), [pair])
    with pytest.raises(BadInput, match="margin"): compare_paired(table.fillna(0), [Comparison("x − y", "x", "y", margin=-1)])


def test_matched_reads_what_a_root_finder_finds():
    g = np.random.default_rng(5)
    history = pd.DataFrame([{"rule": r, "seed": s, "epoch": e, "valid_accuracy": a, "noisy": n}
                            for r in "xy" for s in range(4) for e, (a, n) in enumerate(zip(np.sort(g.uniform(size=12)), g.uniform(size=12)))])
    level = common_level(history)
    assert level == history.groupby(["rule", "seed"]).valid_accuracy.max().min()
    found = at_equal(history, "noisy", 0.9 * level).set_index(["rule", "seed"])
    spent = at_compute(history, "noisy", 6, {"x": 1.0, "y": 2.5}).set_index(["rule", "seed"])
    for key, h in history.groupby(["rule", "seed"]):
        curve = lambda e, c: np.interp(e, h.epoch, h[c])
        if h.valid_accuracy.iloc[0] < 0.9 * level:
            e = optimize.brentq(lambda e: curve(e, "valid_accuracy") - 0.9 * level, 0, 11)
            assert np.isclose(found.loc[key, "epoch"], e) and np.isclose(found.loc[key, "noisy"], curve(e, "noisy"))
        assert np.isclose(spent.loc[key, "noisy"], curve({"x": 6, "y": 2.4}[key[0]], "noisy"))
