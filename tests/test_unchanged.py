"""Characterisation: the changes that every rule made before the package's rooms were rebuilt (commit 891911a),
on small random networks in float64.

The numbers prove nothing about the rules, which the notebooks test against theory; they prove that rebuilding the
house left the rules alone. `python tests/test_unchanged.py` writes the file anew; whoever does that says in
CHANGELOG.md which rule changed, and why.
"""
import warnings
from pathlib import Path

import numpy as np, pytest, torch
from bioplaus.core import cards, read_options
from bioplaus.network import MLP
from bioplaus.rule import make_rule

FILE = Path(__file__).parent / "data" / "changes.npz"
SPECS = [*(n for n, c in cards().items() if c.module.startswith("bioplaus.")),
         "hebb:centre=samples", "hebb:decay=0.1", "hebb-clamp:centre=samples", "hebb-clamp:strength=0.5,smooth=0.1",
         "contrastive:gamma=0.3,sweeps=4", "softhebb:readout=hebb,project=0.1", "softhebb:adapt=0.5,tau=0.1",
         "krotov-hopfield:p=3.0,anti=0.4", "bcm:rate=0.5", "pretrain:by=krotov-hopfield",
         "hebb-mixed:share=0.5,centre=none", "fa:loss=squared", "kolen-pollack:decay=0.1", "weight-mirror:rate=0.5",
         "dfc:feedback=local", "dfc-ss:feedback=transposed,on=v", "dfc-ssa:feedback=local,leak=10.0",
         "dfc-ssa:feedback=ideal,reach=1", "strong-dfc:feedback=transposed", "covariance-control:feedback=local",
         "contrastive-control:feedback=noise", "microcircuit:how=dynamics,steps=20",
         "microcircuit:plastic=IP+PI+down,feedback=transposed", "node-perturbation:antithetic=True,on=r",
         "weight-perturbation:antithetic=True", "reward-hebb:rate=0.5", "backprop:loss=squared",
         "predictive-coding:sign=centred,leak=0.5,steps=4", "dual-propagation:alpha=0.2,sweeps=2",
         "equilibrium-propagation:loss=squared,centred=False,beta=0.2,order=upward"]


def changes(spec):
    "The gradients of all parameters in two steps of two replicas, a row for each step."
    name, _, options = spec.partition(":")
    net = MLP((6, 5, 4, 3), act="tanh", replicas=2, seed=3, normalise=(0.3, 0.4))
    rule = make_rule(name, net, **read_options(options)).double()
    g = torch.Generator().manual_seed(5)
    batches = [(torch.rand(2, 7, 6, generator=g, dtype=torch.float64), torch.randint(3, (2, 7), generator=g))
               for _ in range(2)]
    if rule.start: rule.start(rule, rule.transform(batches[0][0][0]))
    learning = [p for group in rule.param_groups(0.05) for p in group["params"]]
    rows, optimizer = [], torch.optim.SGD(learning, lr=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loop that doesn't settle in so few steps says so
        for x, y in batches:
            rule(x, y)
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in (*rule.net.weights, *rule.net.biases)]
            rows.append(torch.cat([g.flatten() for g in grads]))
            optimizer.step()
    return torch.stack(rows).detach().numpy()


@pytest.mark.parametrize("spec", SPECS)
def test_a_rule_makes_the_changes_that_it_made(spec):
    before = np.load(FILE)
    np.testing.assert_allclose(changes(spec), before[spec], rtol=1e-9, atol=1e-12)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **{s: changes(s) for s in SPECS})
