"""Rates and options of every rule: which rate a run takes, that a stored run with another is noticed, what bad options
lead to."""
import inspect, math

import pandas as pd, pytest, torch
from bioplaus.core import BadInput, cards, find_rule, register
from bioplaus.network import MLP
from bioplaus.rule import Backprop, Delta, Rule, make_rule
from bioplaus.study import compare
from bioplaus.training import OtherSettings

OURS = [n for n, c in cards().items() if c.module.startswith("bioplaus.")]
BAD = {
    float: [math.nan, math.inf, -math.inf, 1e300, -1e300, "x", True, 0.0, -1.0, 1e-300, 1e6],
    int: [0, -1, 2.5, math.nan, 1e300, "x", True],
    bool: ["x", 3, None],
    str: ["nonsense", 3, 1.5, True],
}


@pytest.mark.filterwarnings("ignore:.*did not settle:UserWarning")
@pytest.mark.parametrize("name", OURS)
def test_an_option_is_refused_or_gives_finite_changes(name):
    "Every option of every rule, with values of its kind that are out of any range, and with other kinds of values."
    x, y = torch.rand(6, 12, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 5
    for option in list(inspect.signature(find_rule(name)).parameters.values())[1:]:
        kinds = [k for k in BAD if k in {option.annotation, *getattr(option.annotation, "__args__", ())}]
        assert kinds, f"option {option.name} of {name} has no annotation that says what it is"
        for value in (v for k in kinds[:1] for v in BAD[k]):
            try:
                rule = make_rule(name, MLP((12, 8, 7, 5)), **{option.name: value})
                if rule.start: rule.start(rule, rule.transform(x))
                rule(x, y)
            except BadInput: continue
            given = f"{name}:{option.name}={value!r}"
            assert not isinstance(value, bool) and value not in ("x", "nonsense"), f"{given} was believed"
            grads = [W.grad for W in rule.net.weights if W.grad is not None]
            assert all(g.isfinite().all() for g in grads), f"{given} gives no finite change"


@pytest.mark.parametrize("rule", ["backprop", "dfc-ssa", *(pytest.param(r, marks=pytest.mark.weekly) for r in
                                                           ("fa", "softhebb"))])
def test_adam_takes_its_own_rate(rule):
    "Under Adam, a rate for SGD cost these rules up to 58 points."
    how = dict(seeds=2, epochs=3, progress=False, perturbations=[])
    sgd, adam = (compare(rule, optimizer=o, **how).accuracy.mean() for o in ("sgd", "adam"))
    assert adam > sgd - 0.03, (sgd, adam)


def test_a_cell_that_was_trained_at_another_rate_is_not_reused(tmp_path):
    def known(lr): register("changes-its-mind", lr=lr)(lambda net: Rule(net, Backprop(), Delta()))
    same = dict(tasks="digits", classes=3, seeds=1, epochs=1, progress=False, perturbations=[], out=tmp_path)
    known(0.1)
    first = compare(["changes-its-mind"], **same)
    pd.testing.assert_frame_equal(compare(["changes-its-mind"], **same), first)
    known(0.2)
    with pytest.raises(OtherSettings, match=r"fit.lr: 0.1 there, 0.2 here.*lr= keeps the old one"):
        compare(["changes-its-mind"], **same)
