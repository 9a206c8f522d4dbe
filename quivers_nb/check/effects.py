"""Effects: what the steps of a program do, against what it declares (7.10)."""

from quivers_nb.check.options import Setting
from quivers_nb.check.report import Report
from quivers_nb.check.term import (
    MarginalizeStep,
    MorphismCall,
    ObserveStep,
    SampleStep,
    ScoreStep,
    Step,
)
from quivers_nb.check.walk import programs_in
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.effect import Effect
from quivers_nb.syntax import tree

NAMES = tuple(effect.value for effect in Effect)


def written_effects(step: tree.Step) -> frozenset[Effect]:
    """What a step does by its keyword alone."""
    match step:
        case tree.SampleStep():
            return frozenset({Effect.SAMPLE})
        case tree.ObserveStep() | tree.ScoreStep():
            return frozenset({Effect.SCORE})
        case tree.MarginalizeStep():
            inner = (written_effects(inside) for inside in step.body)
            return frozenset({Effect.MARGINAL}).union(*inner)
        case _:
            return frozenset()


def step_effects(step: Step) -> frozenset[Effect]:
    """What a checked step does, the programs it calls included."""
    match step:
        case SampleStep():
            own = {Effect.SAMPLE}
        case ObserveStep() | ScoreStep():
            own = {Effect.SCORE}
        case MarginalizeStep():
            return frozenset({Effect.MARGINAL}).union(*map(step_effects, step.body))
        case _:
            return frozenset()
    if isinstance(step, SampleStep | ObserveStep) and isinstance(step.source, MorphismCall):
        return frozenset(own).union(*(p.effects for p in programs_in(step.source.term)))
    return frozenset(own)


def check_declared(
    setting: Setting | None,
    used: list[tuple[frozenset[Effect], Span]],
    report: Report,
) -> None:
    """The inferred effects must be among the declared ones; unknown names are errors."""
    if setting is None:
        return
    declared: set[Effect] = set()
    for name in setting.names:
        if name.text in NAMES:
            declared.add(Effect(name.text))
            continue
        near = nearest(name.text, NAMES)
        report.error(
            "Q0509",
            f"unknown effect `{name.text}`; the effects are {', '.join(NAMES)}",
            name.span,
            hint=None if near is None else f"did you mean `{near}`?",
        )
        return
    if Effect.PURE in declared and len(declared) > 1:
        _not_pure(setting, report)
        return
    _compare(setting, declared, used, report)


def _not_pure(setting: Setting, report: Report) -> None:
    pure = next(name for name in setting.names if name.text == Effect.PURE.value)
    others = ", ".join(name.text for name in setting.names if name.text != Effect.PURE.value)
    report.error(
        "Q0525",
        f"the program declares Pure, which admits no effect, together with {others}",
        pure.span,
        hint="drop `Pure`, or all the others",
    )


def _compare(
    setting: Setting,
    declared: set[Effect],
    used: list[tuple[frozenset[Effect], Span]],
    report: Report,
) -> None:
    missing: dict[Effect, Span] = {}
    for effects, span in used:
        for effect in sorted(effects - declared, key=lambda e: e.value):
            missing.setdefault(effect, span)
    if not missing:
        return
    names = ", ".join(effect.value for effect in missing)
    said = ", ".join(name.text for name in setting.names) or "no effects"
    report.error(
        "Q0508",
        f"the program declares {said}, but uses {names}",
        setting.span,
        labels=[Label(span, f"uses {effect.value}") for effect, span in missing.items()],
        hint=f"declare {names} as well, or drop the option: effects are inferred",
    )
