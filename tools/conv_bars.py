"""Accuracy and cost of rules on networks with filters, beside their bars.   python tools/conv_bars.py WHAT [options]

WHAT   lenet     LeNet on MNIST or Fashion-MNIST (--task): backprop, usf, fa, dfa, kolen-pollack
       softhebb  one layer of SoftHebb's filters and a linear readout, against random filters (a paired difference)
       cost      a step of LeNet on made-up images of MNIST's size: against plain nn.Conv2d networks, one after the
                 other, and of each rule against backprop

Learning rates are those of the cards, or --lr. Trained networks are kept in --out, so that a run which was stopped
goes on; test images are looked at once, at the end. Exits 1 if a bar is missed.
"""
import argparse, sys, time
from pathlib import Path

import torch, torch.nn.functional as F
from bioplaus.convnet import LENET
from bioplaus.core import read_value
from bioplaus.data import load_task
from bioplaus.network import make_network
from bioplaus.products import keep_memory
from bioplaus.rule import make_rule
from bioplaus.stats import interval
from bioplaus.training import fit, make_optimizer, stepper
from torch import nn

BARS = {
    "mnist": {"backprop": 98.8, "usf": 98.7, "fa": 97.8, "dfa": 97.8, "kolen-pollack": 98.6},
    "fashion-mnist": {"backprop": 89.5, "usf": 89.0, "fa": 85.5, "dfa": 85.5, "kolen-pollack": 89.0},
}
DEAREST = {"fa": 1.15, "usf": 1.15, "kolen-pollack": 1.35}  # costs of a step, in backprop's
FASTER = 1.2  # than plain PyTorch, for each network


def accuracy(rule, net, task, how):
    "Test accuracy (%) of each seed."
    made = make_rule(rule, make_network(net, (task.n_in, task.n_classes), task.shape, replicas=how.seeds))
    out = how.out and how.out / f"{how.task}_{net}_{rule}_{how.seeds}_{how.epochs}"
    start = time.perf_counter()
    run = fit(made, task, epochs=how.epochs, lr=how.lr, batch_size=how.batch, schedule=how.schedule, out=out)
    found = 100 * run.evaluate(task.x_test, task.y_test)["accuracy"]
    spent = time.perf_counter() - start
    print(f"{rule}: {shown(found)}%, valid {100 * run.final.valid_accuracy.mean():.2f}%, {spent:.0f} s", flush=True)
    return found


def shown(values):
    "Mean and half the width of a 95% t-interval."
    if len(values) < 2: return f"{values.mean():.2f} (one seed)"
    return "{:.2f} ± {:.2f}".format(*interval(values.tolist()))


def lenet(how):
    task, bars = load_task(how.task, device="cpu"), BARS.get(how.task, {})
    missed = []
    for rule in how.rules or ["backprop", "usf", "fa", "dfa", "kolen-pollack"]:
        mean, bar = accuracy(rule, "lenet", task, how).mean().item(), bars.get(rule, 0)
        print(f"    bar {bar}: {'met' if mean >= bar else f'missed by {bar - mean:.2f}'}", flush=True)
        missed += [rule] * (mean < bar)
    return missed


def softhebb(how):
    task = load_task(how.task, device="cpu")
    learnt, random = (accuracy(rule, how.net, task, how) for rule in ("softhebb", "frozen-filters"))
    print(f"softhebb − frozen-filters: {shown(learnt - random)} points")
    return ["softhebb"] * (learnt.mean().item() < 98.5)


def plain_step(x, y):
    "A step of each of ten plain networks, one after the other."
    def made():
        return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                             nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84),
                             nn.ReLU(), nn.Linear(84, 10))
    nets = [made() for _ in x]
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.05, fused=True) for net in nets]

    def step():
        with torch.enable_grad():
            for net, optimizer, image, label in zip(nets, optimizers, x, y):
                optimizer.zero_grad()
                F.cross_entropy(net(image.view(-1, 1, 28, 28)), label).backward()
                optimizer.step()
    return step


def our_step(name, x, y):
    rule = make_rule(name, make_network(LENET, (784, 10), (28, 28), replicas=len(x)))
    step = stepper(make_optimizer(rule, "sgd", 0.05), None, True)
    return lambda: rule.learn(x, y, step)


@torch.no_grad()
def cost(how):
    keep_memory()
    g = torch.Generator().manual_seed(how.seed)
    x, y = torch.rand(10, 64, 784, generator=g), torch.randint(10, (10, 64), generator=g)
    jobs = {"plain": plain_step(x, y)} | {n: our_step(n, x, y) for n in ("backprop", *DEAREST)}
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(how.turns):  # in turns, so that whatever else the machine does meets all of them
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            best[name] = min(best[name], time.perf_counter() - start)
    for name, seconds in best.items(): print(f"{name}: {1000 * seconds:.1f} ms a step of ten networks")
    faster = best["plain"] / best["backprop"]
    print(f"{faster:.2f} times as fast as plain PyTorch, for each network (bar {FASTER})")
    ratios = {n: best[n] / best["backprop"] for n in DEAREST}
    for n, ratio in ratios.items(): print(f"{n}: {ratio:.2f} of backprop's cost (bar {DEAREST[n]})")
    return ["speed"] * (faster < FASTER) + [n for n, ratio in ratios.items() if ratio > DEAREST[n]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("lenet", "softhebb", "cost"))
    parser.add_argument("--task", default="mnist")
    parser.add_argument("--rules", type=lambda text: text.split(","))
    parser.add_argument("--net", default="softhebb-one", help="of what=softhebb")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=read_value, help="a rate, or a pair (hidden,output)")
    parser.add_argument("--schedule", default="linear")
    parser.add_argument("--seed", type=int, default=0, help="of what=cost")
    parser.add_argument("--turns", type=int, default=20, help="of what=cost: how often each is timed")
    parser.add_argument("--out", type=Path)
    how = parser.parse_args()
    missed = {"lenet": lenet, "softhebb": softhebb, "cost": cost}[how.what](how)
    if missed: print("missed: " + ", ".join(missed))
    sys.exit(bool(missed))
