"""The numbers of the tutorials on full data sets.   python tools/full_study.py [PART ...] [--out FOLDER]

Each part first chooses every rule's learning rates on validation images (one seed of its own, a few epochs), then trains with 5 or 10 other
seeds and looks at the test images once. It needs MNIST (`bioplaus data mnist`) and Fashion-MNIST, and minutes to an hour of two cores for
each part; killed and called again, it goes on where it was. The small tables go to nbs/results/.
"""
import argparse, contextlib, os, time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
from bioplaus.core import cards
from bioplaus.data import load_task
from bioplaus.study import Study, parse_rule, run_study, search_lr
from choose_rates import commit

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
    tuning_epochs: int = 2


LABEL_FREE = ("softhebb", "hard-wta", "krotov-hopfield", "oja", "oja-subspace", "sanger", "bcm", "pretrain")
FEEDBACK = ("backprop", "fa", "dfa", "usf", "brsf", "frsf", "kolen-pollack", "weight-mirror")
DEEP = dict(hidden=(256, 256, 256), act="tanh", epochs=20, seeds=5, batch_size=64, schedule="linear")
ADAM = DEEP | dict(optimizer="adam", rates=(0.0003, 0.001, 0.003), batch_size=128, tuning_epochs=8)  # two epochs would choose a rate that is too high for twenty
PARTS = {
    "hebb_narrow": Part(("backprop", "linear", "frozen", "frozen-softhebb", "hebb", "hebb-clamp", "covariance-clamp", *LABEL_FREE, "softhebb:project=0.05",
                         "softhebb:readout=hebb", "softhebb:readout=hebb,project=0.05", "frozen-softhebb:readout=hebb", "hebb-backprop", "hebb-mixed", "contrastive", "shuffled")),
    "hebb_wide": Part(("softhebb", "frozen-softhebb"), hidden=(2000,), epochs=20, seeds=5),
    "hebb_wide_longer": Part(("krotov-hopfield", "krotov-hopfield:anti=0.4"), hidden=(2000,), epochs=50, seeds=5),
    "hebb_one_pass": Part(("backprop", "frozen-softhebb", "softhebb", "softhebb:power=16"), hidden=(2000,), epochs=1, seeds=5, batch_size=32, tuning_epochs=1),
    "hebb_two_classes": Part(("backprop", "hebb", "hebb-clamp"), epochs=5, classes=2, batch_size=32),
    "feedback_mnist": Part(FEEDBACK, **DEEP),
    "feedback_fashion": Part(("backprop", "fa", "dfa", "kolen-pollack"), task="fashion-mnist", **DEEP),
    "control_mnist": Part(("backprop", "dfc-ssa"), **ADAM | dict(seeds=10)),
    "control_simulated": Part(("dfc-ss", "strong-dfc", "dfc"), **ADAM),
    "control_fashion": Part(("backprop", "dfc-ssa"), task="fashion-mnist", **ADAM),
    "hebb_control": Part(("backprop", "frozen", "hebb-clamp", "covariance-clamp", "hebb-control", "covariance-control", "oja-control", "contrastive-control", "contrastive-control:reach=1", "contrastive-control:feedback=noise"),
                         hidden=(256,), rates=(1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)),
    "microcircuit": Part(("backprop", "fa", "microcircuit", "microcircuit:nudge=10.0"), hidden=(500, 500), act="tanh", epochs=20, seeds=5, schedule="linear", optimizer="adam", rates=(0.0003, 0.001, 0.003)),
    "perturbation": Part(("frozen", "node-perturbation", "weight-perturbation", "reward-hebb"), epochs=20, seeds=5, batch_size=32),
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


def tuned(part, spec, task):
    "The rates of a rule, and the validation accuracy that chose them."
    settings = dict(hidden=part.hidden, act=part.act, epochs=part.tuning_epochs, batch_size=part.batch_size, schedule=part.schedule, optimizer=part.optimizer, seed=TUNING_SEED)
    with contextlib.redirect_stderr(open(os.devnull, "w")): found = search_lr(spec, task, grid(part, spec), seeds=1, **settings)
    best = found.loc[found.accuracy.fillna(0).idxmax()]
    return best.rate, best.accuracy


def results(part, spec, task, out):
    "One row for each seed and condition of a rule, with what made it."
    rate, valid = tuned(part, spec, task)
    given = f"{spec}{',' if ':' in spec else ':'}lr={rate}".replace(" ", "")
    study = Study((given,), (part.task,), (part.classes,), part.seeds, hidden=part.hidden, act=part.act, epochs=part.epochs, batch_size=part.batch_size, schedule=part.schedule, optimizer=part.optimizer, perturbations=("gaussian:0.3",))
    found = run_study(study, out / spec.replace(":", "_").replace(",", "_"), device="cpu", progress=False).results
    settings = {k: getattr(part, k) for k in ("task", "classes", "act", "epochs", "batch_size", "schedule", "optimizer")}
    return found[["rule", "seed", "perturbation", "level", "accuracy"]].assign(rule=spec, lr=str(rate), valid=valid, hidden="-".join(map(str, part.hidden)), **settings)


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
        print(f"{name}: {spec} lr {rows.lr[0]} (validation {rows.valid[0]:.4f}): test {clean.mean():.4f}, sd {clean.std():.4f}, n {len(clean)}, {rows.seconds[0]} s", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    p.add_argument("--out", type=Path, default=ROOT / "_build" / "full", help="folder of the studies (default: _build/full)")
    a = p.parse_args()
    strange = [n for n in a.parts if n not in PARTS]
    if strange: p.error(f"there is no part {strange[0]!r}; there are {', '.join(PARTS)}")
    for name in a.parts: run_part(name, PARTS[name], a.out)


if __name__ == "__main__": main()
