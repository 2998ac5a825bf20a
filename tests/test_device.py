"""Everything on a device that stands in for a GPU (tests/elsewhere.py): the numbers are those of the CPU, no tensor of
one device meets one of another, and an epoch of training waits for nothing.
"""
import warnings
from dataclasses import replace

import elsewhere, pandas as pd, pytest, torch
from bioplaus import geometry, mediators, monitors, representations, similarity, updates
from bioplaus.attacks import masking_checks, transfer, worst_case
from bioplaus.core import cards
from bioplaus.data import load_task
from bioplaus.feedback import alignment
from bioplaus.locality import what_it_sees
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.shown import known, perturbation
from bioplaus.training import Recipe, checked_settings, evaluate, fit, make_optimizer, stepper, train_epoch
from elsewhere import DEVICE, Elsewhere, Mixed, StandIn, here
from short import short
from torch.testing import assert_close

RULES = [n for n, c in cards().items() if c.module.startswith("bioplaus.")]
SIMULATED = {"dfc", "dfc-ss", "strong-dfc", "hebb-control", "covariance-control", "oja-control", "contrastive-control"}


@pytest.fixture(scope="module")
def task():
    digits = load_task("digits", device="cpu")
    return replace(digits, **{f"{k}_{part}": getattr(digits, f"{k}_{part}")[:64] for k in "xy"
                              for part in ("train", "valid", "test")})


def moved(task):
    return replace(task, **{f"{k}_{part}": getattr(task, f"{k}_{part}").to(DEVICE) for k in "xy"
                            for part in ("train", "valid", "test")})


def test_the_stand_in_refuses_what_a_gpu_refuses():
    with StandIn():
        away = torch.ones(3).to(DEVICE)
        assert isinstance(away, Elsewhere) and away.device == DEVICE
        assert here(2 * away + torch.tensor(1.0)).tolist() == [3, 3, 3]
        with pytest.raises(Mixed, match="add"): away + torch.ones(3)
        elsewhere.waited.clear()
        assert away.sum().item() == 3 and elsewhere.waited


def trained(name, task):
    rule = make_rule(name, MLP((64, 8, 6, 10), replicas=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loop that doesn't settle in so short a run says so
        return fit(rule, task, epochs=1, progress=False, warn=False)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_learns_elsewhere_what_it_learns_here(name, task):
    near = trained(name, task)
    with StandIn():
        far = trained(name, moved(task))
        assert all(isinstance(p, Elsewhere) for p in far.rule.net.parameters())
        for a, b in zip(near.rule.net.parameters(), far.rule.net.parameters()): assert_close(a, here(b.detach()))


@pytest.mark.parametrize("name", [n for n in RULES if n not in SIMULATED])  # those ask whether to warn
def test_an_epoch_waits_for_nothing(name, task):
    with StandIn():
        far = moved(task)
        rule = make_rule(name, MLP((64, 8, 6, 10), replicas=2, normalise=(0.3, 0.4))).to(DEVICE)
        x = rule.transform(far.x_train)
        if rule.start: rule.start(rule, x)
        settings = checked_settings(rule, Recipe(lr=1e-3, batch_size=16))
        step = stepper(make_optimizer(rule, "sgd", 1e-3), plain=True)
        elsewhere.waited.clear()
        train_epoch(rule, x, far.y_train, settings, 1, step)
        assert not elsewhere.waited


def numbers(found):
    "Whatever was found as plain tensors and numbers, to be compared."
    if isinstance(found, pd.DataFrame): return found.select_dtypes("number").to_numpy(float)
    if isinstance(found, dict): return [numbers(v) for v in found.values()]
    if isinstance(found, (list, tuple)): return [numbers(v) for v in found]
    if isinstance(found, torch.Tensor): return here(found.detach()).double().cpu().numpy()
    if isinstance(found, representations.RDM): return numbers(found.d)
    return found if isinstance(found, (int, float)) else 0


def acts_of(run, x): return representations.activities(run.rule, x)


MEASURES = {
    "activities": lambda run, x, y: list(acts_of(run, x).values()),
    "rdm": lambda run, x, y: representations.rdm(acts_of(run, x)[1]),
    "cka": lambda run, x, y: similarity.cka(acts_of(run, x)[1], acts_of(run, x)[2]),
    "procrustes": lambda run, x, y: similarity.procrustes(acts_of(run, x)[1], acts_of(run, x)[2]),
    "cka_table": lambda run, x, y: similarity.cka_table({"a": acts_of(run, x), "b": acts_of(run, x)}, 1, draws=5),
    "Geometry": lambda run, x, y: geometry.Geometry(x, y)(run),
    "Geometry of images here": lambda run, x, y: geometry.Geometry(here(x), here(y))(run),
    "contrast": lambda run, x, y: geometry.contrast(acts_of(run, x)[1], y),
    "selectivity": lambda run, x, y: geometry.selectivity(acts_of(run, x)[1], y),
    "class_share": lambda run, x, y: geometry.class_share(acts_of(run, x)[1], y),
    "sparseness": lambda run, x, y: geometry.sparseness(acts_of(run, x)[1]),
    "participation_ratio": lambda run, x, y: geometry.participation_ratio(acts_of(run, x)[1]),
    "probe": lambda run, x, y: geometry.probe(acts_of(run, x)[1], y, acts_of(run, x)[1], y),
    "knn": lambda run, x, y: geometry.knn_accuracy(acts_of(run, x)[1], y),
    "pca": lambda run, x, y: geometry.pca(acts_of(run, x)[1]),
    "mediators": lambda run, x, y: mediators.mediators(run.rule, x[:5], y[:5]),
    "worst_case": lambda run, x, y: worst_case(run.rule, x, y, [perturbation("fgsm:0.1"), perturbation("pgd:0.1")]),
    "transfer": lambda run, x, y: transfer(run.rule, run.rule, x, y, perturbation("fgsm:0.1")),
    "masking": lambda run, x, y: masking_checks(run.rule, x[:10], y[:10], 0.1, queries=20),
    "alignment": lambda run, x, y: alignment(run.rule),
    "quality": lambda run, x, y: updates.update_quality(run.rule, updates.mini_batches(x, y, 4, 8)),
    "diagnose": lambda run, x, y: len(monitors.diagnose(run, run.task)),
    "what_it_sees": lambda run, x, y: len(what_it_sees(run.rule)),
}


@pytest.fixture(scope="module")
def both(task):
    "The same run on each device."
    runs = [trained("fa", task)]
    with StandIn(): runs.append(trained("fa", moved(task)))
    return runs


def on_each(both, task, measure):
    "What `measure` of (run, images, labels) gives here, and elsewhere."
    near, far = both
    near.task = task
    found = [numbers(measure(near, task.x_test[:40], task.y_test[:40]))]
    with StandIn():
        far.task = moved(task)
        found.append(numbers(measure(far, far.task.x_test[:40], far.task.y_test[:40])))
    return found


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_elsewhere_what_it_is_here(name, both, task):
    assert_close(*on_each(both, task, MEASURES[name]), rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("name", sorted(known()))
def test_a_perturbation_is_elsewhere_what_it_is_here(name, both, task):
    def loss(run, x, y): return evaluate(run.rule, x[:20], y[:20], short(perturbation(name, (8, 8))))["loss"]
    assert_close(*on_each(both, task, loss), rtol=1e-3, atol=1e-3, equal_nan=True)
