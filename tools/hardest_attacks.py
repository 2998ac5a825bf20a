"""Can the full study's robustness be believed?   python tools/hardest_attacks.py [--out FOLDER]

The networks that `tools/the_hypothesis.py --out FOLDER` has trained meet attacks of other kinds, on 500 test images of
MNIST: Square with 1,000 queries, which sees no gradient, the worst case of the package's suite, and, on the first
network of each rule, AutoAttack (extra `attacks`). The table goes to nbs/results/hypothesis_attacks.csv.
"""
import pandas as pd, torch
from bioplaus.attacks import PGD, Square, suite, worst_case
from bioplaus.data import load_task
from bioplaus.design import commit, evenly
from bioplaus.training import evaluate
from pyautoattack import AutoAttack
from the_hypothesis import CHEAP, STUDY, TABLES, options, trained

RULES, EPS = (*CHEAP[:2], "kolen-pollack", "softhebb", "backprop, noisy training"), (0.1, 0.2)


class Alone(torch.nn.Module):
    "A rule's first network as the plain module that AutoAttack wants: images (N, 1, 28, 28) in, logits out."
    def __init__(self, rule):
        super().__init__()
        self.net, self.predict = rule.net, rule.predict

    def forward(self, x): return self.predict(x.flatten(1))[0]


def autoattack(rule, x, y, eps):
    "Accuracy of the first network under AutoAttack's standard four."
    torch.manual_seed(0)
    alone = Alone(rule).eval().requires_grad_(False)
    attack = AutoAttack(alone, norm="Linf", eps=eps, seed=0)
    attack.square.n_queries, attack.square.rescale_schedule = 1000, True
    found = attack.run_standard_evaluation(x.view(-1, 1, 28, 28), y, batch_size=len(x))[0]
    return (alone(found).argmax(-1) == y).double().mean().item()


def rows(rule, x, y):
    "One row for each network, attack and strength."
    for eps in EPS:
        attacks = {"PGD": PGD(eps), "Square": Square(eps, 1000)}
        left = {name: evaluate(rule, x, y, attack, seed=STUDY.seed)["accuracy"] for name, attack in attacks.items()}
        left["worst case"] = worst_case(rule, x, y, suite(eps), STUDY.seed).double().mean(-1)
        left = {name: accuracy.double().numpy() for name, accuracy in left.items()}
        left["AutoAttack"] = [autoattack(rule, x, y, eps)]
        for name, accuracy in left.items():
            seeds = rule.net.seeds[:len(accuracy)]
            yield pd.DataFrame({"attack": name, "eps": eps, "seed": seeds, "accuracy": accuracy})


def main():
    out = options(__doc__).parse_args().out
    images = evenly(load_task("mnist", 10, STUDY.normalise, device="cpu"), 500)
    found = []
    for label, rule in trained(RULES, "mnist", out):
        found += [table.assign(rule=label, commit=commit()) for table in rows(rule, *images)]
    pd.concat(found).to_csv(TABLES / "hypothesis_attacks.csv", index=False, float_format="%.5g")


if __name__ == "__main__": main()
