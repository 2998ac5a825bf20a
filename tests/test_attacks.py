"""Attacks against two outside oracles, which are the extra `attacks`: foolbox, and AutoAttack as pyautoattack has it."""
import pytest, torch
from bioplaus.attacks import FGSM, MIFGSM, PGD, Square, suite, worst_case
from bioplaus.core import stream
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.training import fit

N, PIXELS = 500, (1, 28, 28)


@pytest.fixture(scope="module")
def task(): return load_task("mnist-mini", device="cpu")


@pytest.fixture(scope="module", params=["relu", "sigmoid"])
def rule(request, task): return fit(make_rule("backprop", MLP((784, 100, 10), act=request.param, replicas=2)), task, epochs=4, lr=0.2, progress=False).rule


@pytest.fixture(autouse=True)
def seed(): torch.manual_seed(0)


class Alone(torch.nn.Module):
    "One replica as the plain module that other libraries attack: images (N, 1, 28, 28) in, logits (N, classes) out."
    def __init__(self, rule, s):
        super().__init__()
        layers = []
        for W, b, act in rule.net.layers():
            linear = torch.nn.Linear(W.shape[2], W.shape[1]).to(W.dtype)
            linear.weight.data, linear.bias.data = W[s].detach().clone(), b[s].detach().clone()
            layers += [linear, {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid}[rule.net.act]()]
        self.layers, (self.mean, self.std) = torch.nn.Sequential(*layers[:-1]), rule.net.normalise

    def forward(self, x): return self.layers((x.flatten(1) - self.mean) / self.std)


def robust(rule, x, y): return (rule.predict(x)[-1].argmax(-1) == y).double().mean(-1)


def foolbox_images(attack, rule, x, y, eps):
    "What foolbox makes of `x` on the last replica."
    fb = pytest.importorskip("foolbox")
    model = fb.PyTorchModel(Alone(rule, 1).eval(), bounds=(0, 1), device="cpu")
    return attack(fb.attacks).run(model, x.view(-1, *PIXELS), fb.criteria.Misclassification(y), epsilon=eps).flatten(1).detach()


@pytest.mark.parametrize("eps", [0.02, 0.1, 0.5])
def test_fgsm_is_foolboxs(rule, task, eps):
    x, y = task.x_test[:N], task.y_test[:N]
    fgsm = lambda attacks: attacks.LinfFastGradientAttack(random_start=False)
    double = make_rule("backprop", MLP(**{k: getattr(rule.net, k) for k in ("sizes", "act", "replicas", "normalise")}).double())
    double.load_state_dict({k: v.double() for k, v in rule.state_dict().items()})
    torch.testing.assert_close(FGSM(eps)(double, x.double(), y)[1], foolbox_images(fgsm, double, x.double(), y, eps), rtol=0, atol=1e-15)
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
    theirs = robust(rule, foolbox_images(lambda a: a.LinfMomentumIterativeFastGradientMethod(steps=10, rel_stepsize=0.1), rule, x, y, 0.1), y)
    assert abs(robust(rule, MIFGSM(0.1, early=False)(rule, x, y), y) - theirs) <= 0.03


def autoattack(rule, x, y, eps, queries, **settings):
    "What AutoAttack makes of `x` on the last replica."
    attack = pytest.importorskip("pyautoattack").AutoAttack(Alone(rule, 1).eval().requires_grad_(False), norm="Linf", eps=eps, seed=0, **settings)
    attack.square.n_queries, attack.square.rescale_schedule = queries, True
    return attack.run_standard_evaluation(x.view(-1, *PIXELS), y, batch_size=len(x))[0].flatten(1)


def test_square_leaves_about_what_autoattacks_leaves(rule, task):
    "Theirs sets the same square in all images of a batch, ours another in each: with few queries ours is a little better."
    x, y, eps, queries = task.x_test[:1000], task.y_test[:1000], 0.08, 500
    theirs = robust(rule, autoattack(rule, x, y, eps, queries, version="custom", attacks=["square"]), y)
    ours = robust(rule, Square(eps, queries)(rule, x, y, stream(0)), y)
    assert -0.04 <= ours - theirs <= 0.01, (ours, theirs)


def test_the_worst_case_is_as_bad_as_autoattacks(rule, task):
    "Of the images that survive our worst case, AutoAttack takes no more than one percent of all."
    x, y, eps = task.x_test[:N], task.y_test[:N], 0.1
    right = worst_case(rule, x, y, suite(eps, 200))[1]
    assert 20 < right.sum() < 200
    theirs = robust(rule, autoattack(rule, x[right], y[right], eps, 200), y[right])
    assert (1 - theirs) * right.sum() <= 0.01 * N
