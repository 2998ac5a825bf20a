"""How often `rsa_inference` finds what isn't there, and misses what is.   python tools/rsa_coverage.py [--worlds 200]

In each made-up world the models `a` and `b` are equally good and `none` knows nothing, so a difference between the
first two, and a similarity of the last, are false findings; about 5% of the worlds may have one. The interval of `a`
should hold its mean over all worlds in about 95% of them. Numbers come with their simulation error (± one standard
error). Exit 1 where more is found, or less is held, than four standard errors of such a simulation allow.
"""
import argparse, sys
from pathlib import Path

import numpy as np, torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from bioplaus.brains import rsa_inference
from bioplaus.core import stream
from bioplaus.representations import rdm

ROWS = {"none against zero": ("none", "zero"), "a against b": ("a", "b"), "a against zero": ("a", "zero")}


def world(seed, subjects, items):
    "(data, models): subjects see ten features of each item with weights of their own; a and b know five each."
    g = stream(seed, "world")
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    x, eyes = draw(items, 10), draw(10, 20) + 0.5 * draw(subjects, 10, 20)
    known = {"a": x[:, :5], "b": x[:, 5:], "none": draw(items, 5)}
    data = rdm(x @ eyes + 2 * draw(subjects, items, 20), "euclidean")
    return data, {name: rdm(features, "euclidean") for name, features in known.items()}


def trial(over, worlds, seed, draws, subjects, items):
    "Print a line for each comparison; whether all is as it should be."
    tables = [rsa_inference(*world(seed + w, subjects, items), over=over, draws=draws).set_index(["model", "against"])
              for w in range(worlds)]
    fine = True
    for name, row in ROWS.items():
        values = np.array([t.loc[row, ["difference", "low", "high", "p"]].tolist() for t in tables], dtype=float)
        truth = values[:, 0].mean() if row == ("a", "zero") else 0
        found = (values[:, 3] <= 0.05).mean()
        held = ((values[:, 1] <= truth) & (truth <= values[:, 2])).mean()
        error = lambda share: (share * (1 - share) / worlds) ** 0.5
        print(f"{over:8s} {name:18s} p ≤ .05 in {found:.1%} ± {error(found):.1%}, interval holds {truth:.3f} in "
              f"{held:.1%} ± {error(held):.1%}")
        enough = held >= 0.95 - 4 * error(0.05)
        fine &= enough and (truth != 0 or found <= 0.05 + 4 * error(0.05))
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("worlds", 200), ("seed", 0), ("draws", 200), ("subjects", 8), ("items", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    fine = [trial(over, a.worlds, a.seed, a.draws, a.subjects, a.items) for over in ("items", "both")]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__": main()
