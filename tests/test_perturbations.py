"""A perturbation is a class that says what it is, and its name is known wherever it is asked for: here, on the command
line, in worker processes; whoever defined it."""
import os, subprocess, sys, textwrap
from dataclasses import dataclass, replace

import pytest, torch
from bioplaus.attacks import Attack, Square
from bioplaus.core import PERTURBATIONS, BadInput, stream
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.noise import Corruption, Fog, Inside
from bioplaus.representations import activities
from bioplaus.robustness import attack_checks, conditions, robustness_suite
from bioplaus.rule import make_rule
from bioplaus.shown import Perturbation, fact, known, names_of, perturbation, shown
from bioplaus.training import evaluate, fit

HALF = '''
from bioplaus.noise import Corruption

class Half(Corruption, name="half", unit="share of the light", levels=(0.1, 0.2, 0.3, 0.4, 0.5), needs_shape=False):
    "Less light."
    def corrupt(self, x, draw): return x * (1 - self.level)
'''
TWIN = '''
from bioplaus.rule import Backprop, Delta, Rule, register

@register("twin", equation="as backprop", sees="pre, post, transported weights", lr=0.2)
def twin(net): return Rule(net, Backprop(), Delta())
'''
STUDY = '''
from bioplaus.study import compare
SETTINGS = dict(tasks="digits", seeds=2, epochs=1, hidden=(8,), perturbations=("half:0.5",))
if __name__ == "__main__":
    one, two = (compare(["twin", "fa"], workers=w, progress=False, **SETTINGS) for w in (1, 2))
    read = lambda r, name: r[r.perturbation == name].sort_values(["rule", "seed"]).accuracy.tolist()
    assert len(read(one, "half")) == 4 and read(one, "half") == read(two, "half") != read(one, "clean")
    print("the same")
'''


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    "What a test puts into the address book is gone after it."
    for part in ("loaded", "mine", "lost"): monkeypatch.setattr(PERTURBATIONS, part, dict(vars(PERTURBATIONS)[part]))


def run(folder, source):
    "What a script prints, in a process of its own that finds the modules in `folder`."
    (folder / "script.py").write_text(textwrap.dedent(source))
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, folder / "script.py"], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def installed(folder, name, source, groups=("perturbations",)):
    "A package with one module, and entry points that name it."
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("".join(f"[bioplaus.{g}]\n{name} = {name}\n" for g in groups))


@pytest.mark.parametrize("where", [pytest.param("a module", marks=pytest.mark.weekly), "the script", "a package"])
def test_workers_know_what_was_defined(tmp_path, where):
    "Two workers count what one process counts, wherever rule and perturbation come from; nobody imports a package."
    mine = TWIN + HALF
    if where == "a package": installed(tmp_path, "mine", mine, ("rules", "perturbations"))
    else: (tmp_path / "mine.py").write_text(mine)
    first = {"a module": "import mine\n", "the script": mine, "a package": ""}[where]
    assert run(tmp_path, first + STUDY)[0].strip() == "the same"


def test_what_cannot_travel_is_named():
    "A worker that can't import the module says so to whoever asks for the name."
    from bioplaus.workers import _unpack
    _unpack("perturbation", "far", b"cbioplaus.nowhere\nFar\n.")
    with pytest.raises(BadInput, match="'far' could not come along.*nowhere"): perturbation("far:0.1")


def test_a_package_that_raises_is_named_and_the_rest_works(tmp_path):
    installed(tmp_path, "broken", 'raise OSError("no licence")\n' + HALF.replace('"half"', '"broken-half"'))
    installed(tmp_path, "garbled", "class Half(name=\"garbled-half\" oops\n")
    installed(tmp_path, "fine", HALF)
    out, err = run(tmp_path, '''
        from bioplaus.core import RunFailed
        from bioplaus.shown import names_of, perturbation
        assert perturbation("half").level == 0.3 and {"fog", "half"} <= set(names_of("corruption"))
        assert "broken-half" not in names_of("corruption")
        try: perturbation("broken-half")
        except RunFailed as e: print(e)
        ''')
    assert all(word in out for word in ("'broken-half'", "broken, which raises", "OSError: no licence"))
    assert "bioplaus.perturbations names garbled" in err and "SyntaxError" in err
    assert "'broken-half' is defined in broken" in err  # listing them warns


def test_two_packages_with_one_name(tmp_path):
    "The first one stays, a warning names both; whoever imports the second is told whose the name is."
    for name in ("first", "second"): installed(tmp_path, name, HALF)
    installed(tmp_path, "third", HALF.replace('"half"', '"fog"'))
    out, err = run(tmp_path, '''
        from bioplaus.core import BadInput
        from bioplaus.shown import perturbation
        print(type(perturbation("half")).__module__, type(perturbation("fog")).__module__)
        for module in ("second", "third"):
            try: __import__(module)
            except BadInput as e: print(e)
        ''')
    assert out.splitlines()[0] == "first bioplaus.noise"
    assert "second.Half cannot be called 'half'" in out and "first.Half" in out
    assert "third.Half cannot be called 'fog'" in out and "bioplaus.noise.Fog" in out
    assert "second and first both define 'half'" in err and "third and bioplaus.noise both define 'fog'" in err


def test_names_come_without_torch(tmp_path):
    installed(tmp_path, "mine", HALF)
    out, _ = run(tmp_path, '''
        import sys
        from bioplaus.core import PERTURBATIONS
        print(PERTURBATIONS.entries()["half"].summary, PERTURBATIONS.entries()["pgd-l2"].module, "torch" in sys.modules)
        ''')
    assert out.strip() == "Less light. bioplaus.attacks False"


BASES = {Corruption: "def corrupt(self, x, draw)", Inside: "def network(self, rule, generator)",
         Attack: "def craft(self, rule"}


@pytest.mark.parametrize("base", BASES, ids=lambda b: b.__name__)
def test_what_is_missing_is_said(base):
    with pytest.raises(BadInput) as e:
        class Lacking(base, name="lacking"): pass
    said = str(e.value)
    assert "'lacking'" in said and "class Lacking" in said and BASES[base] in said and "lacking" not in PERTURBATIONS
    assert (base is Attack) != ("unit=" in said) and (base is Attack) != ("levels=" in said)


def test_a_name_belongs_to_one():
    class Mine(Fog, name="fog-of-mine"): pass
    with pytest.raises(BadInput, match="bioplaus.noise.Fog"):
        class Thief(Fog, name="fog"): pass
    with pytest.raises(BadInput, match=f"{__name__}.Mine"):
        class Other(Fog, name="fog-of-mine"): pass
    assert perturbation("fog-of-mine") == Mine(0.3) and type(perturbation("fog")) is Fog
    with pytest.raises(TypeError): PERTURBATIONS["fog"] = Mine


def old_function(rule, x, y, generator): return 1 - x


class OldObject:
    def __call__(self, rule, x, y, generator): return x
    def network(self, rule, generator): return rule


@pytest.mark.parametrize("old", [old_function, OldObject(), Fog])
def test_the_old_contract_is_refused_everywhere(old):
    "With an error that says what to write, before anything is computed."
    task, rule = load_task("digits", device="cpu"), make_rule("backprop", MLP((64, 8, 10)))
    x, y = task.x_test[:20], task.y_test[:20]
    says = r"Fog\(0.1\)" if old is Fog else r"class Mine\(Perturbation.*__call__"
    for ask in (lambda: evaluate(rule, x, y, old), lambda: activities(rule, x, y=y, perturb=old),
                lambda: shown(rule, x, y, old), lambda: fit(rule, task, 1, augment=old, progress=False)):
        with pytest.raises(BadInput, match=says): ask()


@pytest.mark.parametrize("name", [n for n in known() if fact(known()[n], "needs_shape")])
def test_images_that_are_no_squares(name):
    "Each spatial perturbation takes the shape that it is given with its name, and guesses none."
    rule, g = make_rule("backprop", MLP((600, 8, 10))), torch.Generator().manual_seed(0)
    x, y = torch.rand(4, 600, generator=g), torch.arange(4)
    spec = f"{name}:0.2" if name == "square" else name
    with pytest.raises(BadInput, match=r"600 pixels.*shape=\(rows, columns\)"): shown(rule, x, y, spec)
    assert shown(rule, x, y, perturbation(spec, (20, 30)))[1].shape[-2:] == (4, 600)
    assert conditions(name, shape=(20, 30))[0].perturb.shape == (20, 30)
    with pytest.raises(BadInput, match=r"shape=\(30, 30\)"): shown(rule, x, y, perturbation(spec, (30, 30)))


def test_square_turns_with_the_image():
    "On a transposed image, the search draws other squares; on the same image under another shape, too."
    rule = make_rule("backprop", MLP((12, 8, 4), seed=1))
    x, y = torch.full((1, 12), 0.5), torch.tensor([1])
    made = {s: Square(0.1, 1, shape=s)(rule, x, y, stream(0))[0, 0].reshape(s) for s in ((3, 4), (4, 3), (1, 12))}
    for image in made.values(): assert (image == image[0]).all()  # the first guess is upright stripes of ±ε
    assert made[1, 12].unique().tolist() == pytest.approx([0.4, 0.6])


def test_tasks_tell_their_shape():
    "Checks against masking and suites run on images that are no squares."
    task = load_task("digits", device="cpu")
    cut = {k: v[:, :56] for k, v in vars(task).items() if k.startswith("x_")}
    wide = replace(task, **cut, shape=(7, 8))
    rule = fit(make_rule("backprop", MLP((56, 12, 10))), wide, 1, progress=False).rule
    assert len(attack_checks(rule, wide, [perturbation("fgsm:0.1")], 30, 10)) == 7
    table = robustness_suite(rule, wide, noise="fog@1", attacks="square:0.1", images=20, progress=False)
    assert {"fog", "square"} < set(table.perturbation)


def test_one_of_ones_own_is_counted_shown_and_checked():
    "An attack from the bare base class: its facts are all that the suite asks for."
    @dataclass(frozen=True)
    class Invert(Perturbation, name="invert", kind="attack", unit="share", norm="linf", slow=True):
        "Dark becomes light."
        level: float = 1.0
        def __call__(self, rule, x, y, generator): return (1 - self.level) * x + self.level * (1 - x)

    task = load_task("digits", device="cpu")
    rule = fit(make_rule("backprop", MLP((64, 20, 10), replicas=2)), task, 2, progress=False).rule
    x, y = task.x_test, task.y_test
    assert "invert" in names_of("attack") and torch.equal(shown(rule, x, y, "invert")[1], 1 - x)
    scores = evaluate(rule, x, y, "invert")["accuracy"]
    assert torch.equal(scores, evaluate(rule, 1 - x, y)["accuracy"])
    table = robustness_suite(rule, task, noise=None, attacks="invert", eps=(1.0,), progress=False)
    drawn = table[(table.perturbation == "invert") & (table.level == 1)]
    assert (drawn.images == min(500, len(y))).all()
    assert drawn.accuracy.to_numpy() == pytest.approx(evaluate(rule, 1 - x[:500], y[:500])["accuracy"].numpy())
    assert len(attack_checks(rule, task, [Invert()], 30, 10)) == 7 * 2
