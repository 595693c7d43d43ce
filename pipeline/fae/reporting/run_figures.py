"""Draw the figures about runs: learning curves, and speeds."""

from collections.abc import Sequence

from fae.reporting.charts import Axis, Bar, Drawing, Point, Series, draw_bars, draw_lines
from fae.reporting.style import format_count
from fae.reporting.training import Run


def draw_runs(runs: Sequence[Run]) -> list[Drawing]:
    """Draw the runs' learning curves where they have several points, and their speeds."""
    drawings = []
    if any(run.curve.height > 1 for run in runs):
        series = [
            Series(run.label, _curve_points(run, "valid_auc"), index)
            for index, run in enumerate(runs)
        ]
        if any(line.points for line in series):
            drawings.append(_draw_learning("valid-auc", "AUC on valid", series, "AUC"))
        series = [
            Series(f"{run.label}, {split}", _curve_points(run, f"{split}_logloss"), style, width)
            for index, run in enumerate(runs)
            for split, style, width in (("train", index, 1), ("valid", index, 2.5))
        ]
        drawings.append(
            _draw_learning("log-loss", "Log loss", series, "log loss", _cut_high(series))
        )
    if len(runs) > 1:
        drawings.append(_draw_speeds(runs))
    return drawings


def _draw_learning(
    name: str,
    title: str,
    series: Sequence[Series],
    measure: str,
    domain: tuple[float, float] | None = None,
) -> Drawing:
    chart = draw_lines(
        Axis("samples trained", "count"), Axis(measure, "number", domain=domain), series, dots=True
    )
    last = ", ".join(f"{line.name} {line.points[-1].value}" for line in series if line.points)
    alt = f"Line chart of {measure} against samples trained, by run. At the end: {last}."
    return Drawing(name, title, alt, chart)


def _cut_high(series: Sequence[Series]) -> tuple[float, float]:
    """Return the ends of an axis on which losses of the first batches do not flatten the rest."""
    losses = sorted(point.y for line in series for point in line.points)
    least, middle, most = losses[0], losses[len(losses) // 2], losses[-1]
    room = max(middle - least, 0.02 * middle)
    return least - 0.3 * room, min(most + 0.1 * room, middle + 4 * room)


def _draw_speeds(runs: Sequence[Run]) -> Drawing:
    speeds = [run.metrics.samples_per_second for run in runs]
    labels = [format_count(round(speed)) for speed in speeds]
    bars = [
        Bar(run.label, "speed", speed, label, label)
        for run, speed, label in zip(runs, speeds, labels, strict=True)
    ]
    axis = Axis("samples a second", "count", domain=(0, max(speeds) * 1.2))
    numbers = ", ".join(f"{bar.row} {bar.value}" for bar in bars)
    alt = f"Bar chart of the samples that each run trains in a second: {numbers}."
    return Drawing("speeds", "Speed by run", alt, draw_bars(axis, bars, {"speed": "cold"}))


def _curve_points(run: Run, column: str) -> list[Point]:
    """Return the points of a run's curve where a measure is defined."""
    points = run.curve.select("samples", column).drop_nulls().rows()
    return [Point(at, value, format_count(at), f"{value:.4f}") for at, value in points]
