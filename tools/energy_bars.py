"""How well rules that settle do on the full MNIST, and what a step of each costs in steps of backprop.

    OMP_NUM_THREADS=1 python tools/energy_bars.py [RULE ...] [--seeds N] [--epochs N] [--cost-only] [--tune]

Each rule is trained beside backprop on the same network, images and seeds, under Adam, all seeds in a stack. With
`--tune` rates are chosen on validation images, among those around --lr, with another seed; without, all take --lr.
A backprop that was trained for one rule serves the next one, if that asks for the same and for no more seeds.
Test accuracies are shown with intervals, and the paired difference from backprop with the result of two one-sided
tests at a margin of 0.1 points (TOST). It exits with 1 if a bar is missed that was tried at its full length.
A cost is the median of ratios of batches that took turns; other programs on the machine blur it, and do not bend it.
"""
import argparse, statistics, sys, time
from pathlib import Path

import pandas as pd
import torch
from bioplaus.core import choose, stream
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.products import keep_memory
from bioplaus.rule import make_rule
from bioplaus.search import search_lr
from bioplaus.stats import interval
from bioplaus.training import chosen_products, fit, make_optimizer, stepper
from scipy import stats

# rule → (hidden sizes, act, epochs, options, bar in %, most steps of backprop that a step may cost)
BARS = {
    "dual-propagation": ((500, 500), "tanh", 30, {}, 97.9, 1.6),
    "predictive-coding-error": ((500, 500), "tanh", 25, {}, 97.6, 2.5),
    "predictive-coding": ((500, 500), "tanh", 15, {}, 97.6, 7.0),
    "equilibrium-propagation": ((500,), "tanh", 20, {}, 97.3, 6.0),
}


def network(task, rule, seeds, hidden=None):
    act = BARS[rule][1]
    return MLP((task.n_in, *(hidden or BARS[rule][0]), task.n_classes), act=act, replicas=seeds)


@torch.no_grad()
def cost(task, rule, hidden, seeds, batch, turns):
    "The median ratio of the time of a step to backprop's, in turns on the same batches, computed as `fit` does."
    steps, order = [], torch.randint(len(task.y_train), (seeds, batch), generator=stream(0, "cost"))
    keep_memory()
    for name, options in ((rule, BARS[rule][3]), ("backprop", {})):
        r = make_rule(name, network(task, rule, seeds, hidden), **options)
        chosen_products(r, batch)
        r.normalise = (task.mean, task.std)
        x = r.transform(task.x_train[order.flatten()]).unflatten(0, order.shape)
        make = stepper(make_optimizer(r, "adam", 1e-4))
        steps.append(lambda r=r, x=x, make=make: r.learn(x, task.y_train[order], make))
    took = [[], []]
    for turn in range(turns + 2):
        for step, times in zip(steps, took):
            start = time.perf_counter()
            step()
            if turn > 1: times.append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*took)]
    return statistics.median(ratios)


def rate(task, rule, name, a):
    "The rate with the best validation accuracy, of --rates around --lr, --apart decades from one to the next."
    hidden, act, *_ = BARS[rule]
    rates = [a.lr * 10 ** (a.apart * (k - (a.rates - 1) / 2)) for k in range(a.rates)]
    found = search_lr(name, task, rates, seeds=1, seed=1000, epochs=a.tuning_epochs, hidden=hidden, act=act,
                      optimizer="adam", batch_size=a.batch, schedule="linear")
    print(f"  {name}: tried", *(f"{r:.2g} → {v:.2%}" for r, v in zip(found.rate, found.accuracy)), flush=True)
    return float(found.groupby("rate").accuracy.mean().idxmax())


def trained(task, rule, name, options, epochs, a):
    "A row for each seed: its test accuracy in %, the rate, how far the rule settled at the end."
    lr = rate(task, rule, name, a) if a.tune else a.lr
    r, start = make_rule(name, network(task, rule, a.seeds), **options), time.perf_counter()
    run = fit(r, task, epochs, lr, a.batch, "adam", schedule="linear", progress=False, warn=False)
    told = {k: run.final[k].to_numpy() for k in ("relaxed", "unsettled") if k in run.final}
    took = (time.perf_counter() - start) / 60
    means = {k: t.mean().round(3).item() for k, t in told.items()}
    print(f"  {name}: lr {lr:.2g}, {epochs} epochs in {took:.1f} min", means, flush=True)
    return pd.DataFrame(dict(rule=name, hidden="-".join(map(str, BARS[rule][0])), epochs=epochs, batch=a.batch, lr=lr,
                             seed=range(a.seeds), accuracy=100 * run.evaluate(task.x_test, task.y_test)["accuracy"],
                             **told))


class Backprops(dict):
    "What backprop reached, by network and epochs."
    def beside(self, task, rule, epochs, a):
        "The rows of as many seeds or more, trained if need be."
        key = (*BARS[rule][:2], epochs)
        if len(self.get(key, ())) < a.seeds: self[key] = trained(task, rule, "backprop", {}, epochs, a)
        return self[key]


def recorded(rows, path):
    "Write `rows` in place of those of the same rule and network."
    new, key = pd.concat(rows).round({"accuracy": 3, "relaxed": 4, "unsettled": 4}), ["rule", "hidden", "epochs"]
    if Path(path).exists():
        old = pd.read_csv(path)
        same = pd.MultiIndex.from_frame(old[key]).isin(pd.MultiIndex.from_frame(new[key]))
        new = pd.concat([old[~same], new])
    new.to_csv(path, index=False, float_format="%.6g")


def equivalent(difference, margin=0.1):
    "The larger p of two one-sided tests that the mean difference lies within ± margin."
    if len(difference) < 2: return float("nan")
    low = stats.ttest_1samp(difference, -margin, alternative="greater").pvalue
    return max(low, stats.ttest_1samp(difference, margin, alternative="less").pvalue)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rules", nargs="*", metavar="RULE", help=f"of {', '.join(BARS)} (default: all)")
    p.add_argument("--task", default="mnist", help="mnist, or mnist-mini to try the script (default: mnist)")
    p.add_argument("--seeds", type=int, default=5, help="networks in a stack (default: 5; the bar of dual asks for 10)")
    p.add_argument("--epochs", type=int, help="of each run (default: those of the bar)")
    p.add_argument("--batch", type=int, default=128, help="images in a batch (default: 128)")
    p.add_argument("--lr", type=float, default=5e-4, help="Adam's rate, or the middle of those tried (default: 0.0005)")
    p.add_argument("--tune", action="store_true", help="choose the rate on validation images")
    p.add_argument("--rates", type=int, default=5, help="how many are tried (default: 5)")
    p.add_argument("--apart", type=float, default=0.25, help="decades between two of them (default: 0.25)")
    p.add_argument("--record", metavar="FILE", help="a table that takes the accuracies, a row for each seed")
    p.add_argument("--tuning-epochs", type=int, default=3, help="of each trial (default: 3)")
    p.add_argument("--turns", type=int, default=30, help="batches that are timed (default: 30)")
    p.add_argument("--cost-only", action="store_true", help="train nothing")
    p.add_argument("--hidden", type=int, nargs="+", help="layers of the network that is timed (default: the bar's)")
    a = p.parse_args()
    task, missed, backprops = load_task(a.task, device="cpu"), [], Backprops()
    for rule in [choose(r, BARS, "rule") for r in a.rules or BARS]:
        bars = BARS[rule]
        full_net, full, options = bars[0], *bars[2:4]
        bar, most = bars[4:]
        found = cost(task, rule, a.hidden or full_net, a.seeds, a.batch, a.turns)
        print(f"{rule}: a step costs {found:.2f} of backprop's (at most {most})", flush=True)
        if found > most: missed.append(f"{rule}: cost")
        if a.cost_only: continue
        epochs = a.epochs or full
        rows, beside = trained(task, rule, rule, options, epochs, a), backprops.beside(task, rule, epochs, a)
        if a.record: recorded([rows, beside], a.record)
        mine, theirs = (torch.tensor(r.accuracy.to_numpy(), dtype=torch.float64) for r in (rows, beside[:a.seeds]))
        said = ["{:.2f} ± {:.2f}".format(*interval(v)) for v in (mine, theirs, mine - theirs)]
        print(f"  {said[0]} %, backprop {said[1]}, difference {said[2]}, TOST p = {equivalent(mine - theirs):.3g}; "
              f"bar {bar}" + ("" if epochs >= full else f" after {full} epochs"), flush=True)
        if epochs >= full and mine.mean() < bar: missed.append(f"{rule}: accuracy")
    if missed: sys.exit("missed: " + ", ".join(missed))


if __name__ == "__main__": main()
