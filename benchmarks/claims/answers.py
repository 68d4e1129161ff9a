"""The paper's questions answered in a sentence or two each, from the verdicts; and one row per environment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.claims.presented import OWN_LEVEL, compact
from benchmarks.claims.verdicts import Judgement, Outcome, short_budget, unsolved
from benchmarks.report import contributions
from benchmarks.report.gather import Results
from benchmarks.report.tables import Cell, Column, Content

YES = {"supported": "yes", "contradicted": "no", "undecided": "undecided"}


@dataclass(frozen=True)
class Answer:
    """A question with its answer."""

    name: str  # of the paper's question
    question: str
    short: str
    text: str


def answers(results: Results, judgements: Sequence[Judgement]) -> list[Answer]:
    """Return the answers to the questions whose claims are judged here."""
    found = _reached(results, judgements, "gridworld")
    given = []
    if "RQ1a" in found:
        given.append(_uniform(results, found))
    if "RQ1b" in found:
        given.append(_equal(results, found))
    if "RQ2a" in found:
        given.append(_gre(results, found))
    if "RQ3" in found:
        given.append(_entropy(results, found))
    if premises := contributions.premises(results):
        given.append(_premise(results, premises))
    return given + _on_engine(results, judgements)


def _reached(results: Results, judgements: Sequence[Judgement], family: str) -> dict[str, list[Judgement]]:
    """Return the judgements of a family of environments whose runs are all there, by claim."""
    found: dict[str, list[Judgement]] = {}
    for one in judgements:
        if one.claim.family == family and one.verdict != "missing" and not short_budget(results, one.env):
            found.setdefault(one.claim.name, []).append(one)
    return found


QUESTIONS = {
    "RQ1a": "Is credit in QMIX uniform?",
    "RQ1a, phase": "Is its entropy lower while exploration is random?",
    "RQ1a, Table 3": "Are the percentiles of its entropy those of Table 3?",
    "RQ1b": "Do equal credits (QMIX-simple) do as well?",
    "RQ2a": "Is QMIX-GRE at least as good?",
    "RQ2a, better": "Does it end above QMIX?",
    "RQ2b": "Is it faster early?",
    "RQ2c": "Does QMIX drop in mid-training where QMIX-GRE rises?",
    "RQ3": "Does GRE lower the gradient entropy?",
    "Order 1": "Does QMIX end above VDN, as in the game?",
    "Order 2": "Is VDN faster than QMIX, as in the game?",
}
"""What each claim answers."""


def _on_engine(results: Results, every: Sequence[Judgement]) -> list[Answer]:
    """Return what the embedded engine says, with effects: of each map where a claim compares two algorithms once."""
    given, found = [], _reached(results, every, "smac")
    for name, question in QUESTIONS.items():
        if judgements := found.get(name):
            first, *more = judgements[0].claim.tests
            names = listed(results, judgements, YES, effects=not more and first.right.measure is not None)
            seeds = " and ".join(map(str, sorted({one.outcomes[0].seeds for one in judgements} - {0})))
            planned = [one for one in every if one.claim is judgements[0].claim]
            so_far = f", {len(judgements)} of {len(planned)} maps so far" if len(judgements) < len(planned) else ""
            sizes = SIZES[name](judgements) if name in SIZES else ""
            where = f"{seeds} seeds, on" if seeds else "On"
            text = _sentences([sizes, upper(names), f"{where} the embedded engine{so_far}."])
            short = _marked(_evenness if name == "RQ1a" else _short, judgements)
            given.append(Answer(f"{name}, SMAC", question, short, text))
    return given


def _marked(short: Callable[[Sequence[Judgement]], str], judgements: Sequence[Judgement]) -> str:
    """Return an answer in few words, marked where it rests on verdicts that fall when all are tested together."""
    strict = [replace(one, verdict="undecided") if one.own_level_only else one for one in judgements]
    answer = short(judgements)
    return answer if answer == short(strict) else f"{answer}{OWN_LEVEL}"


def _average(judgements: Sequence[Judgement]) -> str:
    means = [1 + mean for one in judgements if (mean := one.outcomes[0].mean) is not None]
    if not means:
        return ""
    return f"After exploration its gradient entropy is {_span(means, '.3f')} on average (1: all credits equal)."


def _off(judgements: Sequence[Judgement]) -> str:
    outcomes = [one for judgement in judgements for one in judgement.outcomes]
    means = [one.mean for one in outcomes if one.mean is not None]
    if not means:
        return ""
    allowed = " to ".join(f"±{margin:g}" for margin in sorted({one.margin for one in outcomes}))
    return (
        f"The means over seeds differ from the paper's by {_span(means, '+.4f')} (allowed {allowed}). (The table of "
        "percentiles pools the seeds.)"
    )


SIZES = {"RQ1a": _average, "RQ1a, Table 3": _off}
"""Effects of claims of which `listed` names none, "" where there are none."""


def _uniform(results: Results, found: dict[str, list[Judgement]]) -> Answer:
    sentences = [_average(found["RQ1a"])]
    control = [mean for one in found.get("RQ1a, control 1", []) if (mean := one.outcomes[0].mean) is not None]
    if control:
        sentences.append(
            f"Compared with untrained networks on the same steps, training changes it by {_span(control, '+.3f')}."
        )
    for low in [one for one in found.get("RQ1b", []) if _loses(one)]:
        entropy = next((1 + (one.outcomes[0].mean or 0) for one in found["RQ1a"] if one.env == low.env), None)
        if entropy:
            sentences.append(
                f"Nearly uniform is not equal: on {results.title(low.env)} it is {entropy:.4f}, and QMIX-simple, whose "
                f"credits are equal, is {-(low.outcomes[0].mean or 0):.0f} lower {_when(results, low.env)}. ("
                "QMIX-simple also has one unit instead of 32; studies/README.md compares QMIX-equal, which has 32.)"
            )
    if phases := found.get("RQ1a, phase"):
        names = listed(results, phases, YES)
        sentences.append(f"Is it lower while exploration is random, as in the paper? {upper(names)}")
    return Answer("RQ1a", QUESTIONS["RQ1a"], _marked(_evenness, found["RQ1a"]), _sentences(sentences))


def _evenness(judgements: Sequence[Judgement]) -> str:
    """Return how uniform QMIX's credit is, in few words."""
    verdicts = {one.verdict for one in judgements}
    if "contradicted" in verdicts:
        return "No" if verdicts == {"contradicted"} else "Not everywhere"
    if verdicts == {"not judged"}:
        return "Not judged"
    if verdicts <= {"undecided", "not judged"}:
        return "Undecided"
    return "Nearly uniform" if verdicts == {"supported"} else "Nearly uniform, where decided"


def _equal(results: Results, found: dict[str, list[Judgement]]) -> Answer:
    worse = [one for one in found["RQ1b"] if one.verdict == "contradicted" and not one.compares_failures]
    lower = worse and all(_loses(one) for one in worse)
    words = {
        "supported": "as good",
        "contradicted": f"lower {_when(results, worse[0].env)}" if lower else "not equal",
        "undecided": "undecided",
    }
    text = upper(listed(results, found["RQ1b"], words, effects=True))
    more = [one for one in found.get("RQ1b, size", []) if _loses(one)]
    if more:
        effects = "; ".join(f"{compact(one.outcomes[0])} on {results.title(one.env)}" for one in more)
        text += f" Fewer parameters do not explain it: with as many as QMIX, the difference is {effects}."
    return Answer("RQ1b", QUESTIONS["RQ1b"], _marked(_short, found["RQ1b"]), text)


def _gre(results: Results, found: dict[str, list[Judgement]]) -> Answer:
    questions = {
        "RQ2b": QUESTIONS["RQ2b"],
        "RQ2c": QUESTIONS["RQ2c"],
        "RQ2a": "Is it at least as good at the end?",
        "RQ2a, better": "Does it end higher?",
    }
    text = " ".join(
        f"{question} {upper(listed(results, found[name], YES, failures=name == 'RQ2a'))}"
        for name, question in questions.items()
        if name in found
    )
    asked = [one for name in questions for one in found.get(name, [])]
    return Answer("RQ2", "Does GRE help?", _marked(_gain, asked), text)


def _gain(judgements: Sequence[Judgement]) -> str:
    """Return in few words whether GRE helps: any claim of a gain counts, against "at least as good"."""
    judgements = [one for one in judgements if not one.compares_failures]
    better = any(one.verdict == "supported" for one in judgements if one.claim.name != "RQ2a")
    worse = any(one.verdict == "contradicted" for one in judgements if one.claim.name == "RQ2a")
    return {
        (False, False): "No gain shown",
        (True, False): "In places",
        (False, True): "Worse in places",
        (True, True): "Better in places, worse in others",
    }[better, worse]


def _entropy(results: Results, found: dict[str, list[Judgement]]) -> Answer:
    means = [one.mean for judgement in found["RQ3"] for one in judgement.outcomes if one.mean is not None]
    weights = " by any of the weights" if len(found["RQ3"][0].claim.candidates) > 1 else ""
    words = {"supported": "lowered", "contradicted": f"not lowered{weights}", "undecided": "undecided"}
    names = listed(results, found["RQ3"], words)
    text = f"On average it changes by {_span(means, '+.4f')}: {names}" if means else upper(names)
    maps = [env for env in results.params.run.envs if results.params.envs[env].env.startswith("smac")]
    done = [env for env in maps if any(key[0] == env for key in results.runs)]
    text += (
        f" StarCraft maps with runs here: {', '.join(results.title(env) for env in done)}."
        if done
        else " The paper shows it on StarCraft's MMM2, which is not among these environments."
    )
    return Answer("RQ3", QUESTIONS["RQ3"], _marked(_lowered, found["RQ3"]), text)


def _lowered(judgements: Sequence[Judgement]) -> str:
    return {"supported": "Yes", "contradicted": "No"}.get(_common(judgements), "Not shown")


def _premise(results: Results, premises: Sequence[contributions.Premise]) -> Answer:
    words = {True: "less even than credits", False: "more even", None: "undecided"}
    parts = []
    for holds, word in words.items():
        there = [
            f"{results.title(one.env)} ({one.shapley:.2f}; credits {one.credit:.2f})"
            for one in premises
            if one.holds is holds
        ]
        if there:
            parts.append(f"{word} on {_and(there)}")
    related = [one.correlation for one in premises if one.correlation is not None]
    correlations = f" Their correlation is {_span(related, '+.2f')}." if related else ""
    text = (
        "Shapley shares measure what each agent adds to the return of replayed episodes "
        f"({contributions.EPISODES} of one policy each, seed {results.params.run.seeds[0]}). "
        "By their L1 distance from even they are "
        f"{'; '.join(parts)}.{correlations} With even credits, contributions can still be uneven through the agents' "
        "values, as in VDN, so this does not mean that even credit learns worse."
    )
    failing = [one for one in premises if one.env in unsolved(results)]
    if failing:
        names = _and([results.title(one.env) for one in failing])
        text += f" The policies on {names} fail: the short answer is about the others."
    verdicts = {one.holds for one in premises if one not in failing}
    short = "Yes" if verdicts == {True} else "In places" if True in verdicts else "Not shown"
    return Answer("Premise", "Do agents contribute less evenly than QMIX credits them?", short, text)


def environment_rows(results: Results, judgements: Sequence[Judgement]) -> Content:
    """Return one row per gridworld: QMIX's entropy, and what the variants change."""
    judgements = [one for one in judgements if one.claim.family == "gridworld"]
    found = {(one.claim.name, one.env): one for one in judgements}
    rows: list[list[Cell]] = []
    for env in dict.fromkeys(one.env for one in judgements):
        cells: list[Cell] = [results.title(env)]
        for name, shift in (("RQ1a", 1.0), ("RQ1b", 0.0), ("RQ2a", 0.0), ("RQ3", 0.0)):
            judgement = found.get((name, env))
            outcomes = [one for one in judgement.outcomes if one.mean is not None] if judgement else []
            cells.append(_cell(outcomes, judgement, shift) if judgement and outcomes else None)
        rows.append(cells)
    columns = [
        Column("Environment"),
        Column("QMIX's entropy after exploration (1: even)"),
        Column("QMIX-simple - QMIX, final return"),
        Column("QMIX-GRE - QMIX, final return"),
        Column("QMIX-GRE - QMIX, entropy"),
    ]
    return Content(columns, rows)


def _cell(outcomes: Sequence[Outcome], judgement: Judgement, shift: float) -> str:
    """Return the means' range, their intervals' outer ends and the verdict."""
    digits = 1 if outcomes[0].test.left.measure and outcomes[0].test.left.measure.is_performance else 4
    means = [shift + (one.mean or 0) for one in outcomes]
    ends = [shift + end for one in outcomes for end in (one.low, one.high) if end is not None]
    sign = "" if shift else "+"
    interval = f" [{min(ends):{sign}.{digits}f}, {max(ends):{sign}.{digits}f}]" if ends else ""
    verdict: str = "compares failures" if judgement.compares_failures else judgement.verdict
    if judgement.of == "extension" and verdict == "contradicted":
        verdict = "not lowered"
    if judgement.own_level_only and not judgement.compares_failures:
        verdict += OWN_LEVEL
    return f"{_span(means, f'{sign}.{digits}f')}{interval}: {verdict}"


def _span(values: Sequence[float], form: str) -> str:
    least, most = f"{min(values):{form}}", f"{max(values):{form}}"
    return least if least == most else f"{least} to {most}"


def _when(results: Results, env: str) -> str:
    """Return where training ended: nothing says that it had converged."""
    return f"at {results.params.envs[env].total_steps / 1000:g}K steps"


def _loses(judgement: Judgement) -> bool:
    mean = judgement.outcomes[0].mean
    return judgement.verdict == "contradicted" and not judgement.compares_failures and mean is not None and mean < 0


def _common(judgements: Sequence[Judgement]) -> str:
    verdicts = {one.verdict for one in judgements}
    return verdicts.pop() if len(verdicts) == 1 else ""


def _short(judgements: Sequence[Judgement]) -> str:
    verdicts = {one.verdict for one in judgements if not one.compares_failures} - {"not judged"}
    if not verdicts:
        return "Not judged"
    if "contradicted" in verdicts:
        return "No" if verdicts == {"contradicted"} else "Not everywhere"
    if verdicts <= {"undecided"}:
        return "Undecided"
    return "Yes" if verdicts == {"supported"} else "Partly shown"


def listed(
    results: Results,
    judgements: Sequence[Judgement],
    words: dict[str, str],
    effects: bool = False,
    failures: bool = True,
) -> str:
    """Return the environments by verdict, as in "yes on A; undecided on B and C."."""
    parts = []
    for verdict, word in words.items():
        there = [one for one in judgements if one.verdict == verdict and not one.compares_failures]
        names = [
            results.title(one.env)
            + (f", {compact(one.outcomes[0])}" if effects else "")
            + (OWN_LEVEL if one.own_level_only else "")
            for one in there
        ]
        if names:
            parts.append(f"{word} on {_and(names)}")
    empty = [results.title(one.env) for one in judgements if one.compares_failures]
    if empty and (failures or not parts):
        parts.append(f"nothing to compare on {_and(empty)}")
    unjudged = [one for one in judgements if one.verdict == "not judged" and not one.compares_failures]
    if unjudged:
        whys = (next(outcome.why for outcome in one.outcomes if outcome.why) for one in unjudged)
        named = [f"{results.title(one.env)} ({why})" for one, why in zip(unjudged, whys, strict=True)]
        parts.append(f"not judged on {_and(named)}")
    return "; ".join(parts) + "."


def _sentences(texts: Sequence[str]) -> str:
    return " ".join(text for text in texts if text)


def upper(text: str) -> str:
    """Return a text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
