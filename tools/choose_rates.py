"""Choose each rule's default learning rate on validation images.   python tools/choose_rates.py RULE ...

Every rate is tried with 5 seeds on 2, 3 and 10 classes of mnist-mini and with three activations, so that the default is not
brittle. The rate with the best mean validation accuracy is the one that belongs on the rule's card. No test image is used.
The table is written to bioplaus/data_files/rates.csv; rows of rules that are not named stay.
"""
import argparse, contextlib, itertools, os, subprocess
from pathlib import Path

import pandas as pd
from bioplaus.data import load_task
from bioplaus.study import search_lr

OUT = Path(__file__).parent.parent / "bioplaus" / "data_files" / "rates.csv"
RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0]
ACTS = ("sigmoid", "tanh", "relu")


def rows(rule):
    for classes, act in itertools.product((2, 3, 10), ACTS):
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            found = search_lr(rule, load_task("mnist-mini", classes), RATES, seeds=5, act=act)
        # a seed that diverged counts as guessing
        means = found.fillna({"accuracy": 1 / classes}).groupby("rate").accuracy.mean()
        yield from ({"rule": rule, "classes": classes, "act": act, "rate": r, "valid_accuracy": round(a, 4)} for r, a in means.items())
        print(rule, classes, act, f"best {means.idxmax()}: {means.max():.3f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rules", nargs="+")
    a = p.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=OUT.parent.parent).stdout.strip()
    new = pd.DataFrame([r for rule in a.rules for r in rows(rule)]).assign(seeds=5, epochs=10, commit=commit)
    old = pd.read_csv(OUT) if OUT.exists() else new.head(0)
    table = pd.concat([old[~old.rule.isin(a.rules)], new], ignore_index=True)
    table.to_csv(OUT, index=False)
    print(table.groupby(["rule", "rate"]).valid_accuracy.mean().unstack(0).round(3).to_string())


if __name__ == "__main__": main()
