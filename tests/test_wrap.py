"""Wrapped PyTorch modules against what they answer themselves, foolbox, and what a rule says of itself."""
import pytest, torch
from torch import nn

from bioplaus import attacks, mediators, representations, robustness, sensitivity, shown
from bioplaus.attacks import FGSM, PGD, Square
from bioplaus.core import BadInput, stream
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.rule import make_rule
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
             lambda: mediators.linear_margin(module, x, y)]
    for call in calls:
        with pytest.raises(BadInput, match=r"bioplaus\.wrap\.wrap\("): call()


def test_a_run_is_asked_as_its_rule_is(task):
    run = fit(make_rule("backprop", MLP((64, 12, 10), replicas=2)), task, epochs=1, progress=False)
    x, y = task.x_test[:N], task.y_test[:N]
    assert torch.equal(FGSM(0.1)(run, x, y), FGSM(0.1)(run.rule, x, y))
    assert torch.equal(evaluate(run, x, y)["loss"], evaluate(run.rule, x, y)["loss"])
    for a, b in zip(*(representations.activities(r, x).values() for r in (run, run.rule))): assert torch.equal(a, b)
    assert attacks.masking_checks(run, x, y, queries=5).equals(attacks.masking_checks(run.rule, x, y, queries=5))


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


@pytest.mark.parametrize("kind", ["backprop", "softhebb"])
def test_an_onnx_file_answers_as_the_rule_does(kind, task, tmp_path):
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    rule = fit(make_rule(kind, MLP((64, 12, 10), replicas=2)), task, epochs=1, progress=False, warn=False).rule
    to_onnx(rule, tmp_path / "network.onnx", 1)
    network = reference.ReferenceEvaluator(str(tmp_path / "network.onnx"))
    logits, = network.run(None, {"pixels": task.x_test[:N].numpy()})
    assert (torch.from_numpy(logits) - rule.predict(task.x_test[:N])[1]).abs().max() < 1e-4


def test_without_onnx_one_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"bioplaus\[onnx\]"):
        to_onnx(make_rule("backprop", MLP((64, 10))), tmp_path / "network.onnx")
