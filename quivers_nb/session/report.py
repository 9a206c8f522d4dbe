"""What a finished fit says: a table of numbers, and in words what speaks against trusting them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from quivers_nb.display.parts import Part, Row, Stack, Table, Text, Tone
from quivers_nb.inference import diagnose
from quivers_nb.inference.mcmc.findings import ESS_PER_CHAIN, R_HAT, Finding
from quivers_nb.inference.mcmc.result import MCMCResult
from quivers_nb.inference.smc.result import SMCResult
from quivers_nb.inference.vi.result import SVIResult
from quivers_nb.session.card import Card
from quivers_nb.session.growing import scalars

ROWS = 40
HEAD = ("", "mean", "sd", "5 %", "95 %", "MCSE", "ESS", "R-hat")
REPORTED = (MCMCResult, SVIResult)


def report(result: MCMCResult | SVIResult, rows: int = ROWS) -> Card:
    """The card of a result, with at most so many ``rows`` of numbers."""
    if isinstance(result, MCMCResult):
        return Card(_draws_sentence(result), lambda: _draws(result, rows))
    return Card(_steps_sentence(result), lambda: _steps(result, rows))


def _draws_sentence(result: MCMCResult) -> str:
    if not result.num_samples:
        return "NUTS was stopped before there were any draws."
    worst = [float(np.nanmax(each)) for each in result.r_hat.values() if each.numel()]
    parts = _made(result)
    if worst and np.isfinite(worst).any():
        parts.append(f"largest R-hat {np.nanmax(worst):.3f}")
    parts.append(_count(int(result.divergence_counts.sum()), "divergence"))
    wrong = len(result.warnings)
    verdict = "nothing speaks against them" if not wrong else _count(wrong, "warning")
    return f"{', '.join(parts)}: {verdict}."


def _made(result: MCMCResult) -> list[str]:
    """What was run, and of particles the evidence that they found."""
    if not isinstance(result, SMCResult):
        return [f"{_count(result.num_chains, 'chain')} of {_count(result.num_samples, 'draw')}"]
    runs = f"{_count(result.num_chains, 'run')} of {_count(result.num_samples, 'particle')}"
    if result.num_chains < 2:
        return [runs, f"log evidence {result.log_evidence:.4g}"]
    return [runs, f"log evidence {result.log_evidence:.4g} ± {result.log_evidence_se:.2g}"]


def _way(result: MCMCResult) -> str:
    """How the draws came about, before the first of them."""
    if not isinstance(result, SMCResult):
        return f"warm-up {result.num_warmup}"
    return f"temperatures {', '.join(str(len(stages)) for stages in result.temperatures)}"


def _draws(result: MCMCResult, rows: int) -> Part:
    parts: list[Part] = [_line(_draws_sentence(result))]
    parts += [_finding(finding) for finding in result.warnings]
    if result.num_samples:
        parts.append(_table(result, rows))
    why = f" ({result.tier_reason})" if result.tier_reason else ""
    note = f"gradient: {result.tier}{why}; seed {result.seed}; {_way(result)}"
    return Stack((*parts, Row((Text(note, Tone.QUIET),))))


def _table(result: MCMCResult, most: int) -> Part:
    names, values, more = scalars(result.samples, 2)
    more += max(0, len(names) - most)
    names, values = names[:most], values[..., :most]
    low, high = np.quantile(values, [0.05, 0.95], axis=(0, 1))
    columns = [values.mean((0, 1)), values.std((0, 1)), low, high, diagnose.mcse(values)]
    ess, r_hat = diagnose.ess(values), diagnose.r_hat(values)
    enough = ESS_PER_CHAIN * result.num_chains
    rows = tuple(
        (
            Text(name, Tone.NAME),
            *(Text(f"{column[k]:.3g}") for column in columns),
            Text(f"{ess[k]:.0f}", Tone.ERROR if ess[k] < enough else Tone.PLAIN),
            Text(f"{r_hat[k]:.3f}", Tone.ERROR if r_hat[k] > R_HAT else Tone.PLAIN),
        )
        for k, name in enumerate(names)
    )
    table = Table(rows, HEAD, "<>>>>>>>")
    return Stack((table, _line(f"and {more} more", Tone.QUIET))) if more else table


def _steps_sentence(result: SVIResult) -> str:
    if not result.num_steps:
        return "SVI was stopped before its first step."
    tail = result.losses[-min(100, result.num_steps) :]
    settled = "the loss has settled" if result.converged else "the loss has not settled"
    return f"{_count(result.num_steps, 'step')}, loss {float(tail.mean()):.4g}: {settled}."


def _steps(result: SVIResult, most: int) -> Part:
    parts: list[Part] = [_line(_steps_sentence(result))]
    parts += [_finding(finding) for finding in vi_findings(result)]
    parts.append(_sites(result, most) if result.sites else _params(result, most))
    return Stack(tuple(parts))


def _sites(result: SVIResult, most: int) -> Part:
    """The sites in draws of the guide; its own parameters are one call away."""
    numbers = [(n + row[0], row[1:]) for n, site in result.sites.items() for row in site.rows]
    rows = tuple(
        (Text(name, Tone.NAME), *(Text(f"{number:.3g}") for number in row))
        for name, row in numbers[:most]
    )
    note = "the guide's own parameters: result.parameters()"
    if len(numbers) > most:
        note = f"and {len(numbers) - most} more: result.summary({len(numbers)}); {note}"
    return Stack((Table(rows, HEAD[:5], "<>>>>"), _line(note, Tone.QUIET)))


def _params(result: SVIResult, most: int) -> Part:
    rows = []
    for name, value in list(result.params.items())[:most]:
        shown = torch.as_tensor(value).flatten()
        numbers = ", ".join(f"{float(number):.3g}" for number in shown[:4])
        dots = ", …" if len(shown) > 4 else ""
        rows.append((Text(name, Tone.NAME), Text(str(tuple(value.shape))), Text(numbers + dots)))
    return Table(tuple(rows), ("parameter", "shape", "values")) if rows else Stack(())


def vi_findings(result: SVIResult) -> tuple[Finding, ...]:
    """What speaks against a variational fit, as `findings` does for draws."""
    found = []
    if result.interrupted:
        found.append(
            Finding(
                "interrupted",
                f"the fit was stopped after {result.num_steps} steps",
                "The parameters are those reached; fit longer before trusting them",
            )
        )
    if not result.converged and result.num_steps:
        fact = (
            "the mean loss of the last 100 steps is not within 0.1 % of that of the 100 before, "
            "and the noise of the draws does not account for it"
        )
        if result.num_steps < 200:
            fact = f"{result.num_steps} steps are too few to tell: two times 100 are compared"
        found.append(
            Finding(
                "not-settled",
                fact,
                "Take more steps; if the loss jumps about, take more particles or a lower rate",
            )
        )
    return tuple(found)


def _finding(finding: Finding) -> Row:
    words = f"{finding.fact}. {finding.advice}."
    code = Text(f" {finding.code}", Tone.QUIET)
    return Row((Text(f"{finding.name}: ", Tone.WARNING), Text(words), code))


def _line(sentence: str, tone: Tone = Tone.PLAIN) -> Row:
    return Row((Text(sentence, tone),))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def problems(result: Any) -> Sequence[Finding]:
    """The findings about a result of either kind."""
    return result.warnings if isinstance(result, MCMCResult) else vi_findings(result)
