"""Fixed points, data, noise, attacks, measures and keys against what can be worked out by hand, in seconds."""
import copy
from dataclasses import replace

import numpy as np, pandas as pd, pytest, torch
from bioplaus.attacks import APGD, FGSM, MIFGSM, PGD, RandomSign, Square, lead, worst_case
from bioplaus.core import stream
from bioplaus.data import Task, from_tensors, late, load_task
from bioplaus.geometry import participation_ratio
from bioplaus.hebbian import BCM, krotov_hopfield, oja, sanger, soft_hebb
from bioplaus.mediators import linear_margin
from bioplaus.network import MLP
from bioplaus.noise import PERTURBATIONS, Corruption, corrupted, perturbation
from bioplaus.robustness import corruption_error
from bioplaus.rule import Backprop, Delta, Rule, make_rule
from bioplaus.stats import Comparison, compare_paired
from bioplaus.study import Study, run_study
from bioplaus.training import OtherSettings, evaluate, fit
from bioplaus.updates import pair_means
from scipy import stats
from torch.testing import assert_close


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def digits(): return load_task("digits", device="cpu")


def linear(task, **settings):
    "Two linear networks with random weights, on pixels as they are."
    return make_rule("linear", MLP((task.n_in, task.n_classes), **{"replicas": 2, "normalise": (0.0, 1.0)} | settings))


# Hebbian rules, at rest and away from it

def asked(change, W):
    "A plasticity's change of W as a tensor, whether it is given in factors or written out."
    return change if isinstance(change, torch.Tensor) else change.dense(W)


def inputs_with_components():
    "Inputs (1, N, 6), and the eigenvectors (6, 6) of ⟨x xᵀ⟩, the largest first."
    x = normal(1, 500, 6) * torch.tensor([3.0, 2.0, 1.5, 1.0, 0.5, 0.2])
    return x, torch.linalg.eigh(x[0].mT @ x[0] / 500).eigenvectors.flip(-1).mT


def test_oja_rests_at_a_component_of_length_one():
    x, components = inputs_with_components()
    W = components[None, :3]
    assert_close(asked(oja(x @ W.mT, x, W), W), torch.zeros_like(W), rtol=0, atol=1e-10)
    twice = 2 * W
    assert ((asked(oja(x @ twice.mT, x, twice), twice) * W).sum(-1) < 0).all()  # it shrinks


def test_sanger_finds_components_in_order():
    "A first unit on the first component is disturbed by nobody; a second one at the first is pushed to zero."
    x, components = inputs_with_components()
    W = components[None, :3]
    assert_close(asked(sanger(x @ W.mT, x, W), W), torch.zeros_like(W), rtol=0, atol=1e-10)
    W = components[None, [0, 0, 1]]
    change = asked(sanger(x @ W.mT, x, W), W)
    assert change[0, 0].abs().max() < 1e-10 and (change[0, 1] * W[0, 1]).sum() < -1


def test_bcm_strengthens_what_is_above_its_threshold():
    post = torch.tensor([[[2.0], [0.1]]])  # θ = ⟨y²⟩ = 2.005
    by_image = torch.eye(2)[None]
    change = asked(BCM()(post, by_image), torch.zeros(1, 1, 2))[0, 0]
    assert_close(change, post[0, :, 0] * (post[0, :, 0] - 2.005) / 2)


def test_the_runner_up_unlearns():
    "g = 1 for the winner, −Δ for the second: the sign of what each learns of an image without its own decay (u = 0)."
    current, image = torch.zeros(1, 1, 3), torch.ones(1, 1, 4)
    v = torch.tensor([[[3.0, 2.0, 1.0]]])
    W = torch.zeros(1, 3, 4)
    change = asked(krotov_hopfield(v, torch.zeros_like(v), current, image, W, anti=0.4), W)
    assert_close(change[0, :, 0], torch.tensor([1.0, -0.4, 0.0]))


def test_the_decay_of_a_competitor_sees_its_synapses_only():
    "yₖ (x − uₖ Wₖ) with u = W x: whatever bias decides the competition."
    x, W = normal(1, 5, 4), normal(1, 3, 4, seed=1)
    bias = torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64)
    change = asked(soft_hebb(x @ W.mT + bias, x @ W.mT, x, W, tau=1.0), W)
    y = torch.softmax(x @ W.mT + bias, -1)
    y = y * (5 / y.sum(-2, keepdim=True).clamp(min=1))
    by_hand = torch.stack([(y[0, :, k, None] * (x[0] - (x[0] @ W[0, k])[:, None] * W[0, k])).mean(0) for k in range(3)])
    assert_close(change[0], by_hand)


def test_weak_contrastive_learning_is_backprop():
    "With feedback of strength γ → 0, clamped minus free, times γ^−(L−l), is backprop's (Xie & Seung 2003)."
    net = MLP((5, 4, 4, 3), act="tanh", replicas=2).double()
    rule, x, y = make_rule("contrastive", net, gamma=1e-4, sweeps=20), normal(6, 5).sigmoid(), torch.arange(6) % 3
    rule(x, y)
    found = [W.grad.clone() for W in net.weights]
    make_rule("backprop", net)(x, y)
    for a, W in zip(found, net.weights): assert_close(a, W.grad, rtol=1e-2, atol=1e-5)


# Data

def test_no_image_is_in_two_parts():
    x = torch.arange(400.0)[:, None] / 500
    y = torch.arange(400) % 4
    task = from_tensors(x[:300], y[:300], x[300:], y[300:], validation=0.2, device="cpu")
    parts = [set(part[:, 0].tolist()) for part in (task.x_train, task.x_valid, task.x_test)]
    assert [len(p) for p in parts] == [240, 60, 100] and len(set.union(*parts)) == 400


def test_the_fingerprint_sees_every_image_and_label(digits):
    own = {name: getattr(digits, name) for name in Task.__dataclass_fields__}
    for name in [n for n, value in own.items() if isinstance(value, torch.Tensor)]:
        other = own[name].clone()
        other[-1] = 1 - other[0] if other.is_floating_point() else (other[-1] + 1) % 10  # a pixel stays in [0, 1]
        assert Task(**own | {name: other}).fingerprint != digits.fingerprint, name


def test_a_late_class_comes_with_the_second_half(digits):
    "Of six epochs it is missing in three."
    task = late(digits, 9)
    there = [9 in task.y_train[task.indices(e, 6)] for e in range(1, 7)]
    assert there == [False] * 3 + [True] * 3


# Noise

def test_severities_are_the_levels_in_order():
    for name, kind in PERTURBATIONS.items():
        for severity, level in enumerate(getattr(kind, "levels", ()), 1):
            assert perturbation(f"{name}@{severity}").level == level


@pytest.mark.parametrize("name", [n for n, k in PERTURBATIONS.items()
                                  if isinstance(k, type) and issubclass(k, Corruption)])
def test_corrupted_pixels_stay_pixels(name, digits):
    z = corrupted(digits.x_test[:50], f"{name}@5")
    assert z.min() >= 0 and z.max() <= 1 and not z.equal(digits.x_test[:50])


def test_an_image_meets_its_own_noise_wherever_it_stands(digits, monkeypatch):
    "In pieces of seven and in one."
    rule, test = linear(digits), (digits.x_test[:60], digits.y_test[:60])
    whole = evaluate(rule, *test, perturbation("gaussian:0.5"))
    monkeypatch.setattr("bioplaus.training.PIECE", 7)
    assert_close(evaluate(rule, *test, perturbation("gaussian:0.5")), whole)


def test_every_part_of_an_address_counts():
    streams = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", 2), (0, "b", 1)]
    drawn = [torch.rand(1, generator=stream(*keys)).item() for keys in streams]
    assert len(set(drawn)) == len(drawn)


# Attacks and margins

ATTACKS = [FGSM(0.1), RandomSign(0.1), PGD(0.1), PGD(0.1, early=False), MIFGSM(0.1), APGD(0.1), Square(0.1, 20),
           PGD(0.7, "l2"), PGD(0.7, "l2", early=False), APGD(0.7, "l2")]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_attacks_stay_in_their_ball_and_in_the_box(attack, digits):
    x, y = digits.x_test[:40], digits.y_test[:40]
    z = attack(linear(digits), x, y, stream(0))
    size = (z - x).double().abs().amax(-1) if attack.norm == "linf" else (z - x).double().norm(dim=-1)
    assert size.max() <= attack.level + 1e-7 and z.min() >= 0 and z.max() <= 1


def test_lead_is_over_the_own_class():
    "Of the best other class, and negative where the own one is ahead."
    logits = torch.tensor([[[1.0, 3.0, 2.0], [5.0, 3.0, 2.0], [1.0, 1.0, 0.0]]])
    assert lead(logits, torch.tensor([1, 1, 0])).tolist() == [[-1.0, 2.0, 0.0]]


def by_margin(task):
    "Linear networks, and the signed distance (S, N, classes) of each image to the boundary of each other class."
    rule = linear(task)
    W, (x, y) = rule.net.weights[0].detach(), (task.x_test[:40], rule.predict(task.x_test[:40])[0].argmax(-1))
    logits, own = rule.predict(x).detach(), y.expand(2, 40)
    steep = (W[:, None] - torch.stack([W[s, y] for s in range(2)])[:, :, None]).norm(dim=-1)
    far = (logits.gather(-1, own[..., None]) - logits) / steep
    return (rule, x, y), far.scatter(-1, own[..., None], torch.inf)


def test_the_linear_margin_of_linear_networks(digits):
    "The nearest of all boundaries, and 0 for a wrong answer."
    (rule, *batch), far = by_margin(digits)
    assert_close(linear_margin(rule, *batch), far.amin(-1).clamp(min=0).median(-1).values, rtol=1e-4, atol=1e-6)


def test_fgsm_on_two_classes_of_a_linear_network_is_the_worst_there_is(digits):
    "It moves every pixel by ε along the sign of w₁ − w₀, as far as the box allows; what is fooled before stays fooled."
    pair = load_task("digits", 2, device="cpu")
    rule, x, y = linear(pair), pair.x_test, pair.y_test
    w = (rule.net.weights[0][:, 1] - rule.net.weights[0][:, 0])[:, None]
    towards = torch.where(y == 0, 1.0, -1.0)[:, None]
    assert_close(FGSM(0.1)(rule, x, y), (x + 0.1 * towards * w.sign()).clamp(0, 1), rtol=0, atol=1e-6)


def test_the_worst_case_is_no_better_than_any_attack(digits):
    rule, x, y = linear(digits), digits.x_test[:60], digits.y_test[:60]
    rule = fit(rule, digits, 5, 0.5, progress=False).rule
    attacks = FGSM(0.1), RandomSign(0.02)
    right = worst_case(rule, x, y, attacks)
    for a in attacks:
        alone = rule.predict(a(rule, x, y, stream(0, type(a).__name__))).argmax(-1) == y
        assert not (right & ~alone).any() and alone.any()


# Measures

def test_participation_counts_directions_wherever_they_point():
    "Variances 3 and 1 along two turned directions: 16/10."
    turn = torch.linalg.qr(normal(6, 6)).Q
    white = torch.linalg.qr(normal(200, 2) - normal(200, 2).mean(0)).Q
    a = white * torch.tensor([3.0, 1.0], dtype=torch.float64).sqrt() @ turn[:2]
    assert_close(participation_ratio(a[None]), torch.tensor([1.6], dtype=torch.float64))


def test_pairs_of_different_batches_forget_the_noise():
    "⟨A·B⟩ over all pairs of different mini-batches, by two loops."
    A, B = normal(5, 2, 3, 4), normal(5, 2, 3, 4, seed=1)
    same, other, _ = pair_means(A, B)
    inner = [[(A[i] * B[j]).sum((-2, -1)) for j in range(5)] for i in range(5)]
    assert_close(same, sum(inner[i][i] for i in range(5)) / 5)
    assert_close(other, sum(inner[i][j] for i in range(5) for j in range(5) if i != j) / 20)


def test_a_comparison_is_paired():
    "Five seeds whose luck is a hundred times their difference: the interval is scipy's paired one, whatever the order."
    luck, d = np.arange(5) * 10.0, np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    x, y = ({"rule": r, "seed": range(5), "accuracy": v} for r, v in (("x", luck + d), ("y", luck)))
    table = pd.concat([pd.DataFrame(x), pd.DataFrame(y)[::-1]])
    found = compare_paired(table, [Comparison("x − y", "x", "y", margin=1.0)]).iloc[0]
    paired = stats.ttest_rel(luck + d, luck)
    np.testing.assert_allclose((found.low, found.high), paired.confidence_interval())
    np.testing.assert_allclose((found.tost_low, found.tost_high), paired.confidence_interval(0.9))
    assert found.p == 2 / 2**5  # all five differ in the same direction


def test_relative_corruption_errors():
    "Errors at two levels: .3 and .5 from .1 (sum .8, above clean .6); the reference's .2 and .4 from .2 (.6, .2)."
    rows = [(r, lv, a) for r, accuracies in (("mine", (0.9, 0.7, 0.5)), ("backprop", (0.8, 0.8, 0.6)))
            for lv, a in enumerate(accuracies)]
    results = pd.DataFrame(rows, columns=["rule", "level", "accuracy"])
    results = results.assign(kind="corruption", perturbation="fog", seed=0)
    found = corruption_error(results).set_index("rule").loc["mine"]
    np.testing.assert_allclose([found.error, found.relative], [0.8 / 0.6, 0.6 / 0.2])


# Training and what is stored of it

def test_history_holds_validation_and_training_images_only(digits):
    "Test images that are all wrong change nothing."
    wrong = copy.copy(digits)
    object.__setattr__(wrong, "y_test", (digits.y_test + 1) % 10)
    run, other = (fit(linear(digits), t, 1, 0.01, progress=False) for t in (digits, wrong))
    pd.testing.assert_frame_equal(*(r.history.drop(columns="seconds") for r in (run, other)))
    found = run.evaluate(digits.x_valid, digits.y_valid)["accuracy"]
    assert_close(torch.tensor(run.final.valid_accuracy), found.double())


def test_every_epoch_has_an_order_of_its_own(digits):
    seen = []
    class Watching(Backprop):
        def __call__(self, rule, phases, y):
            seen.append(y)
            super().__call__(rule, phases, y)
    net, images = MLP((64, 10), normalise=(0.0, 1.0)), len(digits.y_train)
    fit(Rule(net, Watching(), Delta()), digits, 3, 0.5, batch_size=50, progress=False)
    epochs = torch.cat([y[0] for y in seen if y.dim() == 2])[:3 * images].unflatten(0, (3, images))
    assert all(sorted(e.tolist()) == sorted(digits.y_train.tolist()) for e in epochs)
    assert not epochs[0].equal(epochs[1]) and not epochs[1].equal(epochs[2])


def test_a_rule_that_was_rewritten_is_another_rule(digits, tmp_path):
    def run(teacher): return fit(Rule(MLP((64, 10)), teacher, Delta()), digits, 1, 0.01, out=tmp_path, progress=False)
    class Twice(Backprop):
        def __call__(self, rule, phases, y): phases[-1].drive = 2 * self.loss.error(phases[-1].v, y)
    run(Backprop())
    with pytest.raises(OtherSettings): run(Twice())


def test_a_study_of_other_seeds_is_another_study(tmp_path):
    "Said before anything is computed, with the name of the setting."
    study = Study(("linear",), ("digits",), (2,), seeds=1, epochs=1, perturbations=())
    run_study(study, tmp_path, progress=False)
    with pytest.raises(OtherSettings, match="holds a study with other settings .*seed: 0 there, 5 here"):
        run_study(replace(study, seed=5), tmp_path, progress=False)
