"""The full study's networks with a loop at test time and without.   python tools/loops_at_test_time.py [--out FOLDER]

The networks are those that `tools/the_hypothesis.py --out FOLDER` has trained. Each loop's settings are chosen once, on
validation images under Gaussian noise of 0.3, by the mean over all networks of a rule; then it meets the test images,
clean and under every noise of the study. The table goes to nbs/results/hypothesis_loops.csv.
"""
import pandas as pd, torch
from bioplaus.attacks import perturbation
from bioplaus.control import Control, Controller
from bioplaus.core import stream
from bioplaus.data import load_task
from bioplaus.design import commit, evenly, spread_out
from bioplaus.loops import Decoders, Filtered, Generative, Steered
from bioplaus.training import evaluate
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from the_hypothesis import CHEAP, NOISY, STUDY, TABLES, options, trained

TUNED_ON, WAYS = "gaussian:0.3", [(kappa, steps) for kappa in (0.25, 0.5, 0.75, 1.0) for steps in (2, 3, 5)]
LEAKS = (0.01, 0.1, 1.0, 10.0, 100.0)


def filters(task):
    "What any loop must beat: PCA of the image, and a linear denoiser that has seen noise."
    noise, pixels = perturbation(TUNED_ON, task.shape), task.x_train.numpy()
    pca = PCA(40, random_state=0).fit(pixels)
    noisy = noise(None, task.x_train, None, stream(STUDY.seed, "denoiser"))
    ridge = Ridge(100.0).fit(noisy.numpy(), pixels)
    return {"PCA of the image": lambda a: pca.inverse_transform(pca.transform(a)), "linear denoiser": ridge.predict}


def loops(rule, task):
    "The variants of each loop: {loop: {settings: predictor}}."
    noise = perturbation(TUNED_ON, task.shape)
    decoders = {"generative": Decoders(rule, task.x_train),
                "generative, learnt under noise":
                    Decoders(rule, task.x_train, see=lambda x, g: noise(None, x, None, g))}
    found = {"own answer": {}}
    for leak in LEAKS:
        control = Control(rule.net, feedback="transposed", controller=Controller(leak=leak))
        found["own answer"][f"leak={leak}"] = Steered(rule, control)
    for name, d in decoders.items():
        found[name] = {f"kappa={k}, steps={n}": Generative(rule, d, k, n) for k, n in WAYS}
    return found


def chosen(rule, task, filters):
    "{loop: (settings, predictor, how many variants were tried)}, by accuracy on 2,000 validation images under noise."
    x, y, noise = task.x_valid[:2000], task.y_valid[:2000], perturbation(TUNED_ON, task.shape)
    def score(variant): return evaluate(variant[1], x, y, noise, seed=1)["accuracy"].mean()
    found = {"no loop": ("", rule, 0)}
    for loop, variants in loops(rule, task).items():
        found[loop] = (*max(variants.items(), key=score), len(variants))
    return found | {n: ("", Filtered(rule, f), 0) for n, f in filters.items()}


def rows(label, task, rule, filters):
    "One row for each network, loop and condition."
    noises = [p for p in STUDY.perturbations if p.split(":")[0] in ("gaussian", "salt-and-pepper")]
    for loop, (settings, predictor, looked) in chosen(rule, task, filters).items():
        for spec in ("clean", *noises):
            kind = None if spec == "clean" else perturbation(spec, task.shape)
            at = spread_out(len(task.y_test), STUDY.images)  # the study's images, with the study's noise
            found = evaluate(predictor, *evenly(task, STUDY.images), kind, STUDY.seed, at)["accuracy"]
            yield pd.DataFrame({"rule": label, "task": task.name, "classes": task.n_classes, "loop": loop,
                                "settings": settings, "looked": looked, "seed": rule.net.seeds,
                                "perturbation": spec.split(":")[0], "level": kind.level if kind else 0.0,
                                "accuracy": found.double().numpy(), "commit": commit()})


def main():
    out, found = options(__doc__).parse_args().out, []
    for name in ("mnist", "fashion-mnist"):
        task = load_task(name, 10, STUDY.normalise, device="cpu")
        known = filters(task)
        for label, rule in trained((*CHEAP[:2], *NOISY), name, out):
            with torch.no_grad(): found += rows(label, task, rule, known)
    pd.concat(found).to_csv(TABLES / "hypothesis_loops.csv", index=False, float_format="%.5g")


if __name__ == "__main__": main()
