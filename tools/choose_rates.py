"""Choose each rule's default learning rate on validation images.   python tools/choose_rates.py RULE ...

Every rate is tried with 3 seeds on 2, 3 and 10 classes of mnist-mini, and with three activations if the rule's hidden units take the
network's, so that the default is not brittle. A rule with a pair of rates on its card gets a grid of pairs (hidden layers, output).
What has the best mean validation accuracy is what belongs on the card. No test image is used.
The table is written to bioplaus/data_files/rates.csv; rows of rules that are not named stay.
"""
import argparse, contextlib, itertools, os
from pathlib import Path

import pandas as pd
from bioplaus.core import cards
from bioplaus.data import load_task
from bioplaus.design import commit
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.search import search_lr

OUT = Path(__file__).parent.parent / "bioplaus" / "data_files" / "rates.csv"
SEEDS, EPOCHS = 3, 10
RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0]
COMPETING = ([0.1, 0.3, 1.0, 3.0], [3.0, 10.0, 30.0, 100.0, 300.0])  # on the unit sphere
SPREADING = ([1e-6, 1e-5, 1e-4, 1e-3], [1e-4, 1e-3, 1e-2, 0.1])      # linear units, large activity
PLAIN = ([1e-6, 1e-5, 1e-4, 1e-3, 1e-2], [0.03, 0.1, 0.3, 1.0])
GRIDS = {"softhebb": COMPETING, "hard-wta": COMPETING, "pretrain": COMPETING, "krotov-hopfield": ([0.01, 0.03, 0.1, 0.3], COMPETING[1]),
         "oja": SPREADING, "oja-subspace": SPREADING, "sanger": SPREADING, "bcm": ([1e-3, 1e-2, 0.1, 1.0], [0.03, 0.1, 0.3, 1.0, 3.0]),
         "frozen": ([1.0], RATES), "frozen-softhebb": ([1.0], COMPETING[1] + [1000.0])}
ACTS = ("sigmoid", "tanh", "relu")


def grid(rule):
    "Rates, or pairs of rates for hidden layers and output."
    return list(itertools.product(*GRIDS.get(rule, PLAIN))) if isinstance(cards()[rule].lr, tuple) else RATES


def acts(rule):
    "The activations to try: one is enough if the rule brings its own."
    net = MLP((4, 3, 2))
    return ACTS if make_rule(rule, net).hidden is net.activation else ACTS[:1]


def rows(rule):
    for classes, act in itertools.product((2, 3, 10), acts(rule)):
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            found = search_lr(rule, load_task("mnist-mini", classes), grid(rule), seeds=SEEDS, epochs=EPOCHS, act=act)
        # a seed that diverged counts as guessing
        means = found.fillna({"accuracy": 1 / classes}).groupby("rate").accuracy.mean()
        for r, a in means.items():
            hidden, output = r if isinstance(r, tuple) else (r, r)
            yield {"rule": rule, "classes": classes, "act": act, "hidden": hidden, "output": output, "valid_accuracy": round(a, 4)}
        print(rule, classes, act, f"best {means.idxmax()}: {means.max():.3f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rules", nargs="+")
    a = p.parse_args()
    for rule in a.rules:  # each is safe once it is done
        new = pd.DataFrame(rows(rule)).assign(seeds=SEEDS, epochs=EPOCHS, commit=commit())
        old = pd.read_csv(OUT)
        table = pd.concat([old[old.rule != rule], new], ignore_index=True)
        table.to_csv(OUT, index=False)
        best = new.groupby(["hidden", "output"]).valid_accuracy.mean()
        print(f"{rule}: {best.idxmax()} with {best.max():.4f}", flush=True)


if __name__ == "__main__": main()
