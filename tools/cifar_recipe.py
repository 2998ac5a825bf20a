"""SoftHebb's recipe for CIFAR-10 (Journé et al. 2023).   python tools/cifar_recipe.py [--task DATA] [options]

DATA is cifar-10, or a folder or an archive in one of its two layouts. First the filters learn without labels: one pass,
ten images at a time, pixels between 0 and 1, no augmentation. Then a linear readout is trained on what the fixed
filters answer: by Adam, 64 images at a time, half of the inputs dropped, its rate halved seven times on the way.
--random leaves the filters as they were drawn: the control. A tenth of the training images is kept for validation,
which the publication didn't do. Each seed's filters and result are kept in --out: a run that was stopped goes on.

Published on test images (%): the whole stack 80.3, with random filters 64.6; 96 filters alone (--net softhebb-one)
71.1 and 64.0. The bar for the whole stack is 79; whoever misses it exits with 1. On two cores the whole stack takes
about half an hour a seed and 3 GB, one layer a few minutes.
"""
import argparse, json, sys
from pathlib import Path

import torch, torch.nn.functional as F
from bioplaus.core import written_whole
from bioplaus.data import load_task
from bioplaus.network import make_network
from bioplaus.products import keep_memory
from bioplaus.rule import make_rule
from bioplaus.stats import interval
from bioplaus.training import fit

HALVED = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the readout's epochs
BARS = {"softhebb": 79.0}


def filters(task, seed, how):
    "One seed's rule after its pass over the images."
    rule = make_rule(how.rule, make_network(how.net, (task.n_in, task.n_classes), task.shape, seed=seed))
    # the rule's own readout is not the recipe's: it hardly moves here, and is left out afterwards
    return fit(rule, task, epochs=1, lr=(how.lr, 1e-9), batch_size=10, schedule="constant", warn=False,
               progress=how.progress, out=how.out / f"{how.rule}_{seed}").rule


@torch.no_grad()
def features(rule, x):
    "What the readout sees of each image, (N, features), in half precision: it is a lot."
    return torch.cat([rule.free(rule.transform(some))[-1].seen.pre[0].half() for some in x.split(100)])


@torch.no_grad()
def accuracy(head, x, y):
    return 100 * sum((head(a.float()).argmax(1) == b).sum().item() for a, b in zip(x.split(500), y.split(500))) / len(y)


@torch.enable_grad()
def readout(x, y, classes, seed, epochs):
    "A linear layer that was trained on features."
    torch.manual_seed(seed)
    head = torch.nn.Linear(x.shape[1], classes)
    adam = torch.optim.Adam(head.parameters(), 0.001)
    falls = torch.optim.lr_scheduler.MultiStepLR(adam, sorted({max(1, round(h * epochs)) for h in HALVED}), 0.5)
    for _ in range(epochs):
        for some in torch.randperm(len(x)).split(64):
            adam.zero_grad()
            F.cross_entropy(head(F.dropout(x[some].float())), y[some]).backward()
            adam.step()
        falls.step()
    return head


def one(task, seed, how):
    "Accuracies (%) of one seed: those that were kept, or new ones."
    kept = how.out / f"{how.rule}_{seed}.json"
    made = {"task": task.fingerprint, "net": how.net, "lr": how.lr, "epochs": how.epochs}
    if kept.exists() and (old := json.loads(kept.read_text())).items() >= made.items(): return old
    rule = filters(task, seed, how)
    lengths = torch.cat([W.norm(dim=-1).flatten() for W in rule.net.weights[:-1]])
    head = readout(features(rule, task.x_train), task.y_train, task.n_classes, seed, how.epochs)
    found = {part: accuracy(head, features(rule, x), y) for part, x, y in
             (("valid", task.x_valid, task.y_valid), ("test", task.x_test, task.y_test))}
    with written_whole(kept) as tmp: tmp.write_text(json.dumps(made | found | {"length": lengths.mean().item()}))
    return json.loads(kept.read_text())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--task", default="cifar-10", metavar="DATA")
    p.add_argument("--net", default="softhebb", help="softhebb, softhebb-half, softhebb-quarter, softhebb-one, ...")
    p.add_argument("--random", dest="rule", action="store_const", const="frozen-filters", default="softhebb")
    p.add_argument("--lr", type=float, default=0.08, help="of the first layer's filters")
    p.add_argument("--epochs", type=int, default=50, help="of the readout")
    p.add_argument("--seeds", type=int, default=4)
    p.add_argument("--seed", type=int, default=0, help="the first one")
    p.add_argument("--out", type=Path, default=Path("cifar_recipe"))
    p.add_argument("--no-progress", dest="progress", action="store_false")
    how = p.parse_args()
    how.out.mkdir(parents=True, exist_ok=True)
    keep_memory()
    task, found = load_task(how.task, normalise="unit", device="cpu"), []
    for seed in range(how.seed, how.seed + how.seeds):
        found.append(one(task, seed, how))
        print("seed {}: valid {valid:.2f}%, test {test:.2f}%, filters of length {length:.2f}".format(seed, **found[-1]),
              flush=True)
    mean, half = interval([f["test"] for f in found])
    print(f"{how.rule}, {how.net}: test {mean:.2f}%" + (f" ± {half:.2f}" if len(found) > 1 else ""))
    bar = BARS.get(how.net, 0) if how.rule == "softhebb" else 0
    if mean < bar: print(f"bar {bar}: missed by {bar - mean:.2f}")
    return int(mean < bar)  # `sys.exit` takes no other number than an `int`


if __name__ == "__main__": sys.exit(main())
