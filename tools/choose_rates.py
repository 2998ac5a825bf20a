"""Choose the rates on the rules' cards, on validation images.   python tools/choose_rates.py [RULE ...]

Each rule is searched by the protocol of nbs/63_search.ipynb on mnist-mini's ten classes, once for each of the rates
that a card holds: lr, lr_adam, lr_deep and, for the rules in `FILTERED`, lr_conv (on LeNet). What was chosen is
tried on two and three classes, too. No test image is used. All trials go into bioplaus/data_files/rates.csv, after
each round, so that a search which was stopped goes on where it was; two such processes may share the work. When all is
done the rates are written onto the cards, in their notebooks (run nbdev_export then). Rules that are not named keep
what they have.
"""
import argparse, ast, contextlib, io, re, subprocess
from pathlib import Path

import nbformat, pandas as pd, torch
from bioplaus.core import cards, choose, read_cards, written_whole
from bioplaus.data import load_task
from bioplaus.design import commit
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.search import TUNING_SEED, chosen, flatness, search_lr, search_rates
from bioplaus.stats import interval
from bioplaus.training import fit
from filelock import FileLock, Timeout

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "bioplaus" / "data_files" / "rates.csv"
LOCKS = ROOT / "_build" / "rates"
SHALLOW = dict(hidden=(100,), act="sigmoid", seeds=2, epochs=10, first_epochs=3)
SETTINGS = {
    "lr": SHALLOW | dict(optimizer="sgd"),
    "lr_adam": SHALLOW | dict(optimizer="adam"),
    # such a network takes six times as long
    "lr_deep": dict(hidden=(256, 256, 256), act="tanh", optimizer="sgd", seeds=2, epochs=5, first_epochs=2),
    "lr_conv": dict(net="lenet", optimizer="sgd", seeds=2, epochs=3, first_epochs=1),
}
# rules that have a rate of their own on networks with filters; others take lr_deep there
FILTERED = ("backprop", "fa", "dfa", "usf", "brsf", "frsf", "kolen-pollack", "weight-mirror", "softhebb",
            "frozen-filters")
# rules that take backprop's rates: labels that say nothing, and what is backprop exactly
AS_BACKPROP = ("shuffled", "predictive-coding-fixed")
COLUMNS = ["rule", "setting", "classes", "stage", "lr", "hidden", "output", "seed", "epochs", "valid_accuracy",
           "commit"]


def record():
    return pd.read_csv(RECORD, dtype={"commit": str}) if RECORD.exists() else pd.DataFrame(columns=COLUMNS)


def of(table, rule, setting): return table[(table.rule == rule) & (table.setting == setting)]


def keep(rule, setting, trials):
    "Put all trials of one search into the record, in place of those that were there."
    with FileLock(LOCKS / "record.lock"), written_whole(RECORD) as tmp:
        old = record()
        new = trials.assign(rule=rule, setting=setting).reindex(columns=COLUMNS).round({"valid_accuracy": 4})
        others = old.drop(of(old, rule, setting).index)
        parts = [t for t in (others, new) if len(t)]
        pd.concat(parts).sort_values(["rule", "setting"], kind="stable").to_csv(tmp, index=False)


def few_classes(rule, rates, how):
    "The chosen rates on two and three classes, two seeds each."
    how = {k: v for k, v in how.items() if k != "first_epochs"}
    for classes in (2, 3):
        tried = rates if len(rates) > 1 else rates[0]
        with contextlib.redirect_stderr(io.StringIO()):
            found = search_lr(rule, load_task("mnist-mini", classes), [tried], **how | dict(seeds=2, seed=TUNING_SEED))
        yield found.assign(classes=classes, stage="check", valid_accuracy=found.accuracy, epochs=how["epochs"])


def search(rule, setting):
    "One search, gone on with or done; then the check on fewer classes."
    known, how = of(record(), rule, setting), SETTINGS[setting]
    if (known.stage == "check").any(): return
    old = known.dropna(axis=1, how="all")
    mark = lambda t: t.fillna({"commit": commit()}) if "commit" in t else t.assign(commit=commit())
    trials = search_rates(rule, load_task("mnist-mini", 10), trials=old if len(old) else None,
                          keep=lambda t: keep(rule, setting, mark(t.assign(classes=10))), **how)
    rates = chosen(trials)
    names = ["lr"] if len(rates) == 1 else ["hidden", "output"]
    checks = pd.concat(few_classes(rule, rates, how)).assign(**dict(zip(names, rates)))
    keep(rule, setting, mark(pd.concat([trials.assign(classes=10), checks], ignore_index=True)))
    at = trials[(trials.stage == "fine") & (trials[names] == list(rates)).all(axis=1)].valid_accuracy.mean()
    print(f"{rule} {setting}: {rates} with {at:.4f}; flat {flatness(trials)}; {len(trials)} trials", flush=True)


def on_card(source, rule, rates):
    "`source`, with `rates` ({setting: rate}) in the call of `register` for `rule`."
    call = next((d for f in ast.walk(ast.parse(source)) for d in getattr(f, "decorator_list", [])
                 if isinstance(d, ast.Call) and getattr(d.func, "id", "") == "register" and d.args[0].value == rule),
                None)
    if call is None: return source
    lines = source.splitlines(keepends=True)
    head, tail = "".join(lines[:call.lineno - 1]), "".join(lines[call.end_lineno:])
    text = "".join(lines[call.lineno - 1:call.end_lineno])
    text = re.sub(r",\s*lr(_\w+)?=(\([^)]*\)|[^,)\n]+)", "", text).rstrip()
    said = ", ".join(f"{s}={rates[s]}" for s in SETTINGS if s in rates)
    return f"{head}{text[:-1]},\n          {said})\n{tail}"


def finished(table, rule):
    "{setting: rate or pair} of the rule's searches that are done."
    searches = {s: of(table, rule, s) for s in SETTINGS}
    rates = {s: chosen(t[t.stage != "check"]) for s, t in searches.items() if (t.stage == "check").any()}
    return {s: r if len(r) > 1 else r[0] for s, r in rates.items()}


def write_cards(rules):
    "Put what has been chosen onto the cards, in the notebooks."
    table = record()
    for file in sorted((ROOT / "nbs").glob("[0-9]*.ipynb")):
        nb, changed = nbformat.read(file, 4), False
        for cell in nb.cells:
            for rule in re.findall(r'@register\("([^"]+)"', cell.source) if "#| export" in cell.source else ():
                rates = finished(table, "backprop" if rule in AS_BACKPROP else rule)
                if rule not in rules or not rates: continue
                new = on_card(cell.source, rule, rates).rstrip("\n")
                changed, cell.source = changed or new != cell.source, new
        if changed: nbformat.write(nb, file)


def compare_with(ref, rules, setting):
    "A Markdown table: test accuracy at the rates that cards had at a commit, and at those they have, on seeds 0 to 4."
    def git(*words): return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [n for n in git("ls-tree", "--name-only", ref, "bioplaus/").split() if n.endswith(".py")]
    old = {c.name: c.lr for file in files for c in read_cards(git("show", f"{ref}:{file}"), file)}
    print("| rule | old rate | new rate | old accuracy | new accuracy | new − old |\n|---|---|---|---|---|---|")
    how = {k: v for k, v in SETTINGS[setting].items() if k in ("hidden", "act", "optimizer")}
    task = load_task("mnist-mini", 10)
    for rule in rules:
        rates = [old.get(rule), getattr(cards()[rule], setting) or cards()[rule].lr]
        if rates[0] is None or rates[0] == rates[1]: continue
        tried = torch.tensor(rates, dtype=torch.float64).repeat_interleave(5, 0)
        net = MLP((task.n_in, *how["hidden"], 10), act=how["act"], replicas=10, seed=[*range(5)] * 2)
        with contextlib.redirect_stderr(io.StringIO()):
            run = fit(make_rule(rule, net), task, 10, tried, optimizer=how["optimizer"], progress=False, warn=False)
        before, after = (100 * run.evaluate(task.x_test, task.y_test)["accuracy"].double()).split(5)
        said = (f"{m:.2f} ± {h:.2f}" for m, h in map(interval, (before, after, after - before)))
        print(f"| {rule} | {rates[0]} | {rates[1]} | {' | '.join(said)} |", flush=True)


def main():
    known = [n for n, c in cards().items() if c.module.startswith("bioplaus.")]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rules", nargs="*", metavar="RULE", help="(default: all)")
    p.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS, metavar="SETTING",
                   help=f"of {', '.join(SETTINGS)} (default: all)")
    p.add_argument("--no-cards", action="store_true", help="only keep the record, and leave the notebooks as they are")
    p.add_argument("--against", metavar="COMMIT", help="search nothing: test the cards' rates beside those of a commit")
    a = p.parse_args()
    rules = [choose(r, known, "rule of the package") for r in a.rules or known]
    if a.against: return [compare_with(a.against, rules, s) for s in a.settings]
    LOCKS.mkdir(parents=True, exist_ok=True)
    for setting in a.settings:
        for rule in rules:
            if rule in AS_BACKPROP or setting == "lr_conv" and rule not in FILTERED: continue
            lock = FileLock(LOCKS / f"{rule}.{setting}.lock", timeout=0)  # another process may be at it
            with contextlib.suppress(Timeout), lock: search(rule, setting)
    if not a.no_cards: write_cards(rules)


if __name__ == "__main__": main()
