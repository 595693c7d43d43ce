"""Draw the pictures of method.md, from small examples that are computed and from RESULTS.md.

    python docs/pictures/draw.py

Each is 480 units wide, so that its text can be read on a phone, and follows the reader's light or
dark setting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER.parents[1] / "benchmarks" / "RESULTS.md"
WIDTH = 480
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2933 }
.small { font-size: 12px } .bold { font-weight: 600 } .faint { fill: #52606d }
.hot { fill: #d9480f } .cold { fill: #3b6fb6 } .gone { fill: #cbd2d9 } .new { fill: #7b4f9d }
.on { fill: #ffffff } .box { fill: #e4e7eb }
.line { stroke: #52606d; stroke-width: 1.5; fill: none }
.hotline { stroke: #d9480f; stroke-width: 2.5; fill: none }
.coldline { stroke: #3b6fb6; stroke-width: 2.5; fill: none }
.dash { stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
text { fill: #e4e7eb } .faint { fill: #9aa5b1 } .gone { fill: #4b5563 } .on { fill: #ffffff }
.hot { fill: #f0723a } .cold { fill: #5f93d8 } .new { fill: #a67cc7 } .box { fill: #3e4c59 }
.line { stroke: #9aa5b1 } .hotline { stroke: #f0723a } .coldline { stroke: #5f93d8 }
}
"""


def text(x: float, y: float, words: str, classes: str = "", anchor: str = "start") -> str:
    """Return a line of text whose baseline is at y."""
    place = f'x="{x:g}" y="{y:g}" class="{classes}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(words)}</text>"


def box(x: float, y: float, width: float, height: float, classes: str, radius: float = 4) -> str:
    """Return a rectangle with round corners."""
    size = f'width="{width:g}" height="{height:g}" rx="{radius:g}"'
    return f'<rect x="{x:g}" y="{y:g}" {size} class="{classes}"/>'


def line(points: Sequence[tuple[float, float]], classes: str = "line", arrow: bool = False) -> str:
    """Return a line through points, with a head at its end if it is an arrow."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    head = ' marker-end="url(#head)"' if arrow else ""
    return f'<polyline points="{path}" class="{classes}"{head}/>'


def picture(height: float, title: str, parts: Sequence[str]) -> str:
    """Return an SVG document."""
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" class="faint"/></marker>'
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f"<defs>{head}</defs>",
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


# ── The hot set ──────────────────────────────────────────────────────────────────────────────────


def draw_hot_set() -> str:
    """Draw accesses by row, most first, and the rows that a budget buys."""
    accesses = [1000 / rank**1.1 for rank in range(1, 49)]
    bought = 8
    share = sum(accesses[:bought]) / sum(accesses)
    parts = [text(0, 16, "accesses", "small faint")]
    for rank, count in enumerate(accesses):
        height = max(count / 1000 * 170, 2)
        parts.append(box(rank * 10, 200 - height, 8, height, "hot" if rank < bought else "cold", 1))
    edge = bought * 10 - 1
    parts += [
        line([(edge, 30), (edge, 215)], "line dash"),
        text(edge + 8, 42, "the byte budget ends here", "small"),
        text(0, 232, "hot", "bold"),
        text(edge + 8, 232, "cold: the other 40 rows of this table", "bold"),
        text(
            edge + 8,
            64,
            f"{bought} of {len(accesses)} rows serve {share:.0%} of the accesses",
            "small",
        ),
        text(0, 252, "rows of an embedding table, the most accessed first", "small faint"),
    ]
    return picture(258, "A few rows of an embedding table serve most of its accesses.", parts)


# ── Hot samples and the three shares ─────────────────────────────────────────────────────────────

#: The rows of two tables that samples access; None is a value that training did not have.
TRAIN = [(1, 1), (1, 2), (2, 1), (1, 7), (2, 2), (8, 1), (1, 1), (9, 6)]
HELD_OUT = [(1, 1), (None, 2), (1, 8), (2, None), (None, None), (2, 1), (7, None), (1, 2)]
LAST_HOT_ROW = 3


def is_hot_row(row: int | None) -> bool:
    """Return whether a row is hot: the first few, and row 0 for values without one."""
    return row is None or row <= LAST_HOT_ROW


def draw_shares() -> str:
    """Draw samples as pairs of rows, and which of them each of the three shares counts."""
    known = [sample for sample in HELD_OUT if None not in sample]
    groups = {"train": TRAIN, "held out": HELD_OUT, "known": known}
    parts = []
    for column, (name, samples) in enumerate(groups.items()):
        x = column * 165
        hot = [all(map(is_hot_row, sample)) for sample in samples]
        parts.append(text(x, 16, name, "bold"))
        parts.append(
            text(x, 36, f"{sum(hot)} of {len(hot)}: {sum(hot) / len(hot):.0%} hot", "small")
        )
        for i, (sample, whole) in enumerate(zip(samples, hot, strict=True)):
            y = 50 + i * 26
            if whole:
                parts.append(box(x, y - 3, 78, 24, "box"))
            for t, row in enumerate(sample):
                kind = "new" if row is None else "hot" if is_hot_row(row) else "cold"
                parts.append(box(x + 5 + t * 36, y, 32, 18, kind, 3))
                label = "0" if row is None else str(row)
                parts.append(text(x + 21 + t * 36, y + 14, label, "small on", "middle"))
    y = 276
    for x, kind, words in ((0, "hot", "hot row"), (90, "cold", "cold row"), (190, "new", "row 0")):
        parts += [box(x, y - 11, 14, 14, kind, 3), text(x + 20, y, words, "small")]
    parts.append(text(262, y, "(a value new to training)", "small faint"))
    parts += [box(0, y + 10, 14, 14, "box", 3)]
    parts.append(text(20, y + 21, "a hot sample: all of its rows are hot", "small"))
    return picture(304, "The hot share of train, held-out and known samples differs.", parts)


# ── Peeling and the bound ────────────────────────────────────────────────────────────────────────

ROWS = "abcdefgh"
SAMPLES = ["ab", "abc", "abc", "de", "df", "dg", "dh"]
BUDGET = 3


def peel(loads: dict[str, float]) -> tuple[list[str], dict[str, int]]:
    """Remove rows in turn, of least live samples and load; return the order and the charges."""
    rows, live, order, charges = list(ROWS), list(SAMPLES), [], dict.fromkeys(ROWS, 0)
    while rows:
        worth = {row: sum(row in sample for sample in live) + loads[row] for row in rows}
        # of equals the last letter, so that the picture's removals read from right to left
        row = min(reversed(rows), key=lambda row: worth[row])
        charges[row] = sum(row in sample for sample in live)
        live = [sample for sample in live if row not in sample]
        rows.remove(row)
        order.append(row)
    return order, charges


def count_hot(rows: Sequence[str]) -> int:
    """Return how many samples have all their rows among `rows`."""
    return sum(set(sample) <= set(rows) for sample in SAMPLES)


def draw_grid(x: float, y: float, title: str, kept: Sequence[str], words: str) -> list[str]:
    """Draw samples (lines) by rows (columns), without the rows that are not kept."""
    parts = [text(x, y, title, "bold")]
    for c, row in enumerate(ROWS):
        classes = "small" if row in kept else "small faint"
        parts.append(text(x + 9 + c * 24, y + 22, row, classes, "middle"))
    for s, sample in enumerate(SAMPLES):
        top = y + 30 + s * 18
        lives = set(sample) <= set(kept)
        if lives:
            parts.append(box(x - 4, top - 2, 196, 18, "box", 3))
        for c, row in enumerate(ROWS):
            if row in sample:
                kind = "gone" if row not in kept else "hot" if lives else "cold"
                parts.append(box(x + c * 24, top, 18, 14, kind, 2))
    parts.append(text(x, y + 174, words, "small"))
    return parts


def draw_peeling() -> str:
    """Draw the passes of peeling on an example, and what the most accessed rows would give."""
    order, _ = peel(dict.fromkeys(ROWS, 0.0))
    kept = [sorted(set(ROWS) - set(order[:steps])) for steps in (0, 4, 5)]
    most = sorted(ROWS, key=lambda row: -sum(row in sample for sample in SAMPLES))[:BUDGET]
    dropped = ", ".join(sorted(order[:4]))
    parts = [
        *draw_grid(6, 16, "1. All rows are hot.", kept[0], f"{count_hot(kept[0])} samples are hot"),
        *draw_grid(256, 16, f"2. Drop {dropped}.", kept[1], "with each of them, a sample goes"),
        *draw_grid(
            6,
            222,
            f"3. Drop {order[4]}: it is free.",
            kept[2],
            f"{BUDGET} rows, {count_hot(kept[2])} hot samples",
        ),
        *draw_grid(
            256, 222, "For comparison", most, f"most accessed: {BUDGET} rows, {count_hot(most)} hot"
        ),
    ]
    return picture(404, "Peeling removes the row that the fewest hot samples need.", parts)


def draw_charges() -> str:
    """Draw each row's charges after one pass and after many, and the bound that they prove."""
    loads = dict.fromkeys(ROWS, 0.0)
    panels = []
    for number in range(1, 201):
        _, charges = peel(loads)
        loads = {row: loads[row] + charges[row] for row in ROWS}
        if number in (1, 200):
            mean = {row: loads[row] / number for row in ROWS}
            panels.append((number, sorted(mean.items(), key=lambda item: -item[1])))
    reached = count_hot(peel(dict.fromkeys(ROWS, 0.0))[0][-BUDGET:])
    parts = []
    for panel, (number, ranked) in enumerate(panels):
        x = panel * 250
        bound = sum(load for _, load in ranked[:BUDGET])
        parts.append(
            text(x, 16, "after 1 pass" if number == 1 else f"after {number} passes", "bold")
        )
        for i, (row, load) in enumerate(ranked):
            height = max(load * 50, 1)
            parts.append(
                box(x + i * 27, 150 - height, 20, height, "hot" if i < BUDGET else "cold", 2)
            )
            parts.append(text(x + 10 + i * 27, 168, row, "small", "middle"))
        edge = x + BUDGET * 27 - 3.5
        parts.append(line([(edge, 30), (edge, 174)], "line dash"))
        parts.append(text(edge + 8, 40, f"the {BUDGET} highest: {bound:.2f}", "small"))
        parts.append(text(edge + 8, 58, f"reached: {reached}", "small"))
    parts.append(text(0, 196, "samples charged to each row, the most charged first", "small faint"))
    return picture(202, "Charges to rows bound what any hot set can reach.", parts)


def read_hot_shares(log: str) -> list[tuple[float, float, float, float]]:
    """Return (share of bytes, inputs, accesses, bound) of a log in RESULTS.md's first table."""
    shares, here = [], False
    section = RESULTS.read_text(encoding="utf-8").split("## Hot share by rule")[1].split("\n## ")[0]
    for row in section.splitlines():
        cells = [cell.strip(" *") for cell in row.split("|")[1:-1]]
        if len(cells) == 8 and cells[1].endswith("%"):
            here = cells[0] == log if cells[0] else here
            if here:
                inputs, accesses, bound = (float(cells[i]) for i in (2, 3, 6))
                shares.append((float(cells[1].rstrip(" %")) / 100, inputs, accesses, bound))
    return shares


def draw_bound() -> str:
    """Draw the hot share of train against the budget, by rule, below the bound."""
    shares = read_hot_shares("Criteo, real")

    def at(budget: float, share: float) -> tuple[float, float]:
        return 40 + budget / 0.4 * 330, 240 - share / 0.7 * 210

    parts = []
    for share in (0.0, 0.2, 0.4, 0.6):
        x, y = at(0, share)
        parts += [
            line([(x, y), (x + 330, y)], "line dash"),
            text(x - 6, y + 4, f"{share:.0%}", "small", "end"),
        ]
    for budget in (0.01, 0.1, 0.2, 0.4):
        x, y = at(budget, 0)
        parts.append(text(x, y + 20, f"{budget:.0%}", "small", "middle"))
    for index, classes in ((1, "hotline"), (2, "coldline"), (3, "line dash")):
        parts.append(line([at(row[0], row[index]) for row in shares], classes))
    last = shares[-1]
    x, y = at(last[0], last[1])
    parts += [
        text(x + 8, y - 2, "bound", "small"),
        text(x + 8, y + 14, "inputs", "small bold"),
        text(x + 8, at(0, last[2])[1] + 4, "accesses", "small bold"),
        text(40, 16, "hot share of train", "small faint"),
        text(40, 280, "budget, as a share of all rows' bytes", "small faint"),
    ]
    return picture(288, "The rule inputs nearly reaches the bound; accesses stays below.", parts)


# ── Training ─────────────────────────────────────────────────────────────────────────────────────


def draw_owners() -> str:
    """Draw where rows live as FAE published it, and here."""
    parts = []
    for top, title, host_has_hot in (
        (0, "FAE as published", True),
        (196, "one owner a row", False),
    ):
        parts += [
            text(0, top + 16, title, "bold"),
            box(0, top + 28, 190, 104, "box", 8),
            box(290, top + 28, 190, 104, "box", 8),
            text(12, top + 48, "host memory", "small"),
            text(302, top + 48, "GPU memory", "small"),
            box(306, top + 58, 158, 26, "hot"),
            text(385, top + 76, "hot rows", "small on", "middle"),
            box(12, top + 92, 166, 28, "cold"),
            text(95, top + 111, "cold rows", "small on", "middle"),
        ]
        if host_has_hot:
            parts += [
                box(12, top + 58, 166, 26, "hot"),
                text(95, top + 76, "hot rows, again", "small on", "middle"),
                line([(196, top + 71), (284, top + 71)], "line", arrow=True),
                line([(284, top + 79), (196, top + 79)], "line", arrow=True),
                text(240, top + 62, "copied", "small", "middle"),
                text(
                    0,
                    top + 152,
                    "at each change between hot and cold batches, all hot",
                    "small faint",
                ),
                text(0, top + 170, "rows are copied from one memory to the other", "small faint"),
            ]
        else:
            parts += [
                line([(196, top + 106), (284, top + 106)], "line", arrow=True),
                line([(284, top + 114), (196, top + 114)], "line", arrow=True),
                text(240, top + 97, "read, write", "small", "middle"),
                text(
                    0,
                    top + 152,
                    "a batch's cold rows alone cross the bus, with their",
                    "small faint",
                ),
                text(0, top + 170, "optimizer state; nothing has to be kept equal", "small faint"),
            ]
    return picture(374, "Where hot and cold rows live.", parts)


def draw_step() -> str:
    """Draw two streams of a GPU: the network of a batch, and cold rows of its neighbours."""
    parts = [text(0, 16, "first stream", "bold"), text(0, 112, "second stream", "bold")]
    for x, name in ((0, "n"), (244, "n + 1")):
        for offset, width, words in (
            (0, 50, "look up"),
            (53, 116, "forward, backward"),
            (172, 58, "update"),
        ):
            parts += [
                box(x + offset, 46, width, 30, "hot"),
                text(x + offset + width / 2, 66, words, "small on", "middle"),
            ]
        parts.append(text(x, 38, f"batch {name}", "small faint"))
    for x, before, after in ((0, "n − 1", "n + 1"), (244, "n", "n + 2")):
        for offset, width, words in ((0, 82, f"write {before}"), (85, 82, f"read {after}")):
            parts += [
                box(x + offset, 124, width, 30, "cold"),
                text(x + offset + width / 2, 144, words, "small on", "middle"),
            ]
        parts.append(line([(x + 167, 139), (x + 200, 139), (x + 200, 80)], "line", arrow=True))
    parts += [
        line([(237, 26), (237, 168)], "line dash"),
        text(
            0, 188, "The second stream writes the cold rows of the batch before and", "small faint"
        ),
        text(
            0, 206, "reads those of the next, while the network computes. The update", "small faint"
        ),
        text(0, 224, "replaces a row that was read before it changed.", "small faint"),
    ]
    return picture(230, "A step's two streams.", parts)


PICTURES: dict[str, Callable[[], str]] = {
    "hot-set": draw_hot_set,
    "shares": draw_shares,
    "peeling": draw_peeling,
    "charges": draw_charges,
    "bound": draw_bound,
    "owners": draw_owners,
    "step": draw_step,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
