"""What makes a step fast, as far as it can be counted: how many tensor operations it takes, that no gradient is kept,
that every way to multiply gives the same numbers, and that a step is the one of PyTorch's optimiser. No test depends on
a time.
"""
import shutil

import pytest, torch
from bioplaus.core import BadInput, cards
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.products import WAYS, choose_ways, ways_here
from bioplaus.rule import Backprop, Delta, Rule, make_rule
from bioplaus.training import _batches, fit, make_optimizer, stepper
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

SIZES = (784, 100, 10)


class Counted(TorchDispatchMode):
    "Counts the tensor operations that run under it."
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def prepared(name, replicas=2, sizes=SIZES, lr=0.1):
    "(rule, step, batch)"
    rule = make_rule(name, MLP(sizes, replicas=replicas, normalise=(0.3, 0.4)))
    x = torch.rand(replicas, 32, sizes[0], generator=torch.Generator().manual_seed(1))
    y = torch.arange(32).remainder(sizes[-1]).expand(replicas, -1).contiguous()
    return rule, stepper(make_optimizer(rule, "sgd", lr), plain=True), (rule.transform(x), y)


@pytest.mark.parametrize("name,most", [("backprop", 16), ("fa", 16), ("dfa", 16), ("hebb", 16), ("hebb-clamp", 20)])
def test_a_step_takes_few_operations(name, most):
    rule, step, batch = prepared(name)
    rule.learn(*batch, step)  # the first step looks at things that are remembered
    with torch.no_grad(), Counted() as seen: rule.learn(*batch, step)
    assert seen.count <= most


@pytest.mark.parametrize("name", ["backprop", "kolen-pollack", "oja", "softhebb", "dfc-ssa", "weight-perturbation"])
def test_plain_sgd_keeps_no_gradient(name):
    rule, step, batch = prepared(name)
    before = [p.clone() for p in rule.net.parameters()]
    rule.learn(*batch, step)
    assert all(p.grad is None for p in rule.parameters())
    assert any(not torch.equal(p, b) for p, b in zip(rule.net.parameters(), before))


@pytest.mark.parametrize("name", [n for n, c in cards().items() if c.module.startswith("bioplaus.")])
def test_a_step_is_that_of_pytorchs_optimiser(name):
    mine, step, batch = prepared(name)
    theirs = prepared(name)[0]
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters()))
    stages = []
    mine.learn(*batch, lambda changes: (stages.append(1), step(changes)))
    if len(stages) > 1: pytest.skip("several steps on a batch leave no gradients")
    optimizer = torch.optim.SGD(theirs.param_groups(0.1), lr=0.1)
    theirs.learn(*batch)
    optimizer.step()
    for a, b in zip(mine.parameters(), theirs.parameters()): assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ways_here())
@pytest.mark.parametrize("name", ["backprop", "fa", "contrastive", "softhebb", "oja"])
def test_each_way_to_multiply_teaches_alike(name, way, monkeypatch):
    known = {}
    monkeypatch.setattr("bioplaus.products._CHOSEN", known)
    exact, step, batch = prepared(name, lr=1e-3)
    exact.learn(*batch, step)
    mine, own_step, _ = prepared(name, lr=1e-3)
    monkeypatch.setenv("BIOPLAUS_PRODUCTS", way)
    choose_ways([tuple(layer.W.shape) for layer in mine.layers], 32)
    assert set(known.values()) <= {way} and bool(known) == (way != "bmm")
    mine.learn(*batch, own_step)
    for a, b in zip(exact.parameters(), mine.parameters()): assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert way in WAYS


@pytest.mark.parametrize("size", [4, 7])
def test_batches_are_the_same_however_they_are_fetched(size):
    x, y, order = torch.rand(30, 5), torch.arange(30), torch.stack([torch.randperm(30) for _ in range(3)])
    one_by_one = [(x[places], y[places]) for places in order.split(size, 1)]
    for outermost in (False, True):
        fetched = list(_batches(x, y, order, size, outermost))
        assert len(fetched) == len(one_by_one)
        for (xs, ys), (a, b) in zip(fetched, one_by_one): assert torch.equal(xs, a) and torch.equal(ys, b)
        assert fetched[0][0].transpose(0, 1).is_contiguous() == outermost


compiles = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


@compiles
def test_a_compiled_step_teaches_alike():
    task, nets = load_task("digits:few=20", device="cpu"), []
    for compile in (False, True):
        rule = make_rule("backprop", MLP((64, 8, 10), replicas=2))
        run = fit(rule, task, 2, progress=False, warn=False, compile=compile)
        nets.append(run.rule.net)
        assert all(p.requires_grad for p in run.rule.parameters())
    for a, b in zip(*(net.parameters() for net in nets)): assert_close(a, b, rtol=1e-4, atol=1e-5)


class Fickle(Backprop):
    "Teaches otherwise where it is compiled."
    def __call__(self, rule, phases, y):
        super().__call__(rule, phases, y.flip(-1) if torch.compiler.is_compiling() else y)


@compiles
def test_a_compiled_step_that_is_another_is_refused():
    rule = Rule(MLP((64, 8, 10)), Fickle(), Delta())
    before = [p.clone() for p in rule.parameters()]
    with pytest.raises(BadInput, match="off by .*Leave compile out"):
        fit(rule, load_task("digits:few=20", device="cpu"), 1, lr=0.1, progress=False, warn=False, compile=True)
    assert all(torch.equal(a, b) for a, b in zip(before, rule.parameters()))
