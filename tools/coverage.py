"""How often do 95% intervals of a mean cover the truth?   python tools/coverage.py [--studies 10000] [--out FILE]

For each shape that accuracies and their differences can have, and for n from 3 to 30 seeds, it simulates studies and
counts in how many of them each interval holds the true mean, on which side it misses, and how wide it is beside
Student's t. The table, nbs/results/coverage.csv, is shown by nbs/30_stats.ipynb. It needs a quarter of an hour of one
core.
"""
import argparse
from pathlib import Path

import numpy as np, pandas as pd
from bioplaus.core import stream, written_whole
from bioplaus.stats import confidence, interval
from scipy import stats

OUT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "coverage.csv"
SEEDS = (3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30)
CHUNK, DRAWS = 50, 999  # so many studies share their bootstrap draws, and so many draws each has


def mixture(g, size):
    "Seven of ten seeds learn (95%), the others stay at chance."
    return np.where(g.random(size) < 0.7, g.normal(0.95, 0.005, size), g.normal(0.1, 0.01, size))


SHAPES = {  # (draw, true mean)
    "normal": (lambda g, size: g.normal(size=size), 0.0),
    "near the ceiling": (lambda g, size: 1 - g.gamma(4, 0.005, size), 0.98),
    "seven of ten learn": (mixture, 0.7 * 0.95 + 0.3 * 0.1),
    "t with 5 degrees of freedom": (lambda g, size: g.standard_t(5, size), 0.0),
    "exponential": (lambda g, size: g.exponential(size=size), 1.0),
}


def students_t(x, g):
    mean, half = interval(x)
    return mean - half, mean + half


def sign_flips(x, g):
    "`confidence`, which is Student's t below six values."
    return np.transpose([confidence(v) for v in x])


def bca(x, g):
    "Bias-corrected and accelerated bootstrap (Efron 1987), scipy's; (value, value) where all values are the same."
    low, high = np.full((2, len(x)), x[:, 0])
    varied = np.ptp(x, axis=1) > 0
    found = stats.bootstrap((x[varied],), np.mean, axis=-1, n_resamples=DRAWS, method="BCa", vectorized=True, rng=g)
    low[varied], high[varied] = found.confidence_interval
    return low, high


def bootstrap_t(x, g):
    "The bootstrap's own quantiles of t = (mean* − mean) / error* in place of Student's (Efron 1979)."
    mean, error = x.mean(1), x.std(1, ddof=1) / np.sqrt(x.shape[1])
    again = x[:, g.integers(0, x.shape[1], (DRAWS, x.shape[1]))]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (again.mean(2) - mean[:, None]) / (again.std(2, ddof=1) / np.sqrt(x.shape[1]))
        t[np.isnan(t)] = 0  # all redrawn values are the same, and the mean is
        few, many = np.quantile(t, [0.025, 0.975], axis=1, method="inverted_cdf")
        low, high = mean - many * error, mean - few * error
    return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)


METHODS = {"Student's t": students_t, "sign flips": sign_flips, "bootstrap-t": bootstrap_t, "BCa": bca}


def rows(shape, n, studies):
    "A row for each method."
    draw, truth = SHAPES[shape]
    g = np.random.default_rng(stream(0, "coverage", shape, n).initial_seed())
    x = draw(g, (studies, n))
    for method, of in METHODS.items():
        low, high = np.concatenate([of(x[i:i + CHUNK], g) for i in range(0, studies, CHUNK)], axis=1)
        width = np.median(high - low)
        if method == "Student's t": of_t = width
        below, above = np.mean(high < truth), np.mean(low > truth)
        yield {"shape": shape, "n": n, "method": method, "studies": studies, "covered": 1 - below - above,
               "too low": below, "too high": above, "width beside t": width / of_t}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--studies", type=int, default=10000, help="simulated studies for each shape and n (default: 10000)")
    p.add_argument("--out", type=Path, default=OUT)
    a = p.parse_args()
    found = []
    for shape in SHAPES:
        for n in SEEDS: found += rows(shape, n, a.studies)
        table = pd.DataFrame(found).query("shape == @shape")
        print(table.pivot(index="n", columns="method", values="covered").round(3).to_string(), flush=True)
    with written_whole(a.out) as tmp: pd.DataFrame(found).to_csv(tmp, index=False, float_format="%.4g")


if __name__ == "__main__": main()
