"""The full-MNIST numbers of the tutorial "Make Hebb learn".   python tools/hebb_study.py [PART ...] [--out FOLDER]

Each part first chooses every rule's learning rates on validation images (one seed, a few epochs), then trains with 5 or 10 other seeds
and looks at the test images once. Needs MNIST (`bioplaus data mnist`) and about an hour of two cores; killed and called again,
it goes on where it was. The small tables go to nbs/results/hebb_*.csv.
"""
import argparse, contextlib, os, subprocess, time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
from bioplaus.core import cards
from bioplaus.data import load_task
from bioplaus.study import Study, parse_rule, run_study, search_lr

ROOT = Path(__file__).resolve().parent.parent
TUNING_SEED = 1000  # a seed that no part uses for its results


@dataclass(frozen=True)
class Part:
    rules: tuple
    hidden: tuple
    epochs: int
    seeds: int
    batch_size: int = 100
    classes: int = 10
    tuning_epochs: int = 2


LABEL_FREE = ("softhebb", "hard-wta", "krotov-hopfield", "oja", "oja-subspace", "sanger", "bcm", "pretrain")
PARTS = {
    "narrow": Part(("backprop", "linear", "frozen", "frozen-softhebb", "hebb", "hebb-clamp", "covariance-clamp", *LABEL_FREE, "softhebb:project=0.05",
                    "softhebb:readout=hebb", "softhebb:readout=hebb,project=0.05", "frozen-softhebb:readout=hebb", "hebb-backprop", "hebb-mixed", "contrastive", "shuffled"), (100,), 10, 10),
    "wide": Part(("softhebb", "krotov-hopfield", "frozen-softhebb", "backprop"), (2000,), 20, 5),
    "one-pass": Part(("backprop", "frozen-softhebb", "softhebb"), (2000,), 1, 5, batch_size=32, tuning_epochs=1),
    "two-classes": Part(("backprop", "hebb", "hebb-clamp"), (100,), 5, 10, batch_size=32, classes=2),
}


def grid(part, spec):
    "The card's rates, and up to ten times more and less of each."
    name, around = parse_rule(spec)[0], lambda r: [float(f"{r * k:.1g}") for k in (0.1, 0.3, 1, 3, 10)]
    lr = cards()[name].lr
    if "readout=hebb" in spec: lr = (lr[0], 0.1)
    if not isinstance(lr, tuple): return around(lr)
    wide = [around(lr[0])[2:], around(lr[1])[1:4]]  # large networks cost more, and like larger rates below
    hidden, output = wide if part.hidden[0] > 1000 else map(around, lr)
    return list(product([lr[0]] if name.startswith("frozen") else hidden, output))


def tuned(part, spec, task):
    "The rates of a rule, and the validation accuracies that chose them."
    with contextlib.redirect_stderr(open(os.devnull, "w")):
        found = search_lr(spec, task, grid(part, spec), seeds=1, epochs=part.tuning_epochs, hidden=part.hidden, batch_size=part.batch_size, seed=TUNING_SEED)
    best = found.loc[found.accuracy.fillna(0).idxmax()]
    return best.rate, best.accuracy


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    p.add_argument("--out", type=Path, default=ROOT / "_build" / "hebb", help="folder of the studies (default: _build/hebb)")
    a = p.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    for name in a.parts: run_part(name, PARTS[name], a.out, commit)


def run_part(name, part, out, commit):
    task, table = load_task("mnist", part.classes, device="cpu"), ROOT / "nbs" / "results" / f"hebb_{name.replace('-', '_')}.csv"
    done = pd.read_csv(table) if table.exists() else pd.DataFrame({"rule": []})
    for spec in [r for r in part.rules if r not in set(done.rule)]:
        start = time.perf_counter()
        rate, valid = tuned(part, spec, task)
        given = f"{spec}{',' if ':' in spec else ':'}lr={rate}".replace(" ", "")
        study = Study((given,), ("mnist",), (part.classes,), part.seeds, hidden=part.hidden, epochs=part.epochs, batch_size=part.batch_size, perturbations=("gaussian:0.3",))
        outcome = run_study(study, out / name / spec.replace(":", "_").replace(",", "_"), device="cpu", progress=False)
        rows = outcome.results[["rule", "seed", "perturbation", "level", "accuracy"]].assign(
            rule=spec, lr=str(rate), valid=valid, hidden=part.hidden[0], epochs=part.epochs, batch_size=part.batch_size, classes=part.classes,
            seconds=round(time.perf_counter() - start), commit=commit)
        done = pd.concat([done, rows], ignore_index=True)
        table.parent.mkdir(exist_ok=True)
        done.to_csv(table, index=False, float_format="%.5g")
        clean = rows[rows.perturbation == "clean"].accuracy
        print(f"{name}: {spec} lr {rate} (validation {valid:.4f}): test {clean.mean():.4f}, sd {clean.std():.4f}, n {len(clean)}, {rows.seconds.iloc[0]} s", flush=True)


if __name__ == "__main__": main()
