#!/usr/bin/env python
"""Is a rule's step faster when torch.compile has written it? Both ways in turns, in one process; samples a second."""
import argparse, statistics, time
from pathlib import Path

import pandas as pd
from bioplaus.core import BadInput
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.training import Recipe, checked_settings, compiled, make_optimizer, stepper, train_epoch

RULES = ["backprop", "fa", "kolen-pollack", "hebb-clamp", "softhebb", "dfc-ssa", "predictive-coding-error"]


def epoch(name, task, seeds, fast):
    "(a function that trains for an epoch, seconds that compiling took)"
    rule = make_rule(name, MLP((task.n_in, 100, task.n_classes), replicas=seeds))
    rule.normalise = task.mean, task.std
    settings = checked_settings(rule, Recipe(epochs=1))
    step = stepper(make_optimizer(rule, "sgd", settings.lr), settings.replica_lr, True)
    x, start = rule.transform(task.x_train), time.perf_counter()
    learn = compiled(rule, x, task.y_train, settings) if fast else None
    run = lambda: train_epoch(rule, x, task.y_train, settings, 1, step, learn=learn)
    run()
    return run, time.perf_counter() - start


def measured(name, task, seeds, turns):
    "One row of the table: medians of interleaved turns, or why there is none."
    try: sides = [epoch(name, task, seeds, fast) for fast in (False, True)]
    except BadInput as e: return {"rule": name, "refused": str(e)}
    seconds = [[], []]
    for _ in range(turns):
        for taken, (run, _) in zip(seconds, sides):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    plain, fast = (len(task.y_train) * seeds / statistics.median(s) for s in seconds)
    return {"rule": name, "plain": plain, "compiled": fast, "ratio": fast / plain, "compiling_s": sides[1][1]}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("rules", nargs="*", default=RULES, help=f"default: {' '.join(RULES)}")
    p.add_argument("--task", default="mnist-mini")
    p.add_argument("--seeds", type=int, default=10, help="networks in a stack (default: 10)")
    p.add_argument("--turns", type=int, default=7, help="of each side (default: 7)")
    p.add_argument("--out", type=Path, default=Path("nbs/results/compiled.csv"))
    args = p.parse_args()
    task = load_task(args.task, device="cpu")
    table = pd.DataFrame([measured(name, task, args.seeds, args.turns) for name in args.rules])
    table.round(2).to_csv(args.out, index=False)
    print(table.round(2).to_string(index=False))


if __name__ == "__main__": main()
