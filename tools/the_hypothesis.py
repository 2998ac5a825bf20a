"""The full study behind `nbs/tutorials/06_the_hypothesis.ipynb`.

    python tools/the_hypothesis.py [--parts PART ...] [--out FOLDER]

Learning rates were tuned once, on ten digits, with seeds that the study doesn't use (hypothesis_tuning.csv); then each
cell (one rule on one task, ten seeds) is trained and tested. Finished cells are read from the tables in nbs/results/,
so that a run which was stopped, or goes on elsewhere, computes nothing twice; two runs may share the tables and the
folder. It needs MNIST and Fashion-MNIST (`bioplaus data mnist`), and about eight hours of one core.
"""
import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
from bioplaus.core import choose, written_whole
from bioplaus.design import Cell, Study
from bioplaus.search import best_rates
from bioplaus.study import run_study
from bioplaus.training import load_run
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "nbs" / "results"
CHEAP = ("backprop", "dfc-ssa:feedback=local,leak=10.0", "dfa", "backprop-decay", "backprop-smooth", "fa",
         "kolen-pollack", "dfc-random", "dfc-shuffled", "microcircuit", "softhebb", "hebb-clamp", "frozen")
DEAR = ("strong-dfc", "contrastive-control:feedback=noise", "contrastive")
# they learn from images with Gaussian noise of 0.3
NOISY = {f"{name}, noisy training": rule for name, rule in (("backprop", CHEAP[0]), ("dfc-ssa", CHEAP[1]))}
STUDY = Study(
    rules=CHEAP + DEAR, tasks=("mnist",), classes=(10,), seeds=10, hidden=(256, 256), act="tanh", epochs=15,
    batch_size=64, schedule="linear", images=2000,
    perturbations=("gaussian:0.1", "gaussian:0.2", "gaussian:0.3", "gaussian:0.4", "gaussian:0.5",
                   "salt-and-pepper:0.1", "salt-and-pepper:0.2", "salt-and-pepper:0.3",
                   "hidden-noise:0.5", "hidden-noise:1.0", "fgsm:0.05", "fgsm:0.1", "fgsm:0.2", "pgd:0.05", "pgd:0.1"),
    watch=("gaussian:0.3",), mediators=("weight-norm", "jacobian", "linear-margin"))
PARTS = {  # in the order in which they are worth having
    "core": [(r, t, 10) for t in ("mnist", "fashion-mnist") for r in CHEAP[:2]],
    "mnist": [(r, "mnist", 10) for r in (*CHEAP[:4], *NOISY, *CHEAP[4:])],
    "fashion": [(r, "fashion-mnist", 10) for r in (*CHEAP[:4], *NOISY, *CHEAP[4:])],
    "few": [(r, "mnist", c) for c in (2, 3) for r in (*CHEAP[:4], *NOISY, *CHEAP[4:])],
    "dear": [(r, t, c) for t, c in (("mnist", 10), ("fashion-mnist", 10), ("mnist", 3), ("mnist", 2)) for r in DEAR],
}
# of the history
KEPT = ["epoch", "seed", "task", "classes", "labels", "rule", "valid_accuracy", "gaussian:0.3", "seconds"]


def table(name):
    file = TABLES / f"hypothesis_{name}.csv"
    if not file.exists(): return pd.DataFrame({"rule": [], "task": [], "classes": []})
    return pd.read_csv(file, dtype={"labels": str, "hidden": str, "commit": str})


def add(name, rows):
    with FileLock(TABLES / f".hypothesis_{name}.lock"), written_whole(TABLES / f"hypothesis_{name}.csv") as tmp:
        pd.concat([table(name), rows], ignore_index=True).to_csv(tmp, index=False, float_format="%.5g")


def rate(rule):
    "The rate of a rule, out of the table of trials: 16 each, of three epochs, drawn around what was then on its card."
    found = best_rates(table("tuning"))
    return found[choose(rule, found, "rule with a rate in hypothesis_tuning.csv")]


def run(label, task, classes, out):
    "One cell, into the tables."
    rule = NOISY.get(label, label)
    lr = rate(rule)
    study = replace(STUDY, rules=(rule,), tasks=(task,), classes=(classes,), lr={rule: lr},
                    augment="gaussian:0.3" if label in NOISY else None)
    found = run_study(study, out / Cell(label, task, classes).key, progress=False)
    add("results", found.results.assign(rule=label, lr=str(lr), epochs=STUDY.epochs))
    add("history", found.history[KEPT].assign(rule=label))
    add("checks", found.checks.assign(rule=label))
    clean = found.results[found.results.perturbation == "clean"]
    accuracy, seconds = clean.accuracy.mean(), clean.seconds.iloc[0]
    print(f"{label} on {task}, {classes} classes, lr {lr}: clean {accuracy:.4f}, {seconds:.0f} s", flush=True)


def options(doc):
    "The command line's options, for this tool and those that test its networks."
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=ROOT / "_build" / "hypothesis",
                   help="folder of the cells (default: _build/hypothesis)")
    return p


def trained(labels, task, out):
    "(label, rule with its ten networks) of each rule whose cell for ten classes is finished; prints what is done."
    for label in labels:
        models = list((out / Cell(label, task, 10).key / "models").glob("*.safetensors"))
        if models: yield label, load_run(models[0]).rule
        print(f"{label} on {task}: {'done' if models else 'not trained yet'}", flush=True)


def main():
    p = options(__doc__)
    p.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS, metavar="PART",
                   help=f"of {', '.join(PARTS)} (default: all, in this order)")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for label, task, classes in (cell for part in a.parts for cell in PARTS[part]):
        with FileLock(a.out / f".{Cell(label, task, classes).key}.lock"):  # another run may be at this cell
            done = table("results")
            same = (done.rule == label) & (done.task == task) & (done.classes == classes)
            if not same.any(): run(label, task, classes, a.out)


if __name__ == "__main__": main()
