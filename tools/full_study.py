"""The numbers of the tutorials on full data sets.   python tools/full_study.py [PART ...] [--out FOLDER]

Each part first chooses every rule's learning rates on validation images (one seed of its own, a few epochs), then
trains with 5 or 10 other seeds and looks at the test images once. It needs MNIST (`bioplaus data mnist`) and
Fashion-MNIST, and minutes to an hour of two cores for each part; killed and called again, it goes on where it was. The
small tables go to nbs/results/.
"""
import argparse, contextlib, os, time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pandas as pd
from bioplaus.core import cards
from bioplaus.data import load_task
from bioplaus.design import Study, commit, parse_rule
from bioplaus.search import search_lr
from bioplaus.study import run_study

ROOT = Path(__file__).resolve().parent.parent
TUNING_SEED = 1000  # a seed that no part uses for its results


@dataclass(frozen=True)
class Part:
    rules: tuple
    hidden: tuple = (100,)
    epochs: int = 10
    seeds: int = 10
    task: str = "mnist"
    classes: int = 10
    act: str = "sigmoid"
    batch_size: int = 100
    schedule: str | None = None
    optimizer: str = "sgd"
    rates: tuple = ()  # to choose from; (): around those of the rule's card
    choices: tuple = ("",)  # options to choose from, for each rule that is not backprop
    tuning_epochs: int = 2
    alone: bool = False  # one seed after the other: a stack of very wide networks doesn't fit the processor's cache


LABEL_FREE = ("softhebb", "hard-wta", "krotov-hopfield", "oja", "oja-subspace", "sanger", "bcm", "pretrain")
FEEDBACK = ("backprop", "fa", "dfa", "usf", "brsf", "frsf", "kolen-pollack", "weight-mirror")
DEEP = dict(hidden=(256, 256, 256), act="tanh", epochs=20, seeds=5, batch_size=64, schedule="linear")
# two epochs of tuning would choose a rate that is too high for twenty
ADAM = DEEP | dict(optimizer="adam", rates=(0.0003, 0.001, 0.003), batch_size=128, tuning_epochs=8)
# the card's hard controller on learnt pseudo-inverse wires, or a soft one on learnt Jacobian wires
SOFTER = ("", "feedback=local,leak=10.0")
CONTROLLED = ("hebb-control", "covariance-control", "oja-control", "contrastive-control", "contrastive-control:reach=1",
              "contrastive-control:feedback=noise")
NARROW = ("backprop", "linear", "frozen", "frozen-softhebb", "hebb", "hebb-clamp", "covariance-clamp", *LABEL_FREE,
          "softhebb:project=0.05", "softhebb:readout=hebb", "softhebb:readout=hebb,project=0.05",
          "frozen-softhebb:readout=hebb", "hebb-backprop", "hebb-mixed", "contrastive", "shuffled")
PARTS = {
    "hebb_narrow": Part(NARROW),
    "hebb_wide": Part(("softhebb", "frozen-softhebb"), hidden=(2000,), epochs=20, seeds=5),
    "hebb_wide_longer": Part(("krotov-hopfield",), hidden=(2000,), epochs=30, seeds=5),
    "hebb_pretrain": Part(("pretrain:by=krotov-hopfield",), hidden=(2000,), epochs=50, seeds=5,
                          rates=tuple(product((0.03, 0.1), (100.0, 300.0))), tuning_epochs=8, alone=True),
    "hebb_one_pass": Part(("backprop", "frozen-softhebb", "softhebb", "softhebb:power=16"), hidden=(2000,), epochs=1,
                          seeds=5, batch_size=32, tuning_epochs=1),
    "hebb_two_classes": Part(("backprop", "hebb", "hebb-clamp"), epochs=5, classes=2, batch_size=32),
    "feedback_mnist": Part(FEEDBACK, **DEEP),
    "feedback_fashion": Part(("backprop", "fa", "dfa", "kolen-pollack"), task="fashion-mnist", **DEEP),
    "control_mnist": Part(("backprop", "dfc-ssa"), **ADAM | dict(seeds=10, choices=SOFTER)),
    "control_simulated": Part(("dfc-ss", "dfc"), **ADAM | dict(choices=tuple(o and f"{o},tau=25.0" for o in SOFTER))),
    "control_strong": Part(("strong-dfc",), **ADAM),
    "control_strong_longer": Part(("strong-dfc",), **ADAM | dict(epochs=30, rates=(0.0005, 0.001, 0.002))),
    "control_fashion": Part(("backprop", "dfc-ssa"), task="fashion-mnist", **ADAM | dict(choices=SOFTER)),
    "hebb_control": Part(("backprop", "frozen", "hebb-clamp", "covariance-clamp", *CONTROLLED), hidden=(256,),
                         rates=(1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)),
    "microcircuit": Part(("backprop", "fa", "microcircuit", "microcircuit:nudge=10.0"), hidden=(500, 500), act="tanh",
                         epochs=20, seeds=5, schedule="linear", optimizer="adam", rates=(0.0003, 0.001, 0.003)),
    "perturbation": Part(("frozen", "node-perturbation:antithetic=True", "weight-perturbation:antithetic=True",
                          "reward-hebb"), act="relu", epochs=20, seeds=5, batch_size=64, schedule="linear",
                         rates=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), tuning_epochs=5),
}


def grid(part, spec):
    "The card's rates, and up to ten times more and less of each."
    if part.rates: return list(part.rates)
    name, around = parse_rule(spec)[0], lambda r: [float(f"{r * k:.1g}") for k in (0.1, 0.3, 1, 3, 10)]
    lr = cards()[name].lr
    if "readout=hebb" in spec: lr = (lr[0], 0.1)
    if not isinstance(lr, tuple): return around(lr)
    wide = [around(lr[0])[2:], around(lr[1])[1:4]]  # large networks cost more, and like larger rates below
    hidden, output = wide if part.hidden[0] > 1000 else map(around, lr)
    return list(product([lr[0]] if name.startswith("frozen") else hidden, output))


def joined(spec, *options):
    "A rule with more options."
    options = [o.replace(" ", "") for o in options if o]
    return spec + "".join((":" if i == 0 and ":" not in spec else ",") + o for i, o in enumerate(options))


def training(part):
    "What tuning and the study share."
    return {k: getattr(part, k) for k in ("hidden", "act", "batch_size", "schedule", "optimizer")}


def tuned(part, spec, task):
    "The options and rate of a rule that are best on validation images, and their accuracy there."
    found = []
    for options in part.choices if spec != "backprop" else ("",):
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            tried = search_lr(joined(spec, options), task, grid(part, spec), seeds=1, epochs=part.tuning_epochs,
                              seed=TUNING_SEED, **training(part))
        found.append(tried.assign(options=options))
        print(f"  {joined(spec, options)}: validation {dict(zip(tried.rate, tried.accuracy.round(4)))}", flush=True)
    found = pd.concat(found, ignore_index=True)
    best = found.loc[found.accuracy.fillna(0).idxmax()]
    return best.options, best.rate, best.accuracy


def results(part, spec, task, out):
    "One row for each seed and condition of a rule, with what made it."
    options, rate, valid = tuned(part, spec, task)
    given, folder = joined(spec, options, f"lr={rate}"), out / spec.replace(":", "_").replace(",", "_")
    study = Study((given,), (part.task,), (part.classes,), part.seeds, epochs=part.epochs,
                  perturbations=("gaussian:0.3",), **training(part))
    studies = {folder: study}
    if part.alone: studies = {folder / str(s): replace(study, seeds=1, seed=s) for s in range(part.seeds)}
    tables = [run_study(s, f, device="cpu", progress=False).results for f, s in studies.items()]
    found = pd.concat(tables, ignore_index=True)[["rule", "seed", "perturbation", "level", "accuracy"]]
    kept = ("task", "classes", "act", "epochs", "batch_size", "schedule", "optimizer")
    settings = {k: getattr(part, k) for k in kept}
    hidden = "-".join(map(str, part.hidden))
    return found.assign(rule=spec, options=options, lr=str(rate), valid=valid, hidden=hidden, **settings)


def run_part(name, part, out):
    table, task = ROOT / "nbs" / "results" / f"{name}.csv", load_task(part.task, part.classes, device="cpu")
    table.parent.mkdir(exist_ok=True)
    done = pd.read_csv(table) if table.exists() else pd.DataFrame({"rule": []})
    for spec in [r for r in part.rules if r not in set(done.rule)]:
        start = time.perf_counter()
        rows = results(part, spec, task, out / name).assign(seconds=round(time.perf_counter() - start), commit=commit())
        done = pd.concat([done, rows], ignore_index=True)
        done.to_csv(table, index=False, float_format="%.5g")
        clean = rows[rows.perturbation == "clean"].accuracy
        print(f"{name}: {spec} lr {rows.lr[0]} (validation {rows.valid[0]:.4f}): test {clean.mean():.4f}, "
              f"sd {clean.std():.4f}, n {len(clean)}, {rows.seconds[0]} s", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    p.add_argument("--out", type=Path, default=ROOT / "_build" / "full",
                   help="folder of the studies (default: _build/full)")
    a = p.parse_args()
    strange = [n for n in a.parts if n not in PARTS]
    if strange: p.error(f"there is no part {strange[0]!r}; there are {', '.join(PARTS)}")
    for name in a.parts: run_part(name, PARTS[name], a.out)


if __name__ == "__main__": main()
