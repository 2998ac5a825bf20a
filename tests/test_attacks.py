"Attacks against two outside oracles, the extra `attacks`: foolbox, and AutoAttack as pyautoattack has it."
import copy
from types import SimpleNamespace

import pytest, torch
from bioplaus.attacks import APGD, FGSM, MIFGSM, PGD, Square, blind_share, masking_checks, red_line, suite, worst_case
from bioplaus.core import stream
from bioplaus.data import load_task
from bioplaus.mediators import smallest_fooling
from bioplaus.network import MLP
from bioplaus.robustness import attack_checks, evenly
from bioplaus.rule import make_rule
from bioplaus.training import evaluate, fit

N, PIXELS = 500, (1, 28, 28)


@pytest.fixture(scope="module")
def task(): return load_task("mnist-mini", device="cpu")


@pytest.fixture(scope="module", params=["relu", "sigmoid"])
def rule(request, task):
    fresh = make_rule("backprop", MLP((784, 100, 10), act=request.param, replicas=2))
    return fit(fresh, task, epochs=4, lr=0.2, progress=False).rule


# AutoAttack takes its time: on the other kind of units once a week
slowly = pytest.mark.parametrize("rule", ["relu", pytest.param("sigmoid", marks=pytest.mark.weekly)], indirect=True)


@pytest.fixture(autouse=True)
def seed(): torch.manual_seed(0)


class Alone(torch.nn.Module):
    "One replica as the plain module that other libraries attack: images (N, 1, 28, 28) in, logits (N, classes) out."
    def __init__(self, rule, s):
        super().__init__()
        nonlinear = {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh}[rule.net.act]
        layers = []
        for layer in rule.net.layers:
            linear = torch.nn.Linear(layer.takes, layer.gives).to(layer.W.dtype)
            linear.weight.data, linear.bias.data = layer.W[s].detach().clone(), layer.b[s].detach().clone()
            layers += [linear, nonlinear()]
        self.layers, (self.mean, self.std) = torch.nn.Sequential(*layers[:-1]), rule.normalise

    def forward(self, x): return self.layers((x.flatten(1) - self.mean) / self.std)


def robust(rule, x, y): return (rule.predict(x)[-1].argmax(-1) == y).double().mean(-1)


def foolbox_images(attack, rule, x, y, eps):
    "What foolbox makes of `x` on the last replica."
    fb = pytest.importorskip("foolbox")
    model = fb.PyTorchModel(Alone(rule, 1).eval(), bounds=(0, 1), device="cpu")
    images, criterion = x.view(-1, *PIXELS), fb.criteria.Misclassification(y)
    return attack(fb.attacks).run(model, images, criterion, epsilon=eps).flatten(1).detach()


@pytest.mark.parametrize("eps", [0.02, 0.1, 0.5])
def test_fgsm_is_foolboxs(rule, task, eps):
    x, y = task.x_test[:N], task.y_test[:N]
    fgsm = lambda attacks: attacks.LinfFastGradientAttack(random_start=False)
    settings = {k: getattr(rule.net, k) for k in ("sizes", "act", "replicas")}
    double = make_rule("backprop", MLP(**settings).double()).shown_as(rule)
    double.load_state_dict({k: v.double() for k, v in rule.state_dict().items()})
    theirs = foolbox_images(fgsm, double, x.double(), y, eps)
    torch.testing.assert_close(FGSM(eps)(double, x.double(), y)[1], theirs, rtol=0, atol=1e-15)
    z = x.clone().requires_grad_()
    torch.nn.functional.cross_entropy(Alone(rule, 1)(z), y, reduction="sum").backward()
    off = (FGSM(eps)(rule, x, y)[1] - foolbox_images(fgsm, rule, x, y, eps)).abs()
    assert off[z.grad.abs() > 1e-7].max() <= 1.2e-7  # the last bit: ours never leaves the ball by rounding


@pytest.mark.parametrize("eps", [0.05, 0.1, 0.2])
def test_pgd_leaves_what_foolboxs_leaves(rule, task, eps):
    x, y = task.x_test[:1000], task.y_test[:1000]
    theirs = robust(rule, foolbox_images(lambda a: a.LinfPGD(steps=20, rel_stepsize=2.5 / 20), rule, x, y, eps), y)
    for settings in ({}, {"falling": False}, {"falling": False, "early": False}):
        ours = robust(rule, PGD(eps, **settings)(rule, x, y, stream(0)), y)
        assert abs(ours - theirs) <= 0.005 + 1e-9, (settings, ours, theirs)


def test_euclidean_pgd_leaves_what_foolboxs_leaves(rule, task):
    x, y = task.x_test[:1000], task.y_test[:1000]
    theirs = robust(rule, foolbox_images(lambda a: a.L2PGD(steps=20, rel_stepsize=2.5 / 20), rule, x, y, 1.0), y)
    assert abs(robust(rule, PGD(1.0, "l2")(rule, x, y, stream(0)), y) - theirs) <= 0.005 + 1e-9


def test_momentum_leaves_about_what_foolboxs_leaves(rule, task):
    "foolbox adds up other sizes of gradients than Dong et al. do, so the two are near each other and not the same."
    x, y = task.x_test[:1000], task.y_test[:1000]
    momentum = lambda attacks: attacks.LinfMomentumIterativeFastGradientMethod(steps=10, rel_stepsize=0.1)
    theirs = robust(rule, foolbox_images(momentum, rule, x, y, 0.1), y)
    assert abs(robust(rule, MIFGSM(0.1, early=False)(rule, x, y), y) - theirs) <= 0.03


def autoattack(rule, x, y, eps, queries=200, s=1, **settings):
    "What AutoAttack makes of `x` on replica s."
    alone = Alone(rule, s).eval().requires_grad_(False)
    attack = pytest.importorskip("pyautoattack").AutoAttack(alone, norm="Linf", eps=eps, seed=0, **settings)
    attack.square.n_queries, attack.square.rescale_schedule = queries, True
    return attack.run_standard_evaluation(x.view(-1, *PIXELS), y, batch_size=len(x))[0].flatten(1)


@slowly
def test_square_leaves_about_what_autoattacks_leaves(rule, task):
    "Theirs sets the same square in a whole batch, ours another in each image: with few queries ours is a bit better."
    x, y = task.x_test[:1000], task.y_test[:1000]
    eps, queries = 0.08, 500
    theirs = robust(rule, autoattack(rule, x, y, eps, queries, version="custom", attacks=["square"]), y)
    ours = robust(rule, Square(eps, queries)(rule, x, y, stream(0)), y)
    assert -0.04 <= ours - theirs <= 0.01, (ours, theirs)


@slowly
@pytest.mark.parametrize("loss, theirs, restarts", [("cross-entropy", "apgd-ce", 1), ("dlr", "apgd-dlr", 1),
                                                    ("dlr-target", "apgd-t", 9)])
def test_adaptive_steps_leave_what_autoattacks_leave(rule, task, loss, theirs, restarts):
    "Theirs takes 100 steps from other random starts, ours 50."
    x, y, eps = task.x_test[:N], task.y_test[:N], 0.08
    ours = robust(rule, APGD(eps, loss=loss, restarts=restarts)(rule, x, y, stream(0)), y)
    assert abs(ours - robust(rule, autoattack(rule, x, y, eps, version="custom", attacks=[theirs]), y)) <= 0.015


@slowly
def test_the_worst_case_is_as_bad_as_autoattacks(rule, task):
    "Of the images that survive our worst case, AutoAttack takes no more than half a percent of all."
    x, y, eps = task.x_test[:N], task.y_test[:N], 0.1
    right = worst_case(rule, x, y, suite(eps, 200))[1]
    assert 20 < right.sum() < 200
    theirs = robust(rule, autoattack(rule, x[right], y[right], eps), y[right])
    assert (1 - theirs) * right.sum() <= 0.005 * N


@pytest.mark.parametrize("act", [pytest.param(a, marks=pytest.mark.weekly) for a in ("relu", "tanh")])
def test_the_worst_case_of_small_networks_is_as_bad_as_autoattacks(task, act):
    "Plain PGD leaves 1 to 2 points more. The same bound, as a mean over networks: one may be a lucky image off."
    fresh = make_rule("backprop", MLP((784, 37, 19, 10), act=act, replicas=3))
    rule = fit(fresh, task, epochs=10, lr=0.1, progress=False).rule
    x, y = evenly(task, 200)
    eps, more = 0.1, []
    for s, right in enumerate(worst_case(rule, x, y, suite(eps, 200))):
        found = autoattack(rule, x[right], y[right], eps, s=s)
        more.append((Alone(rule, s)(found).argmax(-1) != y[right]).sum().item() / len(y))
    assert max(more) <= 0.01 and sum(more) / 3 <= 0.005, more


@slowly
def test_the_smallest_fooling_step_is_no_larger_than_what_minimum_norm_attacks_find(rule, task):
    "Of foolbox's DDN and FMN: medians agree, and every image that they fool, ours does, with a step about as large."
    fb = pytest.importorskip("foolbox")
    x, y = task.x_test[:100], task.y_test[:100]
    model = fb.PyTorchModel(Alone(rule, 1).eval(), bounds=(0, 1), device="cpu")
    sought = fb.criteria.Misclassification(y)
    attacks = ("l2", fb.attacks.DDNAttack(steps=200), 2), ("linf", fb.attacks.LInfFMNAttack(steps=200), torch.inf)
    for norm, attack, p in attacks:
        theirs = (attack(model, x.view(-1, *PIXELS), sought, epsilons=None)[0].flatten(1) - x).norm(p, dim=-1)
        ours = smallest_fooling(rule, x, y, norm)[1]
        assert ours.median() <= 1.01 * theirs.median() and (ours <= 1.05 * theirs + 1e-6).double().mean() >= 0.95, norm


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("act", ["sigmoid", "relu"])
def test_healthy_networks_are_not_accused(classes, act):
    task = load_task("mnist-mini", classes, device="cpu")
    fresh = make_rule("backprop", MLP((784, 50, task.n_classes), act=act, replicas=5))
    rule = fit(fresh, task, epochs=6, lr=0.1, progress=False).rule
    checks = attack_checks(rule, task, [PGD(0.1)])
    assert red_line(checks) == "" and not checks.at_chance.any()


class Rounded:
    "A rule that sees pixels rounded to five levels, which have no gradient."
    def __init__(self, rule): self.rule, self.net, self.name = rule, rule.net, "rounded"
    def predict(self, x): return self.rule.predict((4 * x).round() / 4)


def scaled(rule, layer, factor):
    "A copy of which one layer is louder."
    rule = copy.deepcopy(rule)
    with torch.no_grad():
        for p in (rule.net.weights[layer], rule.net.biases[layer]): p.mul_(factor)
    return rule


def steep(rule):
    "A copy whose first layer is three hundred times as steep."
    return scaled(rule, 0, 300)


def test_masked_networks_are_accused(task):
    learnt = fit(make_rule("backprop", MLP((784, 50, 10), replicas=3)), task, epochs=6, progress=False).rule
    x, y = evenly(task, 200)
    assert red_line(masking_checks(learnt, x, y)) == ""
    for masked, blind in ((Rounded(learnt), True), (steep(learnt), False)):
        assert evaluate(masked, x, y)["accuracy"].min() > 0.7 if blind else True
        checks = masking_checks(masked, x, y)
        failed = checks[~checks.passed]
        assert failed.seed.nunique() == 3 and not checks.at_chance.any()
        assert blind <= ("saturated units, or a saturated loss" in set(failed.suspects))


def test_a_sharp_softmax_is_accused():
    "Two layers of SoftHebb tell two digits apart; at ε = 0.5, where all images can be made one grey, the attack fails."
    pair = load_task("mnist-mini", 2, device="cpu")
    rule = fit(make_rule("softhebb", MLP((784, 100, 100, 2), replicas=3)), pair, epochs=4, progress=False).rule
    checks = attack_checks(rule, pair, [PGD(0.1)])
    assert "an attack that misses what is surely there" in set(checks[~checks.passed].suspects)


def test_nobody_is_accused_of_guessing(task):
    "An untrained network, and one that says the same of all images, are at chance."
    x, y = evenly(task, 200)
    for factor in (1.0, 0.0):
        rule = make_rule("backprop", MLP((784, 20, 10), replicas=3, normalise=(task.mean, task.std)))
        with torch.no_grad(): rule.net.weights[-1].mul_(factor)
        checks = masking_checks(rule, x, y)
        assert checks.at_chance.all() and red_line(checks) == ""


def test_checks_hold_their_promise():
    "Two equally strong attacks fool images by a coin: in far fewer than one of a hundred tables is one called weaker."
    from bioplaus.attacks import stronger_limit
    a, b = (torch.rand(3000, 200, generator=torch.Generator().manual_seed(k)) < 0.3 for k in (0, 1))
    accused = a.double().mean(-1) > stronger_limit(a, b, 0.01) + 1e-9
    assert accused.double().mean() <= 0.012
    # an attack that leaves 20 points more than the one that should be weaker
    far = torch.rand(3000, 200, generator=torch.Generator().manual_seed(2)) < 0.5
    assert (far.double().mean(-1) > stronger_limit(far, a, 0.01) + 1e-9).double().mean() > 0.9


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1.0, 3.0])
def test_the_scale_of_the_logits_blinds_nobody_until_the_softmax_is_full(rule, task, factor):
    x, y = evenly(task, 200)
    louder = scaled(rule, -1, factor)
    assert (blind_share(louder, x, y) == 0).all()
    louder = scaled(louder, -1, 1000 / factor)
    assert (blind_share(louder, x, y) > 0.8).all() and (blind_share(louder, x, y, "margin") == 0).all()


def test_gradients_far_below_the_others_are_not_seen():
    "A linear network with a gate for each half of its images; nearly shut, it leaves 1e-16 of the others' slope."
    gate = lambda x: torch.where(x[..., :1] > 0.5, 1.0, 1e-16)
    rule = make_rule("linear", MLP((12, 3), replicas=2))
    gated = SimpleNamespace(net=rule.net, predict=lambda x: rule.predict(x) * gate(x))
    x, y = torch.rand(100, 12), torch.randint(3, (100,))
    torch.testing.assert_close(blind_share(gated, x, y), (x[:, 0] <= 0.5).double().mean().expand(2))
