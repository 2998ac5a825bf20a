"""Rules that settle, and dual propagation, against theory: backprop as a limit with the right slope, closed forms of
linear networks, autograd through the settled state. In float64, on 12-9-8-7-5 networks; tolerances are those that
theory allows, and slopes are measured over a factor of ten in the small quantity.
"""
import math

import pytest, torch
from bioplaus.attacks import FGSM
from bioplaus.clamping import Settle, check_symmetric
from bioplaus.control import Control, Controller, jacobian
from bioplaus.core import BadInput
from bioplaus.data import load_task
from bioplaus.convnet import ConvNet
from bioplaus.equilibrium import reached
from bioplaus.family import gauss_newton
from bioplaus.layers import ACTIVATIONS, Dense
from bioplaus.network import MLP, Network
from bioplaus.predictive import Predictive, PredictiveFixed, at_values, downhill, energy
from bioplaus.representations import activities
from bioplaus.rule import LOSSES, Delta, Rule, make_rule
from bioplaus.sensitivity import input_gradient
from bioplaus.shown import perturbation
from bioplaus.training import evaluate, fit
from torch.testing import assert_close

SIZES = (12, 9, 8, 7, 5)
g = torch.Generator().manual_seed(1)
X, Y = torch.rand(6, 12, generator=g, dtype=torch.float64), torch.arange(6) % 5
SETTLED = dict(steps=700, step_size=0.3)


def made(name, act="tanh", scale=1.0, **options):
    net = MLP(SIZES, act=act, replicas=2, seed=1, normalise=(0.5, 0.3)).double()
    for W in net.weights: W.data *= scale
    return make_rule(name, net, **options)


def changes(rule):
    rule(X, Y)
    return [-W.grad.clone() for W in rule.net.weights]


def far(found, true):
    "The relative error of all layers together."
    a, b = (torch.cat([t.flatten() for t in ts]) for ts in (found, true))
    return ((a - b).norm() / b.norm()).item()


def ratios(make, true, smalls):
    "By what the error shrinks from one small quantity to the next."
    errors = [far(make(s), true) for s in smalls]
    return [a / b for a, b in zip(errors, errors[1:])]


def backprop(act="tanh", **options): return changes(made("backprop", act, **options))


# Dual propagation

def test_symmetric_dual_propagation_is_backprop_to_second_order():
    found = ratios(lambda b: changes(made("dual-propagation", beta=b)), backprop(), (1.0, 0.1, 0.01, 0.001))
    assert all(50 < r < 200 for r in found), found


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_asymmetric_dual_propagation_is_backprop_to_first_order(alpha):
    make = lambda b: changes(made("dual-propagation", beta=b, alpha=alpha))
    found = ratios(make, backprop(), (1.0, 0.1, 0.01, 0.001))
    assert all(5 < r < 20 for r in found), found


def test_dual_propagation_of_linear_units_is_exact_at_any_nudge():
    line = ACTIVATIONS["identity"]
    a, b = changes(made("dual-propagation", line, beta=1.0, loss="squared")), backprop(act=line, loss="squared")
    # the mean r̄ that a synapse sees is the free rate, where α = ½
    for u, v in zip(a, b): assert_close(u, v, rtol=1e-10, atol=1e-12)


def test_more_sweeps_change_little():
    one, three = (changes(made("dual-propagation", beta=0.1, sweeps=s)) for s in (1, 3))
    assert far(three, one) < 1e-3


# Predictive coding

def test_fixed_prediction_swept_once_is_backprop():
    for u, v in zip(changes(made("predictive-coding-fixed")), backprop()): assert_close(u, v, rtol=0, atol=1e-12)


def test_fixed_prediction_in_small_steps_ends_there_too():
    assert far(changes(made("predictive-coding-fixed", steps=300, step_size=0.1)), backprop()) < 1e-9


def test_fixed_prediction_all_at_once_takes_as_many_steps_as_there_are_layers_below():
    true = backprop()
    assert far(changes(made("predictive-coding-fixed", order="together")), true) < 1e-12  # L − 1 = 3 steps
    rule = Rule(made("backprop").net, PredictiveFixed(2, order="together"), Delta())
    found = changes(rule)
    assert found[0].abs().max() == 0 and far(found[1:], true[1:]) < 1e-12
    with pytest.raises(BadInput, match="with 2 steps layer 1 of 4 would learn nothing; give at least 3"):
        made("predictive-coding-fixed", order="together", steps=2)
    with pytest.raises(BadInput, match="layers 1 to 2 of 4 would learn nothing"): made("predictive-coding", steps=1)


@pytest.mark.parametrize("sign", ["positive", "centred"])
def test_values_and_errors_settle_at_the_same_place(sign):
    values = changes(made("predictive-coding", sign=sign, nudge=0.5, **SETTLED))
    assert far(changes(made("predictive-coding-error", steps=300, sign=sign, nudge=0.5)), values) < 1e-9


def test_one_step_of_the_error_solver_is_backprop_in_hidden_layers():
    rule, true = made("predictive-coding-error", steps=1), made("backprop")
    phases, free = (r.phases(r.transform(X), Y) for r in (rule, true))
    for p, f in zip(phases[:-1], free): assert_close(p.drive, 0.2 * f.drive, rtol=1e-12, atol=1e-15)


def parts_of_linear(rule):
    "(P of each layer, the free error) of a linear network: P_l = W_L ⋯ W_{l+1}."
    phases = Rule(rule.net, Predictive(), Delta()).phases(rule.transform(X), Y)  # its free values are in `v`
    Ps = [J[:, 0] for J in jacobian(rule, phases)]
    return Ps, LOSSES["squared"].error(phases[-1].v, Y)


def closed(Ps, error, softness):
    "ε_l = P_lᵀ (softness + Σ_hidden P Pᵀ)⁻¹ δ, of every layer, each (S, N, units)."
    S = sum(P @ P.mT for P in Ps[:-1]) + softness * torch.eye(5, dtype=torch.float64)
    return [(error @ torch.linalg.inv(S)) @ P for P in Ps]


@pytest.mark.parametrize("nudge", [1.0, 0.25])
def test_settled_linear_predictive_coding_is_its_closed_form(nudge):
    rule = made("predictive-coding", ACTIVATIONS["identity"], loss="squared", nudge=nudge, **SETTLED)
    phases = rule.phases(rule.transform(X), Y)
    for phase, eps in zip(phases, closed(*parts_of_linear(rule), 1 / nudge)):
        assert_close(phase.drive * nudge, eps, rtol=0, atol=1e-9)


@pytest.mark.parametrize("leak", [0.0, 0.3])
def test_least_control_finds_the_least_errors_that_reach_the_target(leak):
    options = dict(steps=6000, step_size=0.2, loss="squared", leak=leak)
    rule = made("predictive-coding", ACTIVATIONS["identity"], **options)
    phases = rule.phases(rule.transform(X), Y)
    for phase, eps in zip(phases, closed(*parts_of_linear(rule), leak)):
        assert_close(phase.drive, eps, rtol=0, atol=1e-8)
    if leak == 0: assert LOSSES["squared"].error(phases[-1].v_hat, Y).abs().max() < 1e-8  # the output is there


@pytest.mark.parametrize("nudge", [1.0, 0.5])
def test_linear_predictive_coding_is_deep_feedback_control(nudge):
    "With Jacobian feedback in closed form; the output's precision λ is a leak of 1/λ − 1."
    rule = made("predictive-coding", ACTIVATIONS["identity"], loss="squared", nudge=nudge, **SETTLED)
    control = Control(rule.net, "jacobian", nudge=1.0, controller=Controller(leak=1 / nudge - 1), loss="squared")
    found, controlled = changes(rule), changes(Rule(rule.net, control, Delta()))
    for u, v in zip(found, controlled): assert_close(nudge * u, v, rtol=0, atol=1e-9)


def test_a_weak_output_makes_predictive_coding_backprop():
    make = lambda nudge, sign: changes(made("predictive-coding", nudge=nudge, sign=sign, **SETTLED))
    for sign, least, most in (("positive", 5, 20), ("negative", 5, 20), ("centred", 50, 200)):
        found = ratios(lambda nudge: make(nudge, sign), backprop(), (0.1, 0.01, 0.001))
        assert all(least < r < most for r in found), (sign, found)


@pytest.mark.parametrize("name", ["predictive-coding", "predictive-coding-error"])
def test_energy_falls_along_settling(name):
    rule, free = made(name, step_size=0.1, steps=60), made("backprop")
    phases = free.phases(free.transform(X), Y)
    along = torch.stack([energy(states, LOSSES["cross-entropy"].value(states[-1].v, Y))
                         for states, _ in rule.teacher.moments(free, phases, Y, 1.0)])
    assert along.shape == (61, 2, 6) and (along.diff(dim=0) <= 1e-12).all()
    assert_close(along[0], LOSSES["cross-entropy"].value(free.predict(X), Y))  # ε = 0 at the start


def test_the_slope_of_settling_is_that_of_the_energy():
    "Autograd of F in the values, at some moment on the way."
    rule, free = made("predictive-coding", steps=4), made("backprop")
    phases = free.phases(free.transform(X), Y)
    *_, (states, eps) = rule.teacher.moments(free, phases, Y, 1.0)
    with torch.enable_grad():
        values = [s.v.detach().requires_grad_() for s in states[:-1]]
        now = at_values(free, phases, values)
        total = energy(now, LOSSES["cross-entropy"].value(now[-1].v, Y)).sum()
        slopes = torch.autograd.grad(total, values)
    for mine, true in zip(downhill(free, states, eps), slopes): assert_close(mine, -true, rtol=1e-9, atol=1e-12)


def test_how_far_it_relaxed_is_told():
    told = {T: made("predictive-coding", steps=T, step_size=0.02) for T in (5, 2000)}
    for rule in told.values(): rule(X, Y)
    near, end = (rule.teacher.metrics() for rule in told.values())
    assert near["relaxed"].shape == (2,) and (near["relaxed"] < 0.2).all() and (near["unsettled"] > 0.5).all()
    assert (end["relaxed"] > 0.99).all() and (end["unsettled"] < 0.01).all()


def test_incremental_steps_at_frozen_weights_add_up():
    "Where the weights stay, its T steps are those of settling, each taught by its own errors."
    rule, free = made("predictive-coding-incremental", steps=4, step_size=0.3), made("backprop")
    phases, T = free.phases(free.transform(X), Y), Predictive(3, 0.3)
    moments = list(T.moments(free, phases, Y, 1.0))
    total = [0.0] * 4
    for states, eps in moments:
        for l, (s, e) in enumerate(zip(states, eps)):
            total[l] = total[l] + e.mT @ s.seen.pre / len(X)
    for found, true in zip(changes(rule), total): assert_close(found, true, rtol=1e-9, atol=1e-12)


def test_incremental_learning_steps_as_often_as_it_settles():
    rule, seen = made("predictive-coding-incremental", steps=5), []
    rule.learn(rule.transform(X), Y, lambda changes: seen.append({p: c.dense(p) for p, c in changes.items()}))
    assert len(seen) == 5 and all(W in step for step in seen for W in rule.net.weights)
    assert seen[0][rule.net.weights[0]].abs().max() == 0 < seen[3][rule.net.weights[0]].abs().max()


# Equilibrium propagation

def through_the_settled_state(loss, **options):
    "Minus the gradient of the mean loss of the settled free network, by autograd."
    rule = made("equilibrium-propagation", scale=0.5, sweeps=400, loss=loss, **options)
    total = LOSSES[loss].value(rule.predict(X), Y).mean(-1).sum()
    return [-grad for grad in torch.autograd.grad(total, list(rule.net.weights))]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("centred,least,most", [(True, 50, 200), (False, 5, 20)])
def test_equilibrium_propagation_is_the_gradient_through_the_settled_state(loss, centred, least, most):
    def make(beta):
        return changes(made("equilibrium-propagation", scale=0.5, sweeps=400, nudged=400, loss=loss, beta=beta,
                            centred=centred))
    found = ratios(make, through_the_settled_state(loss), (0.1, 0.01, 0.001))
    assert all(least < r < most for r in found), found


def test_too_short_a_nudge_teaches_upper_layers_only():
    "All at once, the nudge comes down by a layer in each sweep: layer l is shifted after L − l of them, not before."
    true = through_the_settled_state("cross-entropy")
    errors = []
    for T in (1, 2, 4, 8, 16):
        net = made("equilibrium-propagation", scale=0.5, sweeps=400, nudged=8, order="together", beta=0.01)
        net.teacher.nudged = T
        found = changes(net)
        errors.append(far(found[:1], true[:1]))
        still = [u.abs().max().item() < 1e-9 for u in found]
        assert still == [T < 3 - l for l in range(3)] + [False], (T, still)
    assert errors[:2] == pytest.approx([1, 1], abs=1e-6)
    assert errors[2:] == sorted(errors[2:])[::-1] and errors[-1] < 0.01
    with pytest.raises(BadInput, match="2 nudged sweeps layer 1 of 4 would learn nothing"):
        made("equilibrium-propagation", nudged=2, order="together")


@pytest.mark.parametrize("gamma", [0.1, 0.01])
def test_weak_feedback_and_a_weak_nudge_are_backprop(gamma):
    found = changes(made("equilibrium-propagation", gamma=gamma, beta=1e-3, sweeps=60, nudged=60, loss="squared"))
    assert far(found, backprop(loss="squared")) < 4 * gamma


def test_contrastive_hebb_is_a_corner_of_the_same_teacher():
    "Held at the label (β = ∞) from a free phase, in the same class; and a strong nudge comes near it."
    rule = made("contrastive", gamma=0.2, sweeps=80)
    assert isinstance(rule.teacher, Settle) and rule.teacher.beta == math.inf
    held = changes(rule)
    strong = made("contrastive", gamma=0.2, sweeps=80)
    strong.teacher.beta = 1e6
    assert far(changes(strong), held) < 1e-4


def test_all_orders_of_a_sweep_end_at_the_same_place():
    a, b, c = (made("equilibrium-propagation", scale=0.5, sweeps=300, order=order).predict(X)
               for order in ("upward", "odd-even", "together"))
    assert_close(a, b, rtol=0, atol=1e-12)
    assert_close(a, c, rtol=0, atol=1e-12)


def test_the_answer_is_the_settled_state():
    rule = made("equilibrium-propagation", scale=0.5, sweeps=200, loss="squared")
    *hidden, logits = rule.activities(X)
    r, Ws, bs = hidden, rule.net.weights, rule.net.biases
    for l, above in enumerate([*hidden[1:], logits]):
        below = rule.transform(X).expand(2, -1, -1) if l == 0 else r[l - 1]
        v = below @ Ws[l].mT + bs[l].unsqueeze(1) + above @ Ws[l + 1]
        assert_close(r[l], torch.tanh(v), rtol=0, atol=1e-12)
    assert_close(rule.predict(X), logits)
    swept = Rule(rule.net, None, Delta()).shown_as(rule).predict(X)
    assert (swept - logits).abs().max() > 0.01  # a single pass says otherwise


def test_attacks_and_noise_see_the_settled_network():
    rule = made("equilibrium-propagation", scale=0.5, sweeps=100, loss="squared")
    x = X.clone().requires_grad_()
    with torch.enable_grad(): loss = LOSSES["cross-entropy"].value(rule.predict(x), Y).sum((-2, -1))
    true, = torch.autograd.grad(loss, x)
    step = 1e-6 * true / true.norm()
    moved = [LOSSES["cross-entropy"].value(rule.predict(X + s * step), Y).sum() for s in (1, -1)]
    assert ((moved[0] - moved[1]) / 2 / 1e-6).item() == pytest.approx(true.norm().item(), rel=1e-5)
    clean = evaluate(rule, X, Y)["loss"]
    assert (evaluate(rule, X, Y, FGSM(0.1))["loss"] > clean).all()
    for noise in ("hidden-noise:0.5", "weight-noise:0.5"):
        assert (evaluate(rule, X, Y, perturbation(noise))["loss"] - clean).abs().min() > 1e-6


# Filters and pools

IMAGES = torch.rand(6, 144, generator=g, dtype=torch.float64)


def filters(name, spec="c4k3 pool2 c6k3p1 avg2 d8", scale=1.0, **options):
    net = ConvNet((12, 12), spec, 5, act="tanh", replicas=2, seed=1, normalise=(0.5, 0.3)).double()
    for W in net.weights: W.data *= scale
    return make_rule(name, net, **options)


def filter_changes(name, **options):
    rule = filters(name, **options)
    rule(IMAGES, Y)
    return [-W.grad.clone() for W in rule.net.weights]


def test_dual_propagation_of_filters_is_backprop_to_second_order():
    found = ratios(lambda b: filter_changes("dual-propagation", beta=b), filter_changes("backprop"), (1.0, 0.1, 0.01))
    assert all(50 < r < 200 for r in found), found


@pytest.mark.parametrize("options", [{}, {"order": "together"}])
def test_fixed_prediction_of_filters_is_backprop(options):
    for u, v in zip(filter_changes("predictive-coding-fixed", **options), filter_changes("backprop")):
        assert_close(u, v, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sign,least,most", [("positive", 5, 20), ("centred", 50, 200)])
def test_a_weak_output_makes_predictive_coding_of_filters_backprop(sign, least, most):
    make = lambda pull: filter_changes("predictive-coding-error", steps=150, nudge=pull, sign=sign)
    found = ratios(make, filter_changes("backprop"), (0.1, 0.01, 0.001))
    assert all(least < r < most for r in found), found


def test_values_and_errors_of_filters_settle_at_the_same_place():
    values = filter_changes("predictive-coding", steps=600, step_size=0.1, nudge=0.1)
    assert far(filter_changes("predictive-coding-error", steps=150, nudge=0.1), values) < 1e-7


def test_the_energy_of_filters_falls():
    rule, free = filters("predictive-coding", step_size=0.05, steps=20, nudge=0.3), filters("backprop")
    phases = free.phases(free.transform(IMAGES), Y)
    along = torch.stack([energy(states, LOSSES["cross-entropy"].value(states[-1].v, Y), 0.3)
                         for states, _ in rule.teacher.moments(free, phases, Y, 0.3)])
    assert along.shape == (21, 2, 6) and (along.diff(dim=0) <= 1e-12).all() and (along[-1] < along[0]).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("spec", ["c4k3 avg2 c6k3p1 avg2 d8", "c4k3 pool2 c6k3p1 pool2 d8"])
def test_equilibrium_propagation_of_filters_is_the_gradient_through_the_settled_state(spec, loss):
    "With winners of pools as the feed-forward pass chose them, in the answer as in both phases."
    how = dict(spec=spec, scale=0.5, sweeps=80, loss=loss)
    rule = filters("equilibrium-propagation", **how)
    total = LOSSES[loss].value(rule.predict(IMAGES), Y).mean(-1).sum()
    true = [-grad for grad in torch.autograd.grad(total, list(rule.net.weights))]
    found = ratios(lambda b: filter_changes("equilibrium-propagation", beta=b, nudged=80, **how), true, (0.1, 0.01))
    assert all(50 < r < 200 for r in found), found


def test_equilibrium_propagation_refuses_what_leaves_no_energy():
    for part in ("norm", "pow0.7"):
        with pytest.raises(BadInput, match=f"needs an energy, and '{part[:4].rstrip('0')}.*layer 2"):
            filters("equilibrium-propagation", spec=f"c4k3 {part} c4k3")
    filters("equilibrium-propagation", spec="norm c4k3 pool2 c4k3")  # in front of the first layer all stays


@pytest.mark.parametrize("name", ["dual-propagation", "predictive-coding-error"])
def test_lenet_learns(name):
    task = load_task("mnist-mini", 3, device="cpu")
    rule = make_rule(name, ConvNet(task.shape, "tanh c6k5p2 pool2 c16k5 pool2 d120 d84", 3))
    assert fit(rule, task, 1, 0.002, optimizer="adam", progress=False, warn=False).final.valid_accuracy.mean() > 0.85


# Stacks

@pytest.mark.parametrize("name,options", [
    ("predictive-coding", dict(steps=500, step_size=0.3, tolerance=1e-3)),
    ("predictive-coding-error", dict(steps=500, tolerance=1e-3)),
    ("equilibrium-propagation", dict(sweeps=200, nudged=200, tolerance=1e-4, scale=0.5))])
def test_adaptive_stops_wait_for_all_and_disturb_nobody(name, options):
    "A network that settles at once, beside one that takes long: each learns what it learns alone."
    scale = options.pop("scale", 1.0)
    def alone(seeds, calm=None):
        net = MLP(SIZES, act="tanh", replicas=len(seeds), seed=seeds, normalise=(0.5, 0.3)).double()
        for W in net.weights: W.data *= scale
        if calm is not None:
            for W in net.weights: W.data[calm] *= 0.05
        return changes(make_rule(name, net, **options))
    both, quick, slow = alone([3, 4], calm=0), alone([3], calm=0), alone([4])
    for many, a, b in zip(both, quick, slow):
        assert_close(many[:1], a, rtol=1e-10, atol=1e-14)
        assert_close(many[1:], b, rtol=1e-10, atol=1e-14)


# Bad input

@pytest.mark.parametrize("name,options,message", [
    ("predictive-coding", dict(step_size=2.0), "step size of 2 settling must diverge.*below 2"),
    ("predictive-coding", dict(sign="up"), "sign of the nudge"),
    ("equilibrium-propagation", dict(loss="squared", beta=1.0), "no state to settle in: give a beta below 1; 1"),
    ("equilibrium-propagation", dict(gamma=0.0), "gamma"),
    ("contrastive", dict(sweeps=2), "with 2 sweeps layer 1 of 4 would learn nothing; give at least 3"),
    ("dual-propagation", dict(alpha=1.5), "alpha must be between 0 and 1")])
def test_settings_that_cannot_work_are_refused(name, options, message):
    with pytest.raises(BadInput, match=message): made(name, **options)


def test_settling_that_diverges_says_which_step_would_not():
    rule = made("predictive-coding", step_size=1.9, scale=3.0, steps=100)
    rule(X, Y)
    with pytest.warns(UserWarning, match="not settle with steps of 1.9.*have to be below 0"): rule.teacher.metrics()


def test_asymmetric_weights_are_refused():
    class Random(Dense):
        def down(self, e, seen, W=None): return super().down(e, seen, torch.ones_like(self.W))
    net = Network([Dense(6, 8), Random(6, 6), Dense(3, 6)], "tanh")
    with pytest.raises(BadInput, match="needs symmetric weights, and what layer 2 sends down"): check_symmetric(net)
    for name in ("equilibrium-propagation", "contrastive"):
        with pytest.raises(BadInput, match=f"{name[:9]}.*needs symmetric weights"): make_rule(name, net)


def test_a_readout_outside_the_energy_cannot_be_held():
    with pytest.raises(BadInput, match="finite beta with loss='cross-entropy'"): Settle(loss="cross-entropy")


@pytest.mark.parametrize("name", ["predictive-coding", "predictive-coding-error"])
@pytest.mark.parametrize("sign", ["negative", "centred"])
def test_a_pull_away_beyond_the_curvature_of_the_loss_is_refused(name, sign):
    "In a linear network the loss's curvature in the errors is that of Σ P Pᵀ over hidden layers: see `closed`."
    line = ACTIVATIONS["identity"]
    Ps, _ = parts_of_linear(made("backprop", line, loss="squared"))
    limit = 1 / torch.linalg.eigvalsh(sum(P @ P.mT for P in Ps[:-1]))[..., -1].max().item()
    made(name, line, loss="squared", sign=sign, nudge=0.95 * limit)(X, Y)
    with pytest.raises(BadInput, match="leaves no state to settle in: from") as said:
        made(name, line, loss="squared", sign=sign, nudge=1.05 * limit)(X, Y)
    assert float(str(said.value).split(": from ")[1].split(" on")[0]) == pytest.approx(limit, rel=0.02)


def test_a_push_away_that_adds_up_without_a_leak_is_refused():
    with pytest.raises(BadInput, match="without a leak never comes to rest"):
        made("predictive-coding", sign="centred", leak=0.0)
    made("predictive-coding", sign="centred", leak=1.0, loss="squared", nudge=0.2)(X, Y)


def test_hard_sigmoids_out_of_their_range_are_refused():
    task = load_task("digits", 3, device="cpu")
    net = MLP((64, 20, 3), act="hard-sigmoid", normalise=(0.0, 1.0))
    net.biases[0].data -= 10
    with pytest.raises(BadInput, match="hard sigmoid.*layer 1"):
        fit(make_rule("equilibrium-propagation", net), task, 1, progress=False)


# Training

@pytest.mark.parametrize("name", ["predictive-coding", "predictive-coding-error", "predictive-coding-fixed",
                                  "predictive-coding-incremental", "dual-propagation", "equilibrium-propagation"])
def test_it_learns_and_tells_how_far_it_settled(name):
    task = load_task("digits", device="cpu")
    run = fit(make_rule(name, MLP((64, 20, 10), act="tanh")), task, 3, optimizer="adam", progress=False, warn=False)
    assert run.final.valid_accuracy.mean() > 0.7
    assert [a.shape[-1] for n, a in activities(run.rule, task.x_test[:9]).items() if n != "input"] == [20, 10]
    assert input_gradient(run.rule, task.x_test[:9], task.y_test[:9]).isfinite().all()
    if name != "dual-propagation":
        assert {"relaxed", "unsettled"} <= set(run.history) and run.final.relaxed.notna().all()


# What the exercises' answers say

@pytest.mark.parametrize("pull", [1.0, 0.25])
def test_one_hidden_unit_gives_way_by_half(pull):
    "ε = λδ / (1 + λ), in units of the pull."
    net = MLP((1, 1, 1), act=ACTIVATIONS["identity"], normalise=(0.0, 1.0)).double()
    for p in net.parameters(): p.data.fill_(1.0 if p.dim() == 3 else 0.0)
    rule = make_rule("predictive-coding", net, steps=2000, loss="squared", nudge=pull)
    phases = rule.phases(torch.full((1, 1), 0.25, dtype=torch.float64), torch.zeros(1, dtype=torch.long))
    assert phases[0].drive.item() == pytest.approx(0.75 / (1 + pull))  # δ = 1 − 1/4, divided by λ


def test_a_relu_whose_compartments_agree_is_exact():
    def off(bias):
        nets = [MLP((12, 9, 5), act="relu", seed=1, normalise=(0.5, 0.3)).double() for _ in range(2)]
        for net in nets: net.biases[0].data += bias
        return far(changes(make_rule("dual-propagation", nets[0], beta=1.0)), changes(make_rule("backprop", nets[1])))
    assert off(50.0) < 1e-12 < off(0.0)  # far from zero, all of them agree


def test_by_turns_a_nudge_comes_down_by_two_layers():
    assert reached(4, "odd-even", False, 1) == {1, 2, 3} and reached(4, "odd-even", False, 2) == {0, 1, 2, 3}
    assert [len(reached(4, "together", False, n)) for n in (1, 2, 3)] == [2, 3, 4]


def test_without_hidden_layers_both_poles_are_one():
    net = MLP((12, 5), normalise=(0.5, 0.3)).double()
    for softness in (0.0, 3.0):
        pole, true = gauss_newton(make_rule("backprop", net), X, Y, softness), changes(make_rule("backprop", net))
        assert_close((1 + softness) * pole[0], true[0])
