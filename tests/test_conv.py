"""Convolution against what it must be: dense layers on patches, autograd, backprop where feedback is the forward
weights, singles where there are stacks; rules that can't say so. Specs and shapes that can't be are refused.
"""
import copy, warnings
from pathlib import Path
from unittest.mock import patch

import bioplaus, pandas as pd, pytest, torch
from bioplaus.attacks import FGSM
from bioplaus.cli import main
from bioplaus.convnet import ConvNet
from bioplaus.convolution import Patches, Window, rows
from bioplaus.core import BadInput, cards, rules
from bioplaus.feedback import Feedback, KolenPollack, alignment
from bioplaus.hebbian import BCM, HEBB, deep_soft_hebb, krotov_hopfield, oja, oja_subspace, sanger, soft_hebb
from bioplaus.layers import Dense
from bioplaus.locality import check_locality, what_it_sees
from bioplaus.network import MLP, Network, passes
from bioplaus.representations import activities
from bioplaus.rule import LOSSES, Backprop, Delta, Rule, make_rule, sight, written_out
from bioplaus.search import chosen
from bioplaus.training import default_lr, evaluate, fit, load_run
from bioplaus.data import load_task
from torch.testing import assert_close

RULES = [n for n, c in cards().items() if c.module.startswith("bioplaus.")]
CANNOT = [n for n in RULES if "control" in n or "dfc" in n or n == "microcircuit"]
SPEC = "tanh c4k3p1 pool2 c5k3 d6"


def small(spec=SPEC, seed=0, replicas=2, shape=(2, 8, 8)): return ConvNet(shape, spec, 3, replicas=replicas, seed=seed)


def batch(seed=0, n=5, pixels=128):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(2, n, pixels, generator=g, dtype=torch.float64), torch.randint(3, (2, n), generator=g)


def started(name, net, x, **options):
    rule = make_rule(name, net, **options).double()
    if rule.start: rule.start(rule, rule.transform(x[0]))
    return rule


@pytest.mark.parametrize("spec", [SPEC, "c3k2s2 norm c4k3r1 avg2 d5", "tanh norm c4k5p2 pow1.4 pool4s2p1 c4k1 gap"])
def test_backprop_is_autograd(spec):
    rule, (x, y) = make_rule("backprop", small(spec)).double(), batch()
    free = copy.deepcopy(rule)
    rule(x, y)
    with torch.enable_grad():
        logits = free.free(free.transform(x), learn=True)[-1].v
        loss = LOSSES["cross-entropy"].value(logits, y).mean(-1).sum()
        params = list(free.net.parameters())
        for p, g in zip(rule.net.parameters(), torch.autograd.grad(loss, params)): assert_close(p.grad, g)


@pytest.mark.parametrize("teacher", [Feedback, KolenPollack])
def test_feedback_through_the_forward_weights_is_backprop(teacher):
    net, (x, y) = small().double(), batch()
    other = Rule(net, teacher(net).double(), Delta())
    for l in range(1, net.depth): getattr(other.teacher, f"B{l + 1}").data.copy_(net.weights[l].detach())
    other(x, y)
    found = [p.grad.clone() for p in net.parameters()]
    Rule(net, Backprop(), Delta())(x, y)
    for f, p in zip(found, net.parameters()): assert_close(f, p.grad)


def test_sign_feedback_of_weights_of_one_size_is_backprop():
    net, (x, y) = small().double(), batch()
    with torch.no_grad():
        for W in net.weights: W.copy_(0.1 * W.sign())
    found = []
    for name in ("usf", "backprop"):
        make_rule(name, net)(x, y)
        found.append([p.grad.clone() for p in net.parameters()])
    for f, p in zip(*found): assert_close(f, p)


PLASTICITIES = [*HEBB.values(), oja, oja_subspace, sanger, BCM(), soft_hebb, deep_soft_hebb, krotov_hopfield, Delta(),
                Delta("r")]


@pytest.mark.parametrize("plasticity", PLASTICITIES, ids=lambda p: getattr(p, "__name__", type(p).__name__))
@pytest.mark.parametrize("shared", [False, True])
def test_a_plasticity_on_patches_is_itself_on_rows_that_are_written_out(plasticity, shared):
    g = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)
    pre = Patches(draw(4, 6, 6, 3) if shared else draw(2, 4, 6, 6, 3), Window(3, 3, padding=1))
    W, v = draw(2, 5, 27) - 0.5, draw(2, 144, 5) - 0.5
    known = {"W": W, "v": v, "v_taught": v + 0.1, "current": v, "post_taught": v.tanh(), "post": v.tanh(),
             "post_hat": v.tanh() / 2, "drive": v, "sites": 36, "pre": pre, "pre_taught": pre}
    found = []
    for seen in (pre, rows(pre)):
        asked = {n: seen if n.startswith("pre") else known[n] for n in sight(plasticity)}
        found.append(written_out(copy.deepcopy(plasticity)(**asked), W))
    assert_close(*found)


def test_krotov_hopfield_of_another_norm_sees_patches():
    g = torch.Generator().manual_seed(3)
    pre = Patches(torch.rand(2, 4, 6, 6, 3, generator=g, dtype=torch.float64), Window(3, 3))
    W, v = torch.rand(2, 5, 27, generator=g).double(), torch.rand(2, 64, 5, generator=g).double()
    found = [krotov_hopfield(v, v, v, seen, W, p=3.0) for seen in (pre, rows(pre))]
    assert_close(*found)


def test_a_window_as_large_as_the_image_is_a_dense_layer():
    x, y = batch()
    conv, mlp = small("tanh c6k8"), MLP((128, 6, 3), act="tanh", replicas=2)
    mlp.load_state_dict({k: v for k, v in conv.state_dict().items()})
    for name in ("backprop", "fa", "dfa", "hebb", "contrastive", "kolen-pollack"):
        rules = [make_rule(name, net).double() for net in (conv, mlp)]
        for rule in rules: rule(x, y)
        for a, b in zip(conv.parameters(), mlp.parameters()): assert_close(a.grad, b.grad)


def test_a_window_of_one_pixel_is_a_dense_layer_at_each_pixel():
    net, (x, _) = small("tanh c6k1").double(), batch()
    hidden = next(iter(passes(net, x)))
    W, b = net.weights[0], net.biases[0]
    pixels = x.view(2, 5, 2, 64).mT.reshape(2, 5 * 64, 2)
    assert_close(hidden.v, pixels @ W.mT + b[:, None])


@pytest.mark.parametrize("name", [n for n in RULES if n not in CANNOT])
def test_replicas_are_their_singles(name):
    x, y = batch(n=6)
    nets = small(seed=3), small(seed=4, replicas=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stack, single = started(name, nets[0], x), started(name, nets[1], x)
        stack(torch.stack([x[1], x[1]]), torch.stack([y[1], y[1]]))
        single(x[1:], y[1:])
    for many, one in zip(stack.net.parameters(), single.net.parameters()):
        if one.grad is not None: assert_close(many.grad[1], one.grad[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_learns_on_filters_or_says_why_it_cannot(name):
    x, y = batch(n=8)
    if name in CANNOT:
        with pytest.raises(BadInput, match="networks with filters: .*(Take|mlp)"): make_rule(name, small())
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rule = started(name, small(), x)
        before = [p.clone() for p in rule.net.parameters()]
        learning = [p for group in rule.param_groups() for p in group["params"]]
        rule(x, y)
        torch.optim.SGD(learning, lr=1e-3).step()
        moved = [not torch.equal(p, b) for p, b in zip(rule.net.parameters(), before)]
        clean, attacked = evaluate(rule, x[0], y[0]), evaluate(rule, x[0], y[0], FGSM(0.1))
        seen = activities(rule, x[0])
    assert any(moved) and torch.isfinite(clean["loss"]).all() and torch.isfinite(attacked["loss"]).all()
    assert [a.shape[-1] for n, a in seen.items() if n != "input"] == [*rule.net.sizes[1:]]


def test_contrastive_hebb_with_weak_feedback_is_backprop():
    changes = []
    for name, options in (("contrastive", {"gamma": 0.001, "sweeps": 40}), ("backprop", {})):
        (x, y), net = batch(), small("tanh c4k3p1 pool2 d6", seed=5).double()
        make_rule(name, net, **options)(x, y)
        changes.append([W.grad.flatten() for W in net.weights])
    for a, b in zip(*changes): assert torch.cosine_similarity(a, b, dim=0) > 0.999


def test_node_perturbation_is_the_gradient_on_average():
    "With opposite noise pairs the estimate has no bias but its noise; many draws of one image come near."
    net, (x, y) = small("tanh c2k5 pool2", seed=2, shape=(2, 8, 8), replicas=1).double(), batch(n=1)
    true = Rule(net, Backprop(), Delta())
    true(x[:1], y[:1])
    wanted = net.weights[0].grad.clone()
    guess = make_rule("node-perturbation", net, sigma=1e-3, antithetic=True).double()
    many = x[:1].expand(1, 4000, -1), y[:1].expand(1, 4000)
    guess(*many)
    assert torch.cosine_similarity(net.weights[0].grad.flatten(), wanted.flatten(), dim=0) > 0.8


def test_the_lengths_of_softhebbs_filters_go_to_one():
    net = ConvNet((1, 12, 12), "norm c8k5r2 pool2", 3)
    rule = make_rule("softhebb", net)
    g = torch.Generator().manual_seed(0)
    x = torch.rand(200, 144, generator=g)
    rule.start(rule, x)
    assert (net.weights[0].norm(dim=-1) > 15).all()
    optimizer = torch.optim.SGD(rule.param_groups([0.08, 0.01]), lr=0.08)
    for _ in range(700):
        some = torch.randint(200, (10,), generator=g)
        rule(x[some], torch.zeros(10, dtype=torch.long))
        optimizer.step()
    assert (net.weights[0].norm(dim=-1) - 1).abs().max() < 0.1


def test_only_the_winner_of_a_place_learns_with_a_positive_sign():
    v = torch.tensor([[[1.0, 3.0, 2.0]]]).double()
    change = deep_soft_hebb(v, torch.zeros_like(v), torch.ones(1, 1, 4).double(), torch.ones(1, 3, 4).double())
    assert change[0, 1].gt(0).all() and change[0, [0, 2]].lt(0).all()


def test_statistics_move_in_weight_steps_alone_and_belong_to_each_replica():
    rule, (x, y) = make_rule("backprop", small("norm c4k3 pool2")).double(), batch()
    state = lambda: {k: v.clone() for k, v in rule.state_dict().items()}
    before = state()
    rule.predict(x)
    activities(rule, x[0])
    evaluate(rule, x[0], y[0], FGSM(0.1))
    assert all(torch.equal(v, before[k]) for k, v in state().items())
    rule(x, y)
    mean = rule.net.layers[0].between.steps[0].mean
    assert_close(mean, 0.1 * x.view(2, 5, 2, 64).mean((1, 3)))


def test_locality_is_measured_on_filters():
    net = lambda: ConvNet((3, 6, 6), "tanh c6k5 d5", 3)
    assert what_it_sees(make_rule("fa", net()).double()) == {"pre", "post", "copies"}
    assert what_it_sees(make_rule("backprop", net())) == {"pre", "post", "transported weights", "copies"}
    assert what_it_sees(make_rule("frozen-filters", net())) == {"pre", "post"}
    for name in ("hebb", "dfa", "kolen-pollack", "node-perturbation", "weight-perturbation", "bcm", "oja"):
        check_locality(make_rule(name, net()))
    with pytest.raises(BadInput, match="fewer rows"): what_it_sees(make_rule("fa", small("c4k2")))


def test_angles_of_feedback():
    net = small().double()
    for name in ("fa", "kolen-pollack", "usf", "dfa"):
        angles = alignment(make_rule(name, net).double())
        assert all(0 <= a.min() and a.max() <= 180 for a in angles.values()) and len(angles) == net.depth - 1


def test_a_run_is_stored_and_goes_on(tmp_path):
    task = load_task("digits", device="cpu")
    make = lambda: make_rule("kolen-pollack", ConvNet((8, 8), "norm c8k3 pool2 d32", 10, replicas=2))
    fit(make(), task, epochs=2, out=tmp_path, progress=False, warn=False)
    run = fit(make(), task, epochs=4, out=tmp_path, progress=False, warn=False)
    whole = fit(make(), task, epochs=4, progress=False, warn=False)
    assert run.final.valid_accuracy.tolist() == whole.final.valid_accuracy.tolist()
    again = load_run(tmp_path)
    assert torch.equal(again.rule.predict(task.x_test), run.rule.predict(task.x_test))
    assert isinstance(again.rule.net, ConvNet) and again.final.valid_accuracy.mean() > 0.6


def test_learning_rates_of_filters_are_their_own():
    assert default_lr(make_rule("backprop", small())) == cards()["backprop"].lr_conv


def test_searched_rates_of_filters_are_on_the_cards_and_shown(capsys):
    record = pd.read_csv(Path(bioplaus.__file__).parent / "data_files" / "rates.csv")
    record = record[record.setting == "lr_conv"]
    searched = set(record.rule[record.stage == "check"])
    assert "backprop" in searched
    for rule in searched:
        rates = chosen(record[(record.rule == rule) & (record.stage != "check")])
        assert cards()[rule].lr_conv == (rates if len(rates) > 1 else rates[0])
    assert rules().lr_conv["backprop"] == cards()["backprop"].lr_conv
    with patch("sys.argv", ["bioplaus", "rules"]): main()
    assert f"filters {cards()['backprop'].lr_conv}" in capsys.readouterr().out


@pytest.mark.parametrize("shape, spec, words", [
    ((8, 8), "c6k5p2 pool2 c16k5 d120", ["part 3", "5 × 5", "6 × 4 × 4", "below one pixel"]),
    ((3, 5, 5), "c6k9p1", ["part 1", "9 × 9", "margin of 1"]),
    ((8, 8), "c6k3 d10 c6k3", ["after a dense layer"]),
    ((8, 8), "conv6k3", ["'conv6k3'", "c32k5p2"]),
    ((8, 8), "", ["is no network"]),
    ((64,), "c6k3", ["rows and columns"]),
    ((0, 8, 8), "c6k3", ["each side"]),
])
def test_what_cannot_be_built_is_refused(shape, spec, words):
    with pytest.raises(BadInput) as e: ConvNet(shape, spec, 3)
    assert all(w in str(e.value) for w in words), e.value


def test_channels_that_do_not_match_are_refused():
    first, other = small().layers[0], ConvNet((5, 8, 8), "c4k3", 3, replicas=2).layers[0]
    with pytest.raises(BadInput, match="layer 1 gives 256 rates and layer 2 takes 320"): Network([first, other])


def test_patches_are_not_written_out(monkeypatch):
    "No rule of these needs them; measures of locality do."
    monkeypatch.setattr(torch.nn.functional, "unfold", lambda *_, **__: pytest.fail("patches were written out"))
    x, y = batch()
    for name in set(RULES) - set(CANNOT):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            started(name, small(), x)(x, y)


def test_the_layers_flat_and_rows_are_views_of_each_other():
    layer = small().layers[0]
    v = torch.arange(2 * 3 * 64 * 4.0).view(2, 192, 4)
    assert layer.flat(v).shape == (2, 3, 256) and torch.equal(layer.rows(layer.flat(v)), v)
    m = torch.rand(2, 3)
    assert torch.equal(layer.each(m).view(2, 3, 64), m[..., None].expand(2, 3, 64))
    assert isinstance(small().layers[-1], Dense) and torch.equal(small().layers[-1].each(m), m)
