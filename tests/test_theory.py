"""Rules against theory, on networks so small that it takes seconds: autograd, limits in which a rule must be backprop,
expectations over noise, and replicas that know nothing of each other."""
import pytest, torch
from bioplaus.control import Control, Controller
from bioplaus.core import cards
from bioplaus.data import from_tensors
from bioplaus.microcircuit import Microcircuit
from bioplaus.network import ACTIVATIONS, MLP
from bioplaus.rule import LOSSES, Delta, Rule, make_rule
from bioplaus.training import fit
from torch.testing import assert_close

SIZES = (5, 4, 4, 3)  # a square layer among them, where a transposed weight fits as well
SMOOTH = [name for name, act in ACTIVATIONS.items() if act.df and name not in ("relu", "hard-sigmoid")]


def network(sizes=SIZES, act="tanh"): return MLP(sizes, act=act, replicas=2, seed=3).double()


def samples(n=6, sizes=SIZES, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, sizes[0], generator=g, dtype=torch.float64), torch.arange(n) % sizes[-1]


def learning(rule):
    "Weights, then biases."
    return [*rule.net.weights, *rule.net.biases]


def changes(rule, x, y):
    "What the rule asks of each weight and bias."
    rule(x, y)
    return [-p.grad.clone() for p in learning(rule)]


def descent(rule, x, y, loss="cross-entropy"):
    "Minus the gradient of each replica's mean loss, by autograd."
    total = LOSSES[loss].value(rule.predict(x), y).mean(-1).sum()
    return [-g for g in torch.autograd.grad(total, learning(rule))]


def cosines(a, b): return [torch.cosine_similarity(u.flatten(1), v.flatten(1)) for u, v in zip(a, b)]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("act", [*SMOOTH, "relu"])
def test_backprop_is_autograd(act, loss):
    rule, batch = make_rule("backprop", network(act=act), loss=loss).double(), samples()
    assert_close(changes(rule, *batch), descent(rule, *batch, loss))


@pytest.mark.parametrize("name", [n for n, c in cards().items() if c.module.startswith("bioplaus.")])
def test_replicas_learn_as_if_alone(name):
    "The same seed gives the same changes in a stack of three and alone, for two steps."
    def stepped(seeds):
        torch.manual_seed(0)
        rule = make_rule(name, MLP((5, 4, 3), replicas=len(seeds), seed=seeds)).double()
        if rule.start: rule.start(rule, rule.transform(samples()[0]))
        found = []
        for seed in (1, 2):
            rule(*samples(seed=seed))
            found.append([p.grad.clone() for p in learning(rule) if p.grad is not None])
            with torch.no_grad():
                for p in learning(rule):
                    if p.grad is not None: p.sub_(0.1 * p.grad)
        return found
    stack, alone = stepped([7, 8, 9]), stepped([8])
    for many, one in zip(stack, alone):
        assert_close([m[1:2] for m in many], one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name,sizes", [("fa", SIZES), ("kolen-pollack", SIZES), ("dfa", (5, 4, 3))])
def test_feedback_through_the_forward_weights_is_backprop(name, sizes):
    "With B = W; the direct way has no layer in between, so it is tried with a single hidden one."
    rule, batch = make_rule(name, network(sizes), **({"decay": 0.0} if name == "kolen-pollack" else {})), samples()
    with torch.no_grad():
        for B, W in zip(rule.teacher.feedback(rule), list(rule.net.weights)[1:]): B.copy_(W)
    assert_close(changes(rule, *batch), descent(rule, *batch))


@pytest.mark.parametrize("name", ["usf", "brsf", "frsf"])
def test_sign_feedback_has_the_signs_of_the_forward_weights(name):
    rule = make_rule(name, network())
    for B, W in zip(rule.teacher.feedback(rule), list(rule.net.weights)[1:]):
        assert (B.sign() == W.sign()).all() and B.shape == W.shape


def test_kolen_pollack_weights_meet():
    "W and B change alike and decay, so that their difference only decays."
    rule, batch = make_rule("kolen-pollack", network(), decay=0.1), samples()
    optimizer = torch.optim.SGD(rule.param_groups(1.0), lr=1.0)
    apart = lambda: [B.detach() - W.detach() for B, W in zip(rule.teacher.feedback(rule), list(rule.net.weights)[1:])]
    before = apart()
    rule(*batch)
    optimizer.step()
    assert_close(apart(), [0.9 * d for d in before])


def test_the_weight_mirror_turns_towards_the_forward_weights():
    rule, batch = make_rule("weight-mirror", network()), samples(200)
    def apart(): return cosines(rule.teacher.feedback(rule), list(rule.net.weights)[1:])
    before = apart()
    for _ in range(200): rule(*batch)
    assert all((b > 0.99).all() and (b > a).all() for a, b in zip(before, apart()))


def controlled(how, nudge=1e-5, leak=0.3, feedback="jacobian", **more):
    net = network()
    teacher = Control(net, feedback, how, nudge=nudge, controller=Controller(leak, tau=5.0), **more)
    return Rule(net, teacher.double(), Delta("v"))


def test_soft_control_along_the_jacobian_is_backprop():
    "With a leak so large that the push hardly changes the output, u is the error, and Jᵀu is backprop's."
    rule, batch = controlled("closed", nudge=0.1, leak=1e4), samples()
    assert all((c > 1 - 1e-7).all() for c in cosines(changes(rule, *batch), descent(rule, *batch)))


def test_the_closed_form_is_where_the_loop_settles():
    "(JQ + α̃I) u = δ, for a small nudge."
    closed, settled = controlled("closed"), controlled("settled", steps=400, tolerance=1e-4)
    a, b = changes(closed, *samples()), changes(settled, *samples())
    assert_close(a, b, rtol=1e-3, atol=1e-3 * max(t.abs().max().item() for t in a))


def test_a_settled_controller_leaves_its_share_of_the_error():
    "e = α̃ u with α̃ = α / (1 + α k_p): the recursion of the integral, run to its end on a plant that doubles its push."
    c = Controller(leak=0.3, gain=0.7, tau=5.0)
    target, u_int, u = torch.tensor(1.0), torch.tensor(0.0), torch.tensor(0.0)
    for _ in range(500):
        e = target - 2 * u
        u_int = c.step(u_int, e)
        u = (u_int + c.gain * target) / (1 + 2 * c.gain)  # u = u_int + k_p e, with e = target − 2u
    assert_close(target - 2 * u, c.softness * u)


def circuit(nudge, **more):
    net = network((5, 4, 3))
    return Rule(net, Microcircuit(net, "transposed", nudge, plastic="IP+PI+down", **more).double(), Delta("r"))


def test_a_microcircuit_that_is_not_nudged_is_silent():
    "Interneurons that predict the layer above cancel what comes down from it."
    rule, batch = circuit(0.0), samples()
    assert all(c.abs().max() < 1e-12 for c in changes(rule, *batch))


def test_a_weakly_nudged_microcircuit_follows_the_gradient():
    "One hidden layer and transposed feedback: the smaller the nudge, the nearer to backprop's direction."
    rule, batch = circuit(1e-4), samples()
    assert all((c > 1 - 1e-6).all() for c in cosines(changes(rule, *batch), descent(rule, *batch)))


def test_inhibition_learns_to_silence_the_apical_dendrite():
    "Without a nudge, from random interneurons, W_IP and W_PI learn until nothing is left on the dendrite."
    net = network((5, 4, 3))
    teacher = Microcircuit(net, nudge=0.0, plastic="IP+PI", start="random").double()
    rule = Rule(net, teacher, [None, Delta("r")])
    x, y = samples(40)
    def left():
        rule(x, y)
        return teacher.seen[0].v_apical.square().mean()
    first = left()
    for _ in range(500):
        for p in teacher.params(1): p.data.sub_(0.3 * p.grad)
        left()
    assert left() < 0.05 * first


def repeated(n=40_000):
    "One image, n times: each copy meets noise of its own."
    x, y = samples(1)
    return x.expand(n, -1), y.expand(n)


@pytest.mark.parametrize("options", [{}, {"antithetic": True}, {"on": "r"}], ids=str)
def test_node_perturbation_is_the_gradient_on_average(options):
    rule, batch = make_rule("node-perturbation", network(), sigma=1e-3, **options), repeated()
    for found, true in zip(changes(rule, *batch), descent(rule, *batch)):
        assert (found - true).norm() < 0.1 * true.norm() + 1e-9


def test_node_perturbation_is_as_noisy_as_theory_says():
    "Variance of (L_ξ − L₀) ξ / σ²: |g|² + gᵢ², with g the error at every unit; each image's own loss is its L₀."
    rule, n = make_rule("node-perturbation", network(), sigma=1e-3), 20_000
    x, y = samples(3)
    each = [torch.cat(descent(rule, x[[i]], y[[i]])[rule.net.depth:], -1) for i in range(3)]  # of units, as of biases
    errors = torch.stack(each, 1)
    phases = rule.phases(rule.transform(x.repeat(n, 1)), y.repeat(n))
    learnt = torch.cat([p.modulator.unsqueeze(-1) * p.drive for p in phases], -1).unflatten(1, (n, 3))
    assert_close(learnt.var(1), errors.square().sum(-1, keepdim=True) + errors.square(), rtol=0.15, atol=0.0)


@pytest.mark.parametrize("antithetic", [False, True])
def test_weight_perturbation_is_the_slope_along_its_noise(antithetic):
    "−(g·Ψ) Ψ / σ² for a small Ψ, the same whether the other side is 0 or −Ψ."
    rule, batch = make_rule("weight-perturbation", network(), sigma=1e-5, antithetic=antithetic), samples()
    noise = rule.teacher.noise(learning(rule))
    slope = sum((g * n).flatten(1).sum(1) for g, n in zip(descent(rule, *batch), noise))
    expected = [slope.view(-1, *[1] * (n.dim() - 1)) * n / 1e-10 for n in noise]
    assert_close(changes(rule, *batch), expected, rtol=1e-3, atol=1e-4)


def test_reward_teaches_nothing_where_it_is_as_usual():
    "A network that is always right, and expects to be, has no surprise to learn from."
    rule = make_rule("reward-hebb", network())
    x, y = samples()
    with torch.no_grad():
        rule.net.weights[-1].zero_()
        rule.net.biases[-1].copy_(torch.tensor([9.0, 0.0, 0.0]).double().expand(2, 3))
        rule.teacher.usual.fill_(1.0)
    assert all((c == 0).all() for c in changes(rule, x, torch.zeros_like(y)))


def test_each_layer_and_replica_takes_its_own_step():
    "Rates (replicas, layers) on a falling schedule, one batch an epoch: W + lr · (1 − t/4) · descent, by hand."
    x, y = samples(60)
    task = from_tensors(x, y, x, y, device="cpu")
    rule, lr, seen = make_rule("backprop", network()), torch.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]]), []
    def watch(run):
        way = descent(run.rule, task.x_train.double(), task.y_train)
        seen.append(([p.detach().clone() for p in learning(run.rule)], way))
    fit(rule, task, 4, lr, len(task.y_train), schedule="linear", callbacks=[watch], progress=False, warn=False)
    for t, ((before, way), (after, _)) in enumerate(zip(seen, seen[1:])):
        rates = [lr[:, i % 3].view(-1, *[1] * (p.dim() - 1)) for i, p in enumerate(before)]
        assert_close(after, [p + (1 - t / 4) * r * g for p, r, g in zip(before, rates, way)], rtol=1e-5, atol=1e-8)
    assert len(seen) == 5
