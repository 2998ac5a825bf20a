"Statistics against outside oracles: scipy's tests, brute force, exact integrals, and each method's promise, simulated."
import itertools, re, warnings
from pathlib import Path

import numpy as np, pandas as pd, pytest
from bioplaus.core import BadInput
from bioplaus.matched import at_compute, at_equal, common_level, finished
from bioplaus.stats import Comparison, compare_paired, confidence, corrected, effect_size, holm, interval
from bioplaus.stats import permutation, tost, tost_power
from bioplaus.tables import correction_note, difference_table, statistics
from scipy import integrate, optimize, stats

RESULTS = Path(__file__).parent.parent / "nbs" / "results"

def draws(*shape, seed=0): return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_small_samples_get_students_t(n):
    v = draws(n)
    np.testing.assert_allclose(confidence(v), stats.t.interval(0.95, n - 1, v.mean(), stats.sem(v)))


SHAPES = {"normal": (lambda g, size: g.normal(size=size), 0),
          "near the ceiling": (lambda g, size: 1 - g.gamma(4, 0.005, size), 0.98),
          "t5": (lambda g, size: g.standard_t(5, size), 0)}


def covers(shape, n, studies):
    "Share of simulated studies whose interval holds the true mean."
    draw, truth = SHAPES[shape]
    values = draw(np.random.default_rng(n), (studies, n))
    if n < 6:  # Student's t, many at once
        mean, half = interval(values)
        low, high = mean - half, mean + half
        np.testing.assert_allclose([confidence(v) for v in values[:50]], np.transpose([low, high])[:50])
    else: low, high = np.transpose([confidence(v) for v in values])
    return np.mean((low <= truth) & (truth <= high))


@pytest.mark.parametrize("shape", ["normal", "near the ceiling"])
@pytest.mark.parametrize("n,studies", [(5, 100_000), (6, 2000), (7, 3000), (8, 3000), (10, 3000), (20, 1000),
                                       (30, 1000)])
def test_intervals_cover(shape, n, studies): assert covers(shape, n, studies) >= 0.93


@pytest.mark.parametrize("shape", ["normal", "t5"])
@pytest.mark.parametrize("n", [6, 8, 11])
def test_coverage_of_symmetric_shapes_is_known(shape, n):
    "Of 2^n equally likely signs, those beyond either end are missed: no more of them than 5% allow."
    exact = 1 - 2 * int(0.05 * 2 ** (n - 1)) / 2**n
    assert abs(covers(shape, n, 2000) - exact) < 3.5 * np.sqrt(exact * (1 - exact) / 2000)


def test_the_stored_figure_says_the_same():
    table = pd.read_csv(RESULTS / "coverage.csv").set_index(["shape", "n", "method"]).covered
    for shape in ("normal", "near the ceiling"):
        flips = {n: table[shape, n, "sign flips"] for n in table[shape].index.unique("n") if n >= 5}
        assert min(flips.values()) >= 0.93 > table[shape, 10, "BCa"]
        for n in (5, 6, 9): assert abs(flips[n] - covers(shape, n, 1500)) < 4 * np.sqrt(0.95 * 0.05 / 1500)


@pytest.mark.parametrize("n,level", [(6, 0.95), (8, 0.95), (8, 0.99), (10, 0.9), (12, 0.95)])
def test_interval_is_scipys_test_inverted(n, level):
    "Bisection with scipy's own permutation test finds the same ends."
    d = np.random.default_rng(n).exponential(size=n)
    mean = lambda x, axis=-1: np.mean(x, axis=axis)
    every = dict(permutation_type="samples", n_resamples=np.inf, vectorized=True)
    p = lambda m: stats.permutation_test((d - m,), mean, **every).pvalue

    def end(far, near):
        for _ in range(30):
            middle = (far + near) / 2
            far, near = (far, middle) if p(middle) > 1 - level else (middle, near)
        return near
    ends = end(d.min() - 1, d.mean()), end(d.max() + 1, d.mean())
    np.testing.assert_allclose(confidence(d, level), ends, atol=1e-7)


@pytest.mark.parametrize("n", [6, 9, 15, 16, 40])
def test_interval_and_test_agree(n):
    "Zero is left out exactly where p ≤ 0.05; coarse values, so that many sums are zero but for rounding."
    g, seen = np.random.default_rng(n), set()
    for i in range(300):
        d = np.round(g.normal(g.uniform(0, 3) / np.sqrt(n), 1, n), 1) / (10 if i % 2 else 1)
        low, high = confidence(d)
        seen.add(rejected := permutation(d, 0 * d).p <= 0.05)
        assert (low > 0 or high < 0) == rejected and d.min() <= low <= d.mean() <= high <= d.max()
    assert seen == {False, True}


@pytest.mark.parametrize("values", [[0.5] * 10, [0.0] * 12, [0.1 + 0.2, 0.3] * 6, [1e-300] * 10, [0.9] * 10 + [np.nan],
                                    [0.3, 0.3], [0.1 + 0.2, 0.3, 0.3]])
def test_interval_of_values_that_are_all_the_same(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = confidence(values)
    assert low == high == values[0]


@pytest.mark.parametrize("values", [[0.5] * 9 + [0.6], [0.0] * 19 + [1e-9], [0, 1] * 5, [1e200] * 6 + [2e200],
                                    [1e-200, 2e-200] * 4])
def test_interval_of_values_that_are_nearly_the_same(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = confidence(values)
    assert min(values) <= low <= np.mean(values) <= high <= max(values) and low < high


@pytest.mark.parametrize("values", [[], [np.nan], [0.7], [0.7, np.nan]])
def test_no_interval_of_fewer_than_two(values): assert np.isnan(confidence(values)).all()


def hypothesis(name): return pd.read_csv(RESULTS / f"hypothesis_{name}.csv", dtype={"labels": str, "hidden": str})


@pytest.mark.parametrize("task", ["mnist", "fashion-mnist"])
def test_every_stored_comparison_agrees_with_its_p(task):
    "The full study's ten seeds: each rule against backprop in every measure, and noise at matched clean accuracy."
    results = hypothesis("results").query("task == @task and classes == 10")
    found = statistics(results)
    history = hypothesis("history").query("task == @task and classes == 10")
    two = history[history.rule.isin(["backprop", "dfa"])]
    equal = at_equal(two, "gaussian:0.3", common_level(two))
    matched = compare_paired(equal, [Comparison("dfa − backprop", "dfa", "backprop")], "gaussian:0.3")
    every = pd.concat([found, matched])
    assert len(every) > 100 and (every.n >= 6).all() and ((every.low > 0) | (every.high < 0)).equals(every.p <= 0.05)
    shown = difference_table(results)
    for f in found[found.family == "clean"].itertuples():
        said = [float(v) for v in re.findall(r"[+-][\d.]+", shown.loc["clean", f.comparison])]
        np.testing.assert_allclose(said, [100 * f.difference, 100 * f.low, 100 * f.high], atol=0.051)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 13])
@pytest.mark.parametrize("ties", [False, True])
def test_permutation_is_scipys(n, ties):
    a, b = draws(n, seed=n) + 0.3, draws(n, seed=n + 1)
    if ties: a, b = a.round(1), b.round(1)
    if n == 1: return np.testing.assert_allclose(permutation(a, b), (1, 1))  # scipy wants two
    mean = lambda x, y, axis=-1: np.mean(x - y, axis=axis)
    every = dict(permutation_type="samples", n_resamples=np.inf, vectorized=True)
    theirs = stats.permutation_test((a, b), mean, **every).pvalue
    assert np.isclose(permutation(a, b).p, theirs, rtol=1e-12) and permutation(a, b).smallest == 2.0 ** (1 - n)


def test_permutation_counts_what_differs_by_rounding_alone():
    "0.1 + 0.2 − 0.3 isn't 0 for a computer; by hand these three give sums of 0, which every choice of signs reaches."
    assert permutation([0.1, 0.2, -0.3], [0, 0, 0]).p == 1


@pytest.mark.parametrize("n", [3, 5, 20])
def test_hedges_correction_is_unbiased(n):
    d = draws(10_000, n, seed=n) + 0.5
    g = np.array([effect_size(v, np.zeros(n)) for v in d])
    assert abs(g.mean() - 0.5) < 4 * g.std() / np.sqrt(len(g))
    reciprocal = integrate.quad(lambda u: u ** -0.5 * stats.chi2.pdf(u, n - 1), 0, np.inf)[0] * np.sqrt(n - 1)  # E[1/s]
    exact = np.mean(d[0]) / d[0].std(ddof=1) / reciprocal
    assert np.isclose(g[0], exact, rtol=1e-4)


@pytest.mark.parametrize("m", [1, 2, 5, 8])
def test_holm_is_the_closed_bonferroni_test(m):
    p = np.random.default_rng(m).uniform(0, 0.2, m).round(2)
    every = [c for k in range(1, m + 1) for c in itertools.combinations(range(m), k)]
    closed = [max(min(1, len(c) * p[list(c)].min()) for c in every if i in c) for i in range(m)]
    np.testing.assert_allclose(holm(p), closed)
    assert (holm(p) >= p).all() and (np.diff(holm(np.sort(p))) >= 0).all()


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_false_findings_of_a_whole_table(alpha):
    "600 studies of four equal rules, twelve seeds that share their luck: a family errs in at most alpha of them."
    g, wrong = np.random.default_rng(2), 0
    pairs = [Comparison(f"{r} − 0", r, "0") for r in "123"]
    for _ in range(600):
        values = g.normal(size=(1, 12)) + g.standard_t(4, size=(4, 12))
        table = pd.DataFrame({"rule": np.repeat(list("0123"), 12), "seed": np.tile(range(12), 4),
                              "accuracy": values.ravel()})
        p = [permutation(values[i], values[0]).p for i in (1, 2, 3)]
        wrong += min(holm(p)) <= alpha
        if _ == 0:
            found = compare_paired(table, pairs)[["holm", "holm_all"]]
            np.testing.assert_allclose(found, np.transpose([holm(p)] * 2))
    assert wrong / 600 < alpha + 3 * np.sqrt(alpha / 600)


def test_one_correction_over_all_families():
    "Nothing to correct within families of one row, two tests over all; with ten pairs, 26 are too many for a finding."
    row = pd.DataFrame({"family": ["a", "b"], "comparison": ["x", "y"], "p": [0.03, 0.04], "smallest": 2**-9,
                        "tost": [0.02, np.nan]})
    found = corrected(row)
    columns = found[["holm", "holm_all", "tost_holm"]]
    np.testing.assert_allclose(columns, [[0.03, 0.06, 0.02], [0.04, 0.06, np.nan]])
    assert correction_note(row) == "2 of 2 comparisons have p (Holm) ≤ 0.05; one correction over all 2 would leave 0."
    many = pd.DataFrame({"family": range(26), "comparison": "x", "p": 2**-9, "smallest": 2**-9})
    assert "could leave none, whatever they showed" in correction_note(many)
    assert correction_note(many[:25]).endswith("over all 25 would leave 25.")


def test_tost_is_two_t_tests():
    for seed in range(20):
        a, b = draws(8, seed=seed), draws(8, seed=seed + 100) + 0.1
        found = tost(a, b, 1.0)
        lower = stats.ttest_1samp(a - b, -1, alternative="greater").pvalue
        upper = stats.ttest_1samp(a - b, 1, alternative="less").pvalue
        assert np.isclose(found.p, max(lower, upper))
        assert (found.p <= 0.05) == (-1 <= found.low and found.high <= 1)


@pytest.mark.parametrize("n,sd,difference", [(2, 0.2, 0), (5, 0.5, 0.2), (10, 1, 0), (10, 1, -0.4), (40, 2, 0.1)])
def test_power_of_tost_is_the_exact_integral(n, sd, difference):
    error, t = sd / np.sqrt(n), stats.t.ppf(0.95, n - 1)
    below = lambda v: stats.norm.cdf(v / error)
    inside = lambda s: below(1 - t * s - difference) - below(-1 + t * s - difference)
    density = lambda s: stats.chi.pdf(s / error * np.sqrt(n - 1), n - 1) * np.sqrt(n - 1) / error
    exact = integrate.quad(lambda s: inside(s) * density(s), 0, 1 / t, points=[min(error, 0.99 / t)], limit=200)[0]
    assert abs(tost_power(1, sd, n, difference) - exact) < 1e-4


def test_comparisons_of_seeds_in_any_order():
    a, b = draws(10, seed=3), draws(10, seed=4)
    table = pd.DataFrame({"rule": ["x"] * 10 + ["y"] * 10, "seed": [*range(10), *range(9, -1, -1)],
                          "accuracy": [*a, *b[::-1]]}).sample(frac=1, random_state=0)
    row = compare_paired(table, [Comparison("x − y", "x", "y", margin=3.0)]).iloc[0]
    mean, half = interval(a - b, 0.90)
    assert np.isclose(row.difference, (a - b).mean()) and np.isclose(row.p, permutation(a, b).p)
    assert np.allclose((row.tost_low, row.tost_high), (mean - half, mean + half))


def test_bad_comparisons():
    table = pd.DataFrame({"rule": list("xxyy"), "seed": [0, 1, 0, 1], "accuracy": [0.1, np.nan, 0.2, 0.3]})
    pair = Comparison("x − y", "x", "y")
    with pytest.raises(BadInput, match="1 of 2 pairs"): compare_paired(table, [pair])
    with pytest.raises(BadInput, match="one side only"): compare_paired(table.iloc[:3], [pair])
    with pytest.raises(BadInput, match="share a seed"): compare_paired(pd.concat([table, table]), [pair])
    with pytest.raises(BadInput, match="margin"):
        compare_paired(table.fillna(0), [Comparison("x − y", "x", "y", margin=-1)])


def made_history(g):
    curves = lambda: zip(np.sort(g.uniform(size=12)), g.uniform(size=12))
    return pd.DataFrame([{"rule": r, "seed": s, "epoch": e, "valid_accuracy": a, "noisy": n}
                         for r in "xy" for s in range(4) for e, (a, n) in enumerate(curves())])


def test_matched_reads_what_a_root_finder_finds():
    history = made_history(np.random.default_rng(5))
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


def made_runs(g, ends, lengths):
    "Runs that end at `ends`, {(rule, seed): (clean, noisy) by length}, by ways that say nothing."
    rows = []
    for (r, s), both in ends.items():
        for n, c, v in zip(lengths, *both):
            rows += [{"task": "t", "rule": r, "seed": s, "epochs": n, "epoch": e, "valid_accuracy": g.uniform(),
                      "noisy": g.uniform()} for e in range(n)]
            rows.append({"task": "t", "rule": r, "seed": s, "epochs": n, "epoch": n, "valid_accuracy": c, "noisy": v})
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_between_finished_runs():
    "Each run's end counts, not the way; what is read lies between the two ends around the level, or the budget."
    g, lengths = np.random.default_rng(6), (2, 4, 8, 15)
    ends = {(r, s): (np.sort(g.uniform(0.3, 0.9, 4)), g.uniform(size=4)) for r in "xy" for s in range(5)}
    runs = made_runs(g, ends, lengths)
    table = finished(runs)
    level = common_level(table)
    assert level == min(c.max() for c, _ in ends.values()) and len(table) == 40
    read = at_equal(table, "noisy", level).set_index(["rule", "seed"])
    spent = at_compute(table, "noisy", 6, {"x": 1.0, "y": 2.0}).set_index(["rule", "seed"])
    for key, (c, v) in ends.items():
        if c[0] > level:
            assert np.isnan(read.noisy[key])  # above the level after the shortest run
        else:
            assert np.isclose(read.noisy[key], np.interp(level, c, v))
            assert np.isclose(read.epoch[key], np.interp(level, c, lengths))
        assert np.isclose(spent.noisy[key], np.interp({"x": 6, "y": 3}[key[0]], lengths, v))
    with pytest.raises(BadInput, match="has not ended its schedule"):
        finished(runs[(runs.epochs < 15) | (runs.epoch < 14)])
    with pytest.raises(BadInput, match="one length only"): finished(runs[runs.epochs == 4])


def test_readings_within_a_schedule_mistake_the_phase_for_the_rule():
    "Two equally robust rules, one slower, whose accuracy under noise suffers from a high rate: 60 studies, ten seeds."
    g, wrong = np.random.default_rng(7), {"within": 0, "between": 0}
    pair = [Comparison("slow − fast", "slow", "fast")]

    def run(rule, pace, n, seed, luck):
        e = np.arange(n + 1.0)
        clean = 1 - 0.9 * np.exp(-pace * e) - luck
        noisy = clean - 0.1 * (1 - e / n) + g.normal(0, 0.01, n + 1)
        return pd.DataFrame({"rule": rule, "seed": seed, "epoch": e, "epochs": n, "valid_accuracy": clean,
                             "noisy": noisy})

    every = list(itertools.product((("fast", 0.5), ("slow", 0.25)), (2, 4, 8, 15), range(10)))
    for _ in range(60):
        luck = g.normal(0, 0.005, 10)
        runs = pd.concat([run(r, pace, n, s, luck[s]) for (r, pace), n, s in every])
        for name, h in (("within", runs[runs.epochs == 15].drop(columns="epochs")), ("between", finished(runs))):
            wrong[name] += compare_paired(at_equal(h, "noisy", 0.8), pair, "noisy").p[0] <= 0.05
    assert wrong["within"] > 50 and wrong["between"] < 60 * 0.05 + 3 * np.sqrt(60 * 0.05)
