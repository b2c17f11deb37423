"""A recording as one picture: sockets by state over time, a row for each leg, all on the same axes; errors
and latency percentiles beside them.

Its title is what was found, and each state's name and last number stand where its band ends, in its colour:
nobody has to look for a legend. Colours are of Okabe and Ito's set, which nobody confuses, and what is bad or
good is said in words as well.

matplotlib draws it, and comes with `pip install 'muxproxy[incident]'`: a node needs no pictures.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from muxproxy.incident.record import TIME_WAIT, Leg, Recording, Sample, count, duration

INSTALL = "pip install 'muxproxy[incident]'   (from the sources: pip install '.[incident]')"
ORDER = ("ESTABLISHED", "opening", "closing", TIME_WAIT)  # from the bottom
_OPENING = ("SYN_SENT", "SYN_RECV")
_COLOURS = {"ESTABLISHED": "#4d9fd1", "opening": "#cc79a7", "closing": "#999999", TIME_WAIT: "#d55e00"}
_NAMES = {"ESTABLISHED": "ESTABLISHED", "opening": "SYN_SENT", "closing": "closing", TIME_WAIT: "TIME_WAIT"}
_WORDS_IN = {"ESTABLISHED": "#0067a3", "opening": "#a3517e", "closing": "#66727f", TIME_WAIT: "#b44a00"}
_BAD, _GOOD, _INK, _DIM = "#b23b00", "#00735c", "#1f2933", "#66727f"
_PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "boxstyle": "round,pad=0.3"}
_LARGE = 18
_WIDTH = 12.0  # inches
_ROW = 2.35
_WORDS = 205  # characters of a line of notes


Limit = tuple[int, str] | None


def is_possible() -> bool:
    try:
        import matplotlib  # noqa: F401  # a second: only who draws waits for it
    except ImportError:
        return False
    return True


def grouped(sample: Sample) -> dict[str, int]:
    """The client's host's sockets, by what they mean to whoever looks."""
    groups = dict.fromkeys(ORDER, 0)
    for state, number in sample.client.items():
        name = state if state in groups else "opening" if state in _OPENING else "closing"
        groups[name] += number
    return groups


def draw(recording: Recording, finding: str, headlines: dict[str, str], limit: Limit, stem: Path) -> None:
    """STEM.png and STEM.svg. `finding`: the title; `headlines`: what is written into each leg's field;
    `limit`: a line across."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": recording.name, "font.size": 10, "text.color": _INK})
    rows = len(recording.legs)
    notes = _notes(recording)
    below = 0.55 + 0.17 * len(notes)
    height = 1.25 + _ROW * rows + below
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    grid = figure.add_gridspec(
        rows,
        2,
        width_ratios=(3.0, 1),
        left=0.105,
        right=0.985,
        top=1 - 1.25 / height,
        bottom=below / height,
        hspace=0.42,
        wspace=0.42,  # where bands have their names
    )
    figure.text(0.02, 1 - 0.38 / height, finding, size=15.5, weight="bold", va="center")
    figure.text(0.02, 1 - 0.7 / height, recording.story, size=10.5, color=_DIM, va="center")
    own = [sample.app for leg in recording.legs if leg.bound for sample in leg.samples]
    top = 1.17 * max([leg.most_in_all for leg in recording.legs] + own) or 1
    if limit is not None and 0.3 * top < limit[0]:
        top = max(top, 1.17 * limit[0])
    until = max(sample.at for leg in recording.legs for sample in leg.samples)
    scale = _times(recording)
    for row, leg in enumerate(recording.legs):
        field = figure.add_subplot(grid[row, 0])
        _sockets(field, leg, top, until, headlines[leg.name], limit)
        _score(figure.add_subplot(grid[row, 1]), leg, scale)
        if row < rows - 1:
            field.tick_params(labelbottom=False)
        else:
            field.set_xlabel("seconds", color=_DIM, loc="right", labelpad=2)
    for number, line in enumerate(notes):
        figure.text(
            0.02, (0.17 * (len(notes) - number) - 0.05) / height, line, size=7.5, color=_DIM, va="center"
        )
    for suffix, more in ((".png", {"dpi": 110}), (".svg", {"metadata": {"Date": None}})):
        figure.savefig(stem.with_suffix(suffix), **more)


def _sockets(
    field: Any, leg: Leg, top: float, until: float, headline: str, limit: tuple[int, str] | None
) -> None:
    times = [sample.at for sample in leg.samples]
    groups = [grouped(sample) for sample in leg.samples]
    field.stackplot(
        times,
        *([group[name] for group in groups] for name in ORDER),
        colors=[_COLOURS[name] for name in ORDER],
        linewidth=0,
    )
    field.set_xlim(0, until)
    field.set_ylim(0, top)
    field.yaxis.set_major_locator(_locator())
    highest = max(tick for tick in field.get_yticks() if tick <= top)
    unit = {highest: " sockets"}
    field.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}{unit.get(value, '')}")
    _name_bands(field, groups[-1], times[-1], top, until)
    field.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    field.set_axisbelow(True)
    field.tick_params(colors=_DIM, length=0)
    for side in ("top", "right", "left"):
        field.spines[side].set_visible(False)
    is_cure = leg.bound is not None
    colour = _GOOD if is_cure else _BAD if leg.name == "direct" else _INK
    if is_cure:
        _own(field, leg, top, until)
    title = field.text(0, 1.045, leg.title, transform=field.transAxes, size=12, weight="bold", color=colour)
    behind = {"xycoords": title, "xytext": (8, 2), "textcoords": "offset points"}
    field.annotate(leg.how, xy=(1, 0), size=9.5, color=_DIM, **behind)
    if limit is not None:
        field.axhline(limit[0], color=_INK, linewidth=0.8, linestyle=(0, (4, 3)))
        if not is_cure and leg.most_in_all > 0.5 * limit[0]:
            field.text(0.008 * until, limit[0], limit[1], size=8.5, va="bottom", color=_INK)
    began = leg.first_error
    if began is not None:
        field.axvspan(began, leg.samples[-1].at, color=_BAD, alpha=0.10, linewidth=0)
        field.axvline(began, color=_BAD, linewidth=1)
        field.text(began + 0.006 * until, 0.985 * top, "errors from here", size=8.5, color=_BAD, va="top")
    _headline(field, leg, headline, colour, top, until)


def _name_bands(field: Any, last: dict[str, int], at: float, top: float, until: float) -> None:
    """Beside the end of each, from the bottom; who is thin is moved up until it can be read."""
    below, least = 0.0, 0.0
    for name in ORDER:
        number = last[name]
        if number < 0.001 * top and number < max(last.values()):
            continue  # nothing is seen of it: our own question whether the server accepts
        y = max(below + number / 2, least + 0.02 * top)
        said = f"{_NAMES[name]} {number:,}"
        field.text(max(at, until) * 1.012, y, said, size=9, color=_WORDS_IN[name], va="center")
        below, least = below + number, y + 0.085 * top


def _own(field: Any, leg: Leg, top: float, until: float) -> None:
    """What the client's pools still open: to muxproxy, on its own host. It is no secret."""
    numbers = [sample.app for sample in leg.samples]
    field.plot([sample.at for sample in leg.samples], numbers, color=_DIM, linewidth=1, linestyle=(0, (1, 2)))
    at = min(max(numbers), 0.97 * top) + 0.02 * top
    said = f"the app's own connections, to muxproxy beside it: {max(numbers):,}"
    field.text(0.99 * until, at, said, size=8.5, color=_DIM, ha="right", va="bottom")


def _headline(field: Any, leg: Leg, headline: str, colour: str, top: float, until: float) -> None:
    """In the middle of the field where it is empty, with an arrow to what there is to see."""
    highest = leg.most_in_all
    if highest < 0.45 * top:
        field.annotate(
            headline,
            xy=(0.55 * until, highest + 0.01 * top),  # in the clear of what rises at the beginning
            xytext=(0.55 * until, 0.55 * top),
            ha="center",
            va="center",
            size=_LARGE,
            weight="bold",
            color=colour,
            bbox=_PLATE,
            arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 14},
        )
        return
    field.text(
        0.55 * leg.samples[-1].at,
        0.42 * top,
        headline,
        ha="center",
        va="center",
        size=_LARGE,
        weight="bold",
        color=colour,
        bbox=_PLATE,
    )


def _score(field: Any, leg: Leg, scale: tuple[float, float]) -> None:
    """Errors as a number, latencies as bars on one logarithmic axis, and what else is worth a line."""
    field.set_xscale("log")
    field.set_xlim(*scale)
    field.set_ylim(0, 1)
    field.axis("off")
    colour = _BAD if leg.failed else _GOOD if leg.bound is not None else _INK
    at = field.transAxes
    field.text(
        0, 0.97, count(leg.failed, "error"), transform=at, size=17, weight="bold", color=colour, va="top"
    )
    named = next(iter(leg.errors), "")
    said = textwrap.shorten(named.rpartition("connect: ")[2], 44) if named else f"{leg.requests:,} answered"
    field.text(0, 0.77, said, transform=at, size=9.5, color=colour if named else _DIM, va="top")
    field.text(0, 0.6, "how long a request took (log scale)", transform=at, size=7.5, color=_DIM, va="center")
    for number, name in enumerate(name for name in ("p50", "p99", "max") if name in leg.latency):
        y, took = 0.48 - 0.14 * number, leg.latency[name]
        field.barh(y, took - scale[0], left=scale[0], height=0.1, color="#b8c4d0")
        field.text(
            -0.02,
            y,
            name,
            transform=field.get_yaxis_transform(),
            size=8.5,
            color=_DIM,
            ha="right",
            va="center",
        )
        field.text(took * 1.08, y, duration(took), size=8.5, color=_INK, va="center")
    field.text(0, 0.0, "\n".join(leg.facts), transform=at, size=9, color=_INK, va="top")


def _times(recording: Recording) -> tuple[float, float]:
    took = [value for leg in recording.legs for value in leg.latency.values() if value > 0]
    return (0.5 * min(took, default=1e-3), 8 * max(took, default=1.0))


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, integer=True, prune="upper")


def _notes(recording: Recording) -> list[str]:
    settings = ", ".join(f"{name} = {value}" for name, value in recording.settings.items())
    machine = ", ".join(f"{name}: {value}" for name, value in recording.machine.items())
    text = ["; ".join([*recording.notes, settings]), f"{recording.size} replay; {machine}"]
    return [line for each in text for line in textwrap.wrap(each, _WORDS)]
