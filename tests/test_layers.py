"""The seam between rules and layers: a second kind of layer, defined here and known to nobody else, must learn, be
attacked and be analysed under every rule. And nobody but layers and products may multiply by a layer's weights.
"""
import ast, sys, traceback, warnings
from pathlib import Path

import bioplaus, pytest, torch
from bioplaus.attacks import FGSM
from bioplaus.control import jacobian
from bioplaus.core import BadInput, cards
from bioplaus.data import load_task
from bioplaus.feedback import Feedback
from bioplaus.layers import Dense
from bioplaus.locality import what_it_sees
from bioplaus.network import MLP, Network, passes
from bioplaus.representations import activities
from bioplaus.rule import LOSSES, Backprop, Delta, Rule, make_rule
from bioplaus.training import evaluate, fit
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

RULES = [n for n, c in cards().items() if c.module.startswith("bioplaus.")]
HOME = Path(bioplaus.__file__).parent


class Skip(Dense):
    "A dense layer with a shortcut: v = W r₋ + b + r₋."
    def up(self, pre, W=None, b=None): return super().up(pre, W, b) + pre
    def down(self, e, seen, W=None): return super().down(e, seen, W) + seen.back(e)


def network(sizes=(64, 12, 10), replicas=2, seed=0, **settings):
    "Dense, with a shortcut, dense."
    n_in, width, classes = sizes
    layers = [Dense(width, n_in, replicas), Skip(width, width, replicas), Dense(classes, width, replicas)]
    return Network(layers, "tanh", seed=seed, **settings)


@pytest.fixture(scope="module")
def digits():
    return load_task("digits", device="cpu")


@pytest.mark.parametrize("name", RULES)
def test_a_rule_trains_a_kind_of_layer_that_it_has_never_heard_of(name, digits):
    rule = make_rule(name, network())
    before = {k: p.clone() for k, p in rule.net.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so short a run may well leave a loop unsettled, or learn nothing yet
        run = fit(rule, digits, epochs=1, progress=False, warn=False)
    learning = [p for group in rule.param_groups() for p in group["params"]]
    if rule.net.depth == 3:  # the control `linear` brings a network of its own
        mine = [k for k, p in rule.net.named_parameters() if any(p is q for q in learning)]
        now = dict(rule.net.named_parameters())
        assert not all(torch.equal(now[k], before[k]) for k in mine)
    x, y = digits.x_test[:50], digits.y_test[:50]
    clean, attacked = run.evaluate(x, y), evaluate(rule, x, y, FGSM(0.1))
    assert torch.isfinite(clean["loss"]).all() and torch.isfinite(attacked["loss"]).all()
    seen = activities(rule, x)
    assert [a.shape[-1] for n, a in seen.items() if n != "input"] == [*rule.net.sizes[1:]]


@pytest.mark.parametrize("name", ["backprop", "fa", "dfa", "dfc-ssa", "microcircuit", "node-perturbation", "hebb"])
def test_replicas_of_the_new_kind_are_their_singles(name, digits):
    x, y = digits.x_train[:20], digits.y_train[:20]
    stack, single = make_rule(name, network(seed=3)).double(), make_rule(name, network(replicas=1, seed=4)).double()
    for rule in (stack, single): rule(x.double(), y)
    for many, one in zip(stack.net.parameters(), single.net.parameters()):
        if one.grad is not None: assert_close(many.grad[1], one.grad[0])


def small(seed=0):
    return network((6, 5, 3), seed=seed).double(), torch.rand(2, 7, 6).double(), torch.randint(3, (2, 7))


def test_backprop_through_the_new_kind_is_autograd():
    net, x, y = small()
    rule = Rule(net, Backprop(), Delta())
    rule(x, y)
    loss = LOSSES["cross-entropy"].value(rule.predict(x), y).mean(-1).sum()
    for p, g in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters()))): assert_close(p.grad, g)


def test_feedback_alignment_with_the_forward_weights_is_backprop():
    net, x, y = small()
    fa, bp = Rule(net, Feedback(net).double(), Delta()), Rule(net, Backprop(), Delta())
    for l in (1, 2): getattr(fa.teacher, f"B{l + 1}").copy_(net.weights[l].detach())
    fa(x, y)
    found = [p.grad.clone() for p in net.parameters()]
    bp(x, y)
    for f, p in zip(found, net.parameters()): assert_close(f, p.grad)


def test_the_jacobian_of_feedback_control_is_autograds():
    net, x, y = small()
    rule = Rule(net, Backprop(), Delta())
    phases = rule.phases(rule.transform(x), y)
    zeros = torch.zeros(2, 7, 5).double()

    def output(push): return list(passes(rule, rule.transform(x), lambda l, v: v + push if l == 0 else v))[-1].v.sum(1)

    J = torch.autograd.functional.jacobian(output, zeros)  # (S, classes, S, N, units)
    own = torch.stack([J[s, :, s] for s in range(2)]).transpose(1, 2)
    assert_close(jacobian(rule, phases)[0], own)


def test_contrastive_hebb_with_weak_feedback_is_backprop_through_the_new_kind():
    changes = []
    for name, options in (("contrastive", {"gamma": 0.001, "sweeps": 40}), ("backprop", {})):
        net, x, y = small(seed=5)
        torch.manual_seed(0)
        x, y = torch.rand(2, 7, 6).double(), torch.randint(3, (2, 7))
        make_rule(name, net, **options)(x, y)
        changes.append([W.grad.flatten() for W in net.weights])
    for a, b in zip(*changes): assert torch.cosine_similarity(a, b, dim=0) > 0.999


def test_locality_is_measured_on_the_new_kind():
    net = network((8, 6, 3), replicas=1)
    assert what_it_sees(make_rule("fa", net)) == {"pre", "post"}
    assert what_it_sees(make_rule("backprop", net)) == {"pre", "post", "transported weights"}


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match="layer 1 gives 5 rates and layer 2 takes 4"):
        Network([Dense(5, 6), Skip(4, 4)])


class Watch(TorchFunctionMode):
    "Notes who multiplies matrices that lie in the memory of some layer's weights."
    PRODUCTS = {"matmul", "__matmul__", "__rmatmul__", "bmm", "mm", "baddbmm", "addmm", "linear", "einsum", "mv", "dot",
                "_linear_pointwise", "tensordot", "inner", "chain_matmul"}

    def __init__(self, net):
        super().__init__()
        self.places = {W.untyped_storage().data_ptr() for W in net.weights}
        self.found = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        tensors = [t for t in args if isinstance(t, torch.Tensor)]
        if getattr(func, "__name__", "") in self.PRODUCTS:
            if any(t.untyped_storage().data_ptr() in self.places for t in tensors): self.found.add(self.caller())
        return func(*args, **(kwargs or {}))

    def caller(self):
        "The innermost file of the package on the stack."
        frames = traceback.walk_stack(sys._getframe(1))  # inspect.stack() would read the lines of each file, too
        files = (Path(frame.f_code.co_filename) for frame, _ in frames)
        return next((f.stem for f in files if f.parent == HOME), "elsewhere")


@pytest.mark.parametrize("name", RULES)
def test_nobody_but_layers_and_products_multiplies_by_weights(name):
    torch.manual_seed(0)
    rule = make_rule(name, MLP((12, 6, 5, 3), act="tanh", replicas=2))
    x, y = torch.rand(2, 8, 12), torch.randint(3, (2, 8))
    with Watch(rule.net) as watch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rule(x, y)
        evaluate(rule, x[0], y[0], FGSM(0.1))
        activities(rule, x[0])
    assert watch.found and watch.found <= {"layers", "products"}


def test_products_have_their_names_from_their_own_page():
    "Who multiplies at all says so by `product`, `affine` or `project`, and only layers use the first two."
    for file in HOME.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "products"
                 for a in node.names}
        if file.stem not in ("layers", "products", "convolution"): assert not names & {"product", "affine"}, file.stem
