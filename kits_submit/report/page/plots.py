"""Plots as SVG that take the page's colours: a dot a case, told by its title and linked to its pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kits_submit.report.page.cohort import Cohort, Column, Entry
from kits_submit.report.page.html import esc

STAGES_MM = (("T1a", 0.0), ("T1b", 40.0), ("T2", 70.0))  # largest diameter: TNM's 4 and 7 cm


@dataclass(frozen=True)
class Dot:
    """A case at (x, y), with the words that its title has and the place that it links to."""

    x: float
    y: float
    title: str
    link: str = ""


@dataclass(frozen=True)
class Frame:
    """A plot's axes: data ranges, and pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 380
    height: int = 250
    left: int = 52
    bottom: int = 38

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return self.left + across * (self.width - self.left - 12), (self.height - self.bottom) * (1 - up) + 14 * up


def distribution(cohort: Cohort, column: Column) -> str:
    """One score's values, and the mean with its interval."""
    known = [(entry, value) for entry in cohort.entries if (value := _value(entry, column.key)) is not None]
    if not known:
        return ""
    values = [value for _, value in known]
    span = (min(0.0, *values), 1.0) if column.worse == -1 and max(values) <= 1 else _padded(values)
    frame = Frame(span, (0, 1), 300, 108, 14, 30)
    dots = [
        Dot(value, 0.25 + 0.5 * ((number * 0.618) % 1), f"{entry.case}: {column.shown(value)}", entry.link)
        for number, (entry, value) in enumerate(known)
    ]
    marks, told = "", f"{len(known)} cases"
    interval = cohort.intervals.get(column.key)
    if interval is not None:
        mean = frame.at(interval.mean, 0)[0]
        marks = f'<line class="mean" x1="{mean:.1f}" x2="{mean:.1f}" y1="14" y2="78"/>'
        told = f"mean {column.shown(interval.mean)}"
        if interval.ci95 is not None:
            low, high = (frame.at(bound, 0)[0] for bound in interval.ci95)
            marks = f'<rect class="band" x="{low:.1f}" width="{max(high - low, 1):.1f}" y="14" height="64"/>' + marks
            told += f" ({column.shown(interval.ci95[0])} to {column.shown(interval.ci95[1])}), n = {interval.n}"
    return _figure(f"{column.label}: {told}", frame, marks + _dots(frame, dots) + _ticks(frame, y=False))


def bland_altman(cohort: Cohort, name: str, predicted: str, true: str) -> str:
    """Predicted minus true volume against their mean, with the mean difference and where 95 % lie."""
    pairs = [(entry, _value(entry, predicted), _value(entry, true)) for entry in cohort.entries]
    known = [(entry, p, t) for entry, p, t in pairs if p is not None and t is not None]
    if len(known) < 2:
        return ""
    differences = np.array([p - t for _, p, t in known])
    middle, spread = float(differences.mean()), 1.96 * float(differences.std(ddof=1))
    dots = [
        Dot((p + t) / 2, p - t, f"{entry.case}: predicted {p:.1f} mL, true {t:.1f} mL", entry.link)
        for entry, p, t in known
    ]
    frame = Frame(_padded([0.0, *(d.x for d in dots)]), _padded([0, middle - spread, middle + spread, *differences]))
    marks = _level(frame, 0, "zero")
    for value, words in ((middle, f"mean {middle:+.1f}"), (middle - spread, ""), (middle + spread, "")):
        marks += _level(frame, value, "mean" if words else "limit", words or f"{value:+.1f}")
    title = f"{name} volume, predicted minus true (mL), against their mean (mL); mean and 95 % limits of agreement"
    return _figure(title, frame, marks + _dots(frame, dots) + _ticks(frame))


def against_size(cohort: Cohort, score: Column) -> str:
    """A score against the largest true tumor's diameter, the stages that it gives marked."""
    pairs = [(entry, _value(entry, cohort.size_key), _value(entry, score.key)) for entry in cohort.entries]
    dots = [
        Dot(mm, value, f"{entry.case}: {mm:.0f} mm, {score.label} {score.shown(value)}", entry.link)
        for entry, mm, value in pairs
        if mm is not None and value is not None
    ]
    if not dots:
        return ""
    frame = Frame((0, max(80.0, *(dot.x * 1.08 for dot in dots))), (0, 1))
    marks = ""
    for name, least in STAGES_MM:
        x, top = frame.at(least, 1)
        marks += f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{frame.height - frame.bottom}"/>'
        marks += f'<text x="{x + 4:.1f}" y="12">{name}</text>'
    title = f"{score.label} against the largest true tumor's diameter (mm)"
    return _figure(title, frame, marks + _dots(frame, dots) + _ticks(frame))


def differences(label: str, dots: Sequence[Dot], mean: float, ci95: tuple[float, float] | None, told: str) -> str:
    """Paired differences of one score: a dot a case, the mean with its interval, and zero."""
    reach = max([abs(dot.x) for dot in dots] + [abs(bound) for bound in ci95 or (0.0,)] + [1e-6]) * 1.1
    frame = Frame((-reach, reach), (0, 1), 300, 108, 14, 30)
    zero, at = frame.at(0, 0)[0], frame.at(mean, 0)[0]
    marks = f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="14" y2="78"/>'
    if ci95 is not None:
        low, high = (frame.at(bound, 0)[0] for bound in ci95)
        marks += f'<rect class="band" x="{low:.1f}" width="{max(high - low, 1):.1f}" y="14" height="64"/>'
    marks += f'<line class="mean" x1="{at:.1f}" x2="{at:.1f}" y1="14" y2="78"/>'
    return _figure(f"{label}: {told}", frame, marks + _dots(frame, dots) + _ticks(frame, y=False))


def ranks(places: Sequence[tuple[str, int, tuple[int, int]]]) -> str:
    """Each submission's rank, and the interval of it when cases are drawn again."""
    height = 44 + 26 * len(places)
    frame = Frame((0.5, len(places) + 0.5), (0, 1), 560, height, 200, 30)
    marks = ""
    for number, (name, rank, (low, high)) in enumerate(places):
        y = 20 + 26 * number
        start, end, at = (frame.at(value, 0)[0] for value in (low, high, rank))
        marks += f'<text x="190" y="{y + 4}" text-anchor="end">{esc(name[:28])}</text>'
        marks += f'<line class="span" x1="{start - 4:.1f}" x2="{end + 4:.1f}" y1="{y}" y2="{y}"/>'
        marks += f'<circle class="dot" cx="{at:.1f}" cy="{y}" r="6"><title>{esc(name)}: rank {rank}</title></circle>'
    for rank in range(1, len(places) + 1):
        marks += f'<text x="{frame.at(rank, 0)[0]:.1f}" y="{height - 10}" text-anchor="middle">{rank}</text>'
    return _figure("Rank, and where 95 % of it lie when cases are drawn again", frame, marks)


def curves(title: str, lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> str:
    """Lines by name, of x and y."""
    every_x = [x for _, xs, _ in lines for x in xs]
    every_y = [y for _, _, ys in lines for y in ys if math.isfinite(y)]
    if not every_x or not every_y:
        return ""
    frame = Frame((min(every_x), max(every_x)), _padded([0.0, *every_y]))
    marks = ""
    for number, (name, xs, ys) in enumerate(lines):
        at = [frame.at(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        if not at:
            continue
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        marks += f'<polyline class="line line{number % 4}" points="{points}"/>'
        at_words = f'x="{frame.width - 14}" y="{24 + 16 * number}" text-anchor="end"'
        marks += f'<text class="line{number % 4}" {at_words}>{esc(name)}</text>'
    return _figure(title, frame, marks + _ticks(frame))


def _value(entry: Entry, key: str) -> float | None:
    value = entry.values.get(key)
    return value if value is not None and math.isfinite(value) else None


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = float(min(values)), float(max(values))
    room = (high - low) * 0.06 or 1.0
    return (low if low == 0 else low - room), high + room


def _dots(frame: Frame, dots: Sequence[Dot]) -> str:
    drawn = ""
    for dot in dots:
        x, y = frame.at(dot.x, dot.y)
        circle = f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{esc(dot.title)}</title></circle>'
        drawn += f'<a href="{esc(dot.link)}" aria-label="{esc(dot.title)}">{circle}</a>' if dot.link else circle
    return drawn


def _level(frame: Frame, value: float, kind: str, words: str = "") -> str:
    y = frame.at(frame.x[0], value)[1]
    line = f'<line class="{kind}" x1="{frame.left}" x2="{frame.width - 12}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + (f'<text x="{frame.width - 14}" y="{y - 4:.1f}" text-anchor="end">{words}</text>' if words else "")


def _ticks(frame: Frame, *, y: bool = True) -> str:
    drawn = ""
    base = frame.height - frame.bottom
    for value in _round_numbers(*frame.x):
        at = frame.at(value, frame.y[0])[0]
        drawn += f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base + 4}"/>'
        drawn += f'<text x="{at:.1f}" y="{base + 18}" text-anchor="middle">{value:g}</text>'
    for value in _round_numbers(*frame.y) if y else ():
        at = frame.at(frame.x[0], value)[1]
        drawn += f'<text x="{frame.left - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>'
    drawn += f'<line class="axis" x1="{frame.left}" x2="{frame.width - 12}" y1="{base}" y2="{base}"/>'
    return drawn


def _round_numbers(low: float, high: float) -> list[float]:
    """About five of 1, 2, 2.5 or 5 times a power of ten between two numbers."""
    rough = (high - low) / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [round(n * step, 10) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _figure(title: str, frame: Frame, inner: str) -> str:
    size = f'viewBox="0 0 {frame.width} {frame.height}" width="{frame.width}" height="{frame.height}"'
    drawn = f'<svg {size} role="group" aria-label="{esc(title)}">{inner}</svg>'
    return f'<figure class="plot">{drawn}<figcaption>{esc(title)}</figcaption></figure>\n'
