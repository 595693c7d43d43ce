"""Draw charts in Vega-Lite, with tooltips and zoom where they are live.

Colours are CSS variables of the page, so that one chart serves light, dark and print. Names from a
data set are values in a chart and never fields or expressions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fae.reporting.style import NO_BREAK_SPACE

#: The size of pictures; live charts are as wide as their place on the page.
_WIDTH, _HEIGHT, _BAR_STEP = 480, 230, 20
#: Series differ in dashes too, for print and for eyes that see no colour.
_DASHES = ((1, 0), (6, 2), (2, 2), (6, 2, 1, 2), (1, 1))
_WIDE_LEGEND, _LONG_LABEL = 420, 24

_BYTE_UNITS = ("TiB", 40), ("GiB", 30), ("MiB", 20), ("kiB", 10)
_BYTES = " : ".join(
    f"datum.value >= pow(2, {power}) ? format(datum.value / pow(2, {power}), '.3~r') + "
    f"'{NO_BREAK_SPACE}{unit}'"
    for unit, power in _BYTE_UNITS
)
#: How the labels of an axis are written, by what it counts; expressions of Vega.
_LABELS = {
    "bytes": f"{_BYTES} : format(datum.value, '.3~r') + '{NO_BREAK_SPACE}B'",
    "count": "format(datum.value, '.3~s')",
    "share": f"format(datum.value * 100, '.2~r') + '{NO_BREAK_SPACE}%'",
    "number": "format(datum.value, '.4~r')",
}
_CONFIG: dict[str, Any] = {
    "aria": False,
    "background": "transparent",
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--ink)", "titleColor": "var(--muted)", "gridColor": "var(--grid)",
        "domainColor": "var(--muted)", "tickColor": "var(--muted)", "labelFontSize": 12,
        "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 6, "labelLimit": 130,
        "labelOverlap": "greedy", "labelSeparation": 6,
    },
    "legend": {
        "orient": "bottom", "direction": "horizontal", "title": None, "symbolType": "stroke",
        "symbolSize": 350, "symbolStrokeWidth": 2.2, "labelColor": "var(--ink)", "offset": 12,
        "labelFontSize": 12, "labelLimit": 330, "rowPadding": 4, "columnPadding": 14,
    },
    "title": {"anchor": "start", "color": "var(--ink)", "fontSize": 14, "offset": 12},
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure; `alt` says in words what it shows.

    `chart` is its Vega-Lite specification without what makes it `live`.
    """

    name: str
    title: str
    alt: str
    chart: dict[str, Any]

    def to_live(self) -> dict[str, Any]:
        """Return the specification of a chart as wide as its place, with tooltips and zoom."""
        live = {**self.chart, "width": "container"}
        layers = [dict(layer) for layer in live["layer"]]
        main = layers[0]
        if main.pop("name", None) == "lines":
            main["params"] = [_ZOOM, _PICK]
            main["encoding"] = {**main["encoding"], "opacity": _PICKED}
            layers.append(_hover(main))
        return {**live, "layer": layers}


#: Plain scrolling and touches move the page; a pinch on a trackpad counts as Ctrl with the wheel.
_ZOOM = {
    "name": "zoom",
    "bind": "scales",
    "select": {
        "type": "interval",
        "encodings": ["x"],
        "zoom": "wheel![event.ctrlKey || event.metaKey]",
        "translate": "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > "
        "window:pointermove!",
    },
}
_PICK = {"name": "pick", "bind": "legend", "select": {"type": "point", "fields": ["line"]}}
_PICKED = {"condition": {"param": "pick", "value": 1}, "value": 0.15}


def _hover(lines: dict[str, Any]) -> dict[str, Any]:
    """Return the layer that shows the point of `lines` nearest to the pointer, with its tooltip."""
    encoding = {name: lines["encoding"][name] for name in ("x", "y", "color")}
    shown = {"condition": {"param": "near", "empty": False, "value": 1}, "value": 0}
    near = {"type": "point", "on": "pointerover", "nearest": True, "clear": "pointerout"}
    return {
        "data": lines["data"],
        "mark": {"type": "point", "filled": True, "size": 80},
        "params": [{"name": "near", "select": near}],
        "encoding": {**encoding, "opacity": shown, "tooltip": lines["encoding"]["tooltip"]},
    }


@dataclass(frozen=True)
class Axis:
    """An axis; `unit` is what it counts, a key of _LABELS, and `domain` its ends where fixed."""

    title: str
    unit: str
    logarithmic: bool = False
    domain: tuple[float, float] | None = None

    def encode(self, field: str) -> dict[str, Any]:
        """Return the encoding of a field of points on this axis."""
        scale: dict[str, Any] = {"nice": field == "y"}
        if self.logarithmic:
            scale |= {"type": "log", "base": 2 if self.unit == "bytes" else 10}
        else:
            scale["zero"] = False
        if self.domain:
            scale["domain"] = list(self.domain)
        label = _LABELS[self.unit]
        if in_tens := self.logarithmic and self.unit != "bytes":
            # Over more than a power of ten, only these have labels.
            label = (
                f"domain('{field}')[1] < 30 * domain('{field}')[0] || "
                f"abs(log(datum.value) / LN10 - round(log(datum.value) / LN10)) < 1e-6 ? "
                f"{label} : ''"
            )
        axis = {"title": self.title, "labelExpr": label, "tickCount": 5, "grid": not in_tens}
        return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}


@dataclass(frozen=True)
class Point:
    """A point of a line, and what its tooltip says of both."""

    x: float
    y: float
    at: str
    value: str


@dataclass(frozen=True)
class Series:
    """A named line of a chart; those of one `name` share its entry in the legend.

    `detail` is what the tooltip calls it, where that differs. `style` is its place among the
    series, in colours and dashes, or a colour for a solid line.
    """

    name: str
    points: Sequence[Point]
    style: int | str
    width: float = 2
    detail: str = ""


@dataclass(frozen=True)
class Mark:
    """A vertical line at `x`, or a large symbol where `y` is given."""

    name: str
    x: float
    style: str
    is_dashed: bool = False
    y: float | None = None
    at: str = ""
    value: str = ""


def draw_lines(
    x: Axis, y: Axis, series: Sequence[Series], marks: Sequence[Mark] = (), *, dots: bool = False
) -> dict[str, Any]:
    """Return a line chart; `dots` shows the points too."""
    looks = {one.name: _look(one.style) for one in series}
    for mark in marks:
        looks[mark.name] = (f"var(--{mark.style})", (3, 3) if mark.is_dashed else (1, 0))
    colours, dashes = (list(column) for column in zip(*looks.values(), strict=True))
    names, is_narrow = list(looks), max(map(len, looks)) > _LONG_LABEL
    legend = {"columns": 1 if is_narrow else {"signal": f"width < {_WIDE_LEGEND} ? 2 : 3"}}

    def scaled(looks: list[Any], **more: Any) -> dict[str, Any]:
        scale = {"domain": names, "range": looks}
        return {"field": "line", "type": "nominal", "scale": scale, **more}

    colour = scaled(colours, legend=legend)
    encoding = {
        "x": x.encode("x"), "y": y.encode("y"), "color": colour,
        "strokeDash": scaled(dashes, legend=legend),
        "strokeWidth": {"field": "width", "type": "quantitative", "scale": None},
        "detail": {"field": "series"},
        "tooltip": [
            {"field": "series", "title": " ", "type": "nominal"},
            {"field": "at", "title": x.title, "type": "nominal"},
            {"field": "value", "title": y.title, "type": "nominal"},
        ],
    }  # fmt: skip
    values = [
        {
            "width": one.width,
            "line": one.name, "series": one.detail or one.name,
            "x": _rounded(point.x), "y": _rounded(point.y), "at": point.at, "value": point.value,
        }
        for one in series for point in one.points
    ]  # fmt: skip
    line: dict[str, Any] = {"type": "line", "strokeJoin": "round"}
    if y.domain and any(point.y > y.domain[1] for one in series for point in one.points):
        line["clip"] = True
    if dots:
        line["point"] = {"filled": True, "size": 40}
    layers = [{"name": "lines", "data": {"name": "points"}, "mark": line, "encoding": encoding}]
    for mark in marks:
        place = {"line": mark.name, "series": mark.name, "x": _rounded(mark.x)}
        shared = {name: encoding[name] for name in ("x", "color", "strokeDash")}
        if mark.y is None:
            kind: dict[str, Any] = {"type": "rule", "strokeWidth": 1.5}
        else:
            place |= {"y": _rounded(mark.y), "at": mark.at, "value": mark.value}
            shared |= {"y": encoding["y"], "tooltip": encoding["tooltip"]}
            kind = {"type": "point", "shape": "diamond", "filled": True, "size": 220, "opacity": 1}
        layers.append({"data": {"values": [place]}, "mark": kind, "encoding": shared})
    return {**_chart(layers, _HEIGHT), "datasets": {"points": values}}


@dataclass(frozen=True)
class Bar:
    """One bar, or one dot, of a row of a chart; `label` stands at its end."""

    row: str
    name: str
    length: float
    value: str
    label: str = ""


def draw_bars(
    x: Axis, bars: Sequence[Bar], styles: dict[str, str], how: str = "stacked"
) -> dict[str, Any]:
    """Return a chart of horizontal bars, coloured by name.

    `how` says where the bars of one row go: `stacked`, `grouped` (below each other), or `dots`
    (no bars, but dots on one line). `x` needs a domain, which leaves room for labels.
    """
    assert x.domain
    values = [
        {
            "row": bar.row, "name": bar.name, "x": _rounded(bar.length), "value": bar.value,
            "label": bar.label, "place": list(styles).index(bar.name),
        }
        for bar in bars
    ]  # fmt: skip
    horizontal = x.encode("x")
    ticks = [tick for tick in (0, 0.25, 0.5, 0.75, 1) if x.unit == "share" and x.domain[1] >= 1]
    if ticks:
        horizontal["axis"] |= {"values": ticks}
    colours = {"domain": list(styles), "range": [f"var(--{style})" for style in styles.values()]}
    names = {"field": "name", "type": "nominal"}
    is_dots = how == "dots"
    legend = {"symbolType": "circle" if is_dots else "square", "symbolSize": 110}
    axis = {
        "title": None, "ticks": False, "domain": False, "labelPadding": 6, "labelOverlap": False,
    }  # fmt: skip
    encoding: dict[str, Any] = {
        "y": {"field": "row", "type": "nominal", "sort": None, "axis": axis},
        "x": {**horizontal, "stack": "zero" if how == "stacked" else None},
        "color": {**names, "scale": colours, "legend": legend if len(styles) > 1 else None},
        "order": {"field": "place"},
        "tooltip": [
            {"field": "row", "title": " ", "type": "nominal"},
            {"field": "name", "title": " ", "type": "nominal"},
            {"field": "value", "title": x.title, "type": "nominal"},
        ],
    }
    if how == "grouped":
        encoding["yOffset"] = {**names, "sort": None, "scale": {"domain": list(styles)}}
    if is_dots:
        encoding["shape"] = {**names, "scale": {"domain": list(styles)}, "legend": legend}
    mark = {"type": "point", "size": 70, "strokeWidth": 2} if is_dots else {"type": "bar"}
    data = {"values": values}
    layers: list[dict[str, Any]] = [{"data": data, "mark": mark, "encoding": encoding}]
    if any(bar.label for bar in bars):
        text = {"type": "text", "align": "left", "dx": 5, "fontSize": 12, "fill": "var(--ink)"}
        shown: dict[str, Any] = {key: encoding[key] for key in ("y", "x")}
        if how == "grouped":
            shown["yOffset"] = encoding["yOffset"]
        if how == "stacked":
            shown["detail"] = names
        shown["text"] = {"field": "label", "type": "nominal"}
        layers.append({"data": data, "mark": text, "encoding": shown})
    step = 1.6 * _BAR_STEP if how == "grouped" else _BAR_STEP
    return _chart(layers, step * len({bar.row for bar in bars}))


def _chart(layers: list[dict[str, Any]], height: float) -> dict[str, Any]:
    return {"width": _WIDTH, "height": height, "config": _CONFIG, "layer": layers}


def _look(style: int | str) -> tuple[str, tuple[int, ...]]:
    """Return a series' colour and dashes."""
    if isinstance(style, str):
        return f"var(--{style})", (1, 0)
    return f"var(--series-{style % len(_DASHES) + 1})", _DASHES[style % len(_DASHES)]


def _rounded(number: float) -> float:
    """Return a number as short as a screen can show it."""
    return float(f"{number:.6g}")
