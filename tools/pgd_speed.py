"""PGD on ten networks at once, against foolbox's on the ten one after another.

    OMP_NUM_THREADS=1 python tools/pgd_speed.py [--images N] [--turns N]

The networks are trained on the images in the package (784-256-256-256-10, ten seeds). Both sides take 20 steps; they
are timed in turns, for six sizes of ε. It needs foolbox (the extra `oracles`).
"""
import argparse, statistics
from functools import partial

import torch
from torch import nn
import foolbox
from bioplaus.attacks import PGD
from bioplaus.bench import in_turns, ratio
from bioplaus.core import stream
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.training import fit

SIZES, LEVELS = (784, 256, 256, 256, 10), (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


class Alone(nn.Module):
    "Replica `s` of a rule as plain PyTorch."
    def __init__(self, rule, s):
        super().__init__()
        layers = []
        for layer in rule.net.layers:
            layers += [nn.Linear(layer.takes, layer.gives), nn.ReLU()]
            layers[-2].weight.data = layer.W[s].detach().clone()
            layers[-2].bias.data = layer.b[s].detach().clone()
        self.layers, (self.mean, self.std) = nn.Sequential(*layers[:-1]), rule.normalise

    def forward(self, x): return self.layers((x.flatten(1) - self.mean) / self.std)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=1000, help="test images that are attacked (default: 1000)")
    p.add_argument("--turns", type=int, default=3, help="how often each side is timed (default: 3)")
    a = p.parse_args()
    task = load_task("mnist-mini", device="cpu")
    rule = fit(make_rule("backprop", MLP(SIZES, "relu", replicas=10)), task, epochs=10, lr=0.1, progress=False).rule
    x, y = task.x_test[:a.images], task.y_test[:a.images]
    models = [foolbox.PyTorchModel(Alone(rule, s).eval(), bounds=(0, 1), device="cpu") for s in range(10)]
    theirs = foolbox.attacks.LinfPGD(steps=20, rel_stepsize=2.5 / 20)
    left, sums = {}, ([0.0] * a.turns, [0.0] * a.turns)
    def right(logits): return (logits.argmax(-1) == y).double().mean().item()

    def one_by_one(eps):
        pixels, wrong = x.view(-1, 1, 28, 28), foolbox.criteria.Misclassification(y)
        left["foolbox"] = statistics.mean(right(m(theirs.run(m, pixels, wrong, epsilon=eps))) for m in models)

    def at_once(eps): left["bioplaus"] = right(rule.predict(PGD(eps)(rule, x, y, stream(0))))

    for eps in LEVELS:
        slow, fast = in_turns(partial(one_by_one, eps), partial(at_once, eps), turns=a.turns)
        sums = [[s + t for s, t in zip(*pair)] for pair in zip(sums, (slow, fast))]
        print(f"ε = {eps}: {ratio(slow, fast):.2f} times as fast; "
              f"right: {left['bioplaus']:.4f}, foolbox {left['foolbox']:.4f}", flush=True)
    print(f"all six together: {ratio(*sums):.2f} times as fast, "
          f"with {torch.get_num_threads()} thread(s) and {len(y)} images")


if __name__ == "__main__": main()
