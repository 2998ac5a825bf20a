"""Wrapped PyTorch modules against what they answer themselves, foolbox, and what a rule says of itself."""
import importlib

import pytest, torch
from torch import nn

from bioplaus import (attacks, bench, feedback, geometry, locality, loops, mediators, monitors, noise, play, report,
                      representations, robustness, search, sensitivity, shown, study, trackers, training, updates,
                      widgets)
from bioplaus.attacks import FGSM, PGD, Square
from bioplaus.core import BadInput, stream
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.rule import Backprop, Delta, Rule, make_rule
from bioplaus.training import evaluate, fit
from bioplaus.wrap import to_onnx, to_torch, wrap

N = 40


@pytest.fixture(scope="module")
def task(): return load_task("digits", device="cpu")


@pytest.fixture(scope="module", params=["flat", "planes"])
def module(request):
    torch.manual_seed(0)
    planes = nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout2d(), nn.Flatten(), nn.Linear(180, 10)
    flat = nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Dropout(), nn.Linear(30, 10)
    net = nn.Sequential(*(flat if request.param == "flat" else planes)).double().train()
    net(torch.rand(50, 1, 8, 8).double())  # running statistics of its own
    for p in net.parameters(): p.data.mul_(3)
    return net


@pytest.mark.parametrize("ours, theirs, more", [
    (FGSM(0.05), "FGSM", {}),
    (PGD(0.05, steps=6, random_start=False, falling=False, rate=1.5, early=False), "LinfPGD",
     {"steps": 6, "rel_stepsize": 0.25, "random_start": False})])
def test_attacks_are_foolboxs_on_the_module_itself(module, task, ours, theirs, more):
    fb = pytest.importorskip("foolbox")
    x, y = task.x_test[:N].double(), task.y_test[:N]
    own = ours(wrap(module, shape=(8, 8)), x, y, stream(0, "attack"))[0]
    model = fb.PyTorchModel(module.eval(), bounds=(0, 1), device="cpu")
    attack = getattr(fb.attacks, theirs)(**more)
    images = attack.run(model, x.view(-1, 1, 8, 8), fb.criteria.Misclassification(y), epsilon=0.05).flatten(1).detach()
    module.train()
    assert (own - images).abs().max() < 1e-6 and (own - x).abs().max() > 0.04


def test_a_module_in_training_is_asked_as_it_is_used_and_goes_on_training(module, task):
    x = task.x_test[:N].double()
    who, before = wrap(module, 0.3, 0.4, (8, 8)), [m.training for m in module.modules()]
    answers = [who.predict(x) for _ in range(2)]
    checks = attacks.masking_checks(who, x, task.y_test[:N], queries=5)
    assert torch.equal(*answers) and not checks[checks.check.str.startswith("answers")].found.any()
    assert [m.training for m in module.modules()] == before and all(p.requires_grad for p in module.parameters())
    own = module.eval()((x.view(-1, 1, 8, 8) - 0.3) / 0.4)
    module.train()
    torch.testing.assert_close(answers[0][0], own)


def test_modules_side_by_side_are_each_module_alone(task):
    nets = [nn.Sequential(nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10)).double() for _ in range(3)]
    x, y = task.x_test[:N].double(), task.y_test[:N]
    for p in ("fgsm:0.1", "pgd:0.05", "hidden-noise:1", "weight-noise:0.5", "rotation:20"):
        p = shown.perturbation(p, (8, 8))
        together = evaluate(wrap(nets, seeds=[4, 7, 2]), x, y, p)
        alone = [evaluate(wrap(net, seeds=[seed]), x, y, p) for net, seed in zip(nets, (4, 7, 2))]
        for k, v in together.items(): torch.testing.assert_close(v, torch.cat([a[k] for a in alone]))


def test_the_suite_says_of_a_network_what_it_says_of_the_rule(task):
    rule = fit(make_rule("fa", MLP((64, 20, 15, 10), replicas=2)), task, epochs=3, progress=False).rule.double()
    both = {"rule": rule, "module": wrap([to_torch(rule, s) for s in range(2)])}
    noise = "gaussian,weight-noise,hidden-noise"
    table = robustness.robustness_suite(both, task, noise, "fgsm,square", (3,), (0.05,), N, progress=False)
    a, b = (table[table.rule == name].drop(columns="rule").reset_index(drop=True) for name in both)
    assert a.equals(b)
    x, y = task.x_test[:N].double(), task.y_test[:N]
    found = [mediators.mediators(r, x, y) for r in both.values()]
    for k in found[0]: torch.testing.assert_close(found[0][k], found[1][k], rtol=1e-5, atol=1e-9)


def test_a_bare_module_is_told_of_wrap_wherever_it_is_given(module, task):
    x, y = task.x_test[:N], task.y_test[:N]
    rule = make_rule("backprop", MLP((64, 10)))
    calls = [lambda: FGSM(0.1)(module, x, y), lambda: Square(0.1)(module, x, y), lambda: evaluate(module, x, y),
             lambda: evaluate(module, x, y, "gaussian:0.1"), lambda: attacks.worst_case(module, x, y),
             lambda: attacks.masking_checks(module, x, y), lambda: attacks.blind_share(module, x, y),
             lambda: attacks.transfer(rule, module, x, y), lambda: sensitivity.input_gradient(module, x[None], y),
             lambda: robustness.robustness_suite(module, task, progress=False),
             lambda: robustness.robustness_suite({"mine": module, "ours": rule}, task, progress=False),
             lambda: robustness.attack_checks(module, task, [FGSM(0.1)]), lambda: representations.activities(module, x),
             lambda: mediators.mediators(module, x, y), lambda: mediators.smallest_fooling(module, x, y),
             lambda: mediators.linear_margin(module, x, y), lambda: shown.shown(module, x, y, None),
             lambda: representations.layer_names(module), lambda: noise.NoisyNetwork(module, 0.1),
             lambda: loops.Filtered(module, lambda x: x), lambda: widgets.explore_robustness({"mine": module}, task)]
    for call in calls:
        with pytest.raises(BadInput, match=r"bioplaus\.wrap\.wrap\("): call()


def test_what_is_about_teaching_says_so_of_what_nobody_teaches(module, task):
    "A bare module is told of wrap as well; a wrapped one of what can be done with it."
    x, y = task.x_test[:N], task.y_test[:N]
    calls = [lambda m: fit(m, task), lambda m: training.default_lr(m), lambda m: training.save_model(m, "nowhere"),
             lambda m: updates.update_quality(m, [(x, y)] * 2), lambda m: updates.gradients(m, x, y),
             lambda m: updates.feedback_angles(m, x), lambda m: updates.control_angles(m, x),
             lambda m: updates.learning_layers(m), lambda m: locality.check_locality(m),
             lambda m: locality.what_it_sees(m), lambda m: feedback.alignment(m), lambda m: loops.unroll(m, x),
             lambda m: loops.Decoders(m, x), lambda m: loops.Disturbance(m, 0.1), lambda m: monitors.diagnose(m, task),
             lambda m: attacks.make_adversarial(m, x, y), lambda m: play.export(m, "mine"),
             lambda m: play.gain(m, x, y), lambda m: bench.memory(m, task, 8), lambda m: monitors.asked_for(m, x, y),
             lambda m: report.updates(task, {"mine": m}), lambda m: report.first_weights(task, {"mine": m}),
             lambda m: monitors.Collapse(x)(m), lambda m: geometry.Geometry(x, y)(m),
             lambda m: trackers.settings_of(m)]
    for call in calls:
        with pytest.raises(BadInput, match=r"teaches.*bioplaus\.wrap\.wrap\("): call(module)
        with pytest.raises(BadInput, match=r"teaches.*robustness_suite"): call(wrap(module, shape=(8, 8)))
    for make in (lambda: make_rule("backprop", module), lambda: Rule(module, Backprop(), Delta())):
        with pytest.raises(BadInput, match=r"bioplaus\.wrap\.wrap\("): make()
    with pytest.raises(BadInput, match="a rule is given by its name"): search.search_lr(module, task, [0.1])
    with pytest.raises(BadInput, match="wrap\\(module\\)"): study.compare(["backprop", module], task)
    rule = make_rule("fa", MLP((64, 12, 10)))
    run = fit(rule, task, epochs=1, progress=False)
    assert feedback.alignment(run).keys() == feedback.alignment(rule).keys()


def test_a_run_is_asked_as_its_rule_is(task):
    run = fit(make_rule("backprop", MLP((64, 12, 10), replicas=2)), task, epochs=1, progress=False)
    x, y = task.x_test[:N], task.y_test[:N]
    assert torch.equal(FGSM(0.1)(run, x, y), FGSM(0.1)(run.rule, x, y))
    assert torch.equal(evaluate(run, x, y)["loss"], evaluate(run.rule, x, y)["loss"])
    for a, b in zip(*(representations.activities(r, x).values() for r in (run, run.rule))): assert torch.equal(a, b)
    assert attacks.masking_checks(run, x, y, queries=5).equals(attacks.masking_checks(run.rule, x, y, queries=5))


class Answer(nn.Module):
    "A linear network that answers in some way."
    def __init__(self, way):
        super().__init__()
        self.net, self.way = nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10)), way

    def forward(self, x): return self.way(self.net(x))


def test_log_probabilities_are_logits(task):
    "They differ by a number for each image, which no loss, margin or attack sees."
    torch.manual_seed(1)
    one = Answer(lambda v: v)
    both = [wrap(one.double()), wrap(nn.Sequential(one, nn.LogSoftmax(-1)), shape=64, layers={"net.1": "0.net.1"})]
    x, y = task.x_test[:N].double(), task.y_test[:N]
    for p in (None, "pgd:0.05", "apgd-dlr:0.05", "hidden-noise:1"):
        a, b = (evaluate(who, x, y, p) for who in both)
        assert torch.equal(a["accuracy"], b["accuracy"])
        torch.testing.assert_close(a["loss"], b["loss"])
    torch.testing.assert_close(*(mediators.linear_margin(who, x, y) for who in both))


@pytest.mark.parametrize("way, says", [
    (lambda v: (v, v), "tuple"), (lambda v: {"logits": v}, "dict"), (lambda v: v.argmax(-1), r"shape \(4,\)"),
    (lambda v: v.softmax(-1), "leave out the softmax"), (lambda v: v[:, None], r"shape \(4, 1, 10\)"),
    (lambda v: v * torch.nan, "not finite"), (lambda v: nn.functional.dropout(v), "depends on the others")])
def test_an_answer_that_is_no_logits_is_refused(way, says):
    with pytest.raises(BadInput, match=says): wrap(Answer(way))


def test_a_gradient_that_ends_on_the_way_is_said(task):
    class Rounded(nn.Linear):
        def forward(self, x): return super().forward(x.round())  # zero, and there
    class Cut(nn.Linear):
        def forward(self, x): return super().forward(x.detach())
    x, y = task.x_test[:N], task.y_test[:N]
    assert attacks.blind_share(wrap(Rounded(64, 10)), x, y) == 1
    with pytest.raises(BadInput, match="no gradient"): FGSM(0.1)(wrap(Cut(64, 10)), x, y)
    assert Square(0.1, queries=5)(wrap(Cut(64, 10)), x, y).shape == (1, *x.shape)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_is_given_to_wrap(task):
    flat, x = nn.Linear(64, 10), task.x_test[:N]
    spread = wrap(nn.DataParallel(nn.Sequential(flat)), shape=64)
    assert torch.equal(spread.predict(x), wrap(flat).predict(x))
    assert spread.noisy(weights=0.1).predict(x).shape == (1, N, 10)
    three = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 10))
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    pixels = torch.rand(5, 3, 8, 8)
    own = three((pixels - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(wrap(three, mean, std, (3, 8, 8)).predict(pixels.flatten(1))[0], own)
    assert wrap(nn.Sequential(nn.Linear(64, 5), nn.Linear(5, 10)), layers="0").layer_names == ["input", "0", "output"]
    for given, says in (([], "no module"), (torch.jit.script(flat), "scripted"), (flat.state_dict(), "OrderedDict")):
        with pytest.raises(BadInput, match=says): wrap(given)
    with pytest.raises(BadInput, match="seed must be"): wrap(flat, seeds=["a"])
    with pytest.raises(BadInput, match="3 channels or 192 pixels"): wrap(three, (0.1, 0.2), shape=(3, 8, 8))


@pytest.mark.parametrize("act", ["sigmoid", "tanh", "relu", "leaky-relu", "elu", "softplus"])
def test_plain_modules_answer_as_every_activation_does(act, task):
    rule = make_rule("backprop", MLP((64, 9, 8, 10), act=act, replicas=2, normalise=(0.3, 0.4), seed=[5, 6]))
    for s in range(2):
        assert (to_torch(rule, s)(task.x_test[:N]) - rule.predict(task.x_test[:N])[s]).abs().max() < 1e-6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_module_on_a_gpu_is_asked_there(module, task):
    who = wrap(module, shape=(8, 8)).to("cuda")
    x, y = task.x_test[:N].cuda().double(), task.y_test[:N].cuda()
    there = PGD(0.05)(who, x, y, stream(0, "attack")).cpu()
    with pytest.raises(BadInput, match="cpu"): who.predict(x.cpu())
    here = PGD(0.05)(who.to("cpu"), x.cpu(), y.cpu(), stream(0, "attack"))
    assert (there - here).abs().max() < 1e-6


@pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning")  # of PyTorch about itself
@pytest.mark.parametrize("kind, act", [("backprop", "relu"), ("backprop", "tanh"), ("softhebb", "sigmoid")])
def test_an_onnx_file_answers_as_the_rule_does(kind, act, task, tmp_path):
    "By onnxruntime and by ONNX's own reference, of one image and of many."
    pytest.importorskip("onnxscript", reason="pip install 'bioplaus[onnx]'")
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    rule = make_rule(kind, MLP((64, 12, 10), act=act, replicas=2))
    rule, file = fit(rule, task, epochs=1, progress=False, warn=False).rule, str(tmp_path / "network.onnx")
    to_onnx(rule, file, 1)
    onnx.checker.check_model(file, full_check=True)
    networks = [runtime.InferenceSession(file), importlib.import_module("onnx.reference").ReferenceEvaluator(file)]
    for n in (1, 2, N):
        own = rule.predict(task.x_test[:n])[1]
        for network in networks:
            logits, = network.run(None, {"pixels": task.x_test[:n].numpy()})
            assert (torch.from_numpy(logits) - own).abs().max() < 1e-4



def test_without_onnx_one_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"bioplaus\[onnx\]"):
        to_onnx(make_rule("backprop", MLP((64, 10))), tmp_path / "network.onnx")
