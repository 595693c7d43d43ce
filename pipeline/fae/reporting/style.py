"""The page's style sheet: light and dark, from 400 pixels up."""

from __future__ import annotations

from fae.reporting.canvas import PALETTE


def style() -> str:
    """The style sheet, with the palette as variables."""
    light = "".join(f"--{name}:{colours[0]};" for name, colours in PALETTE.items())
    dark = "".join(f"--{name}:{colours[1]};" for name, colours in PALETTE.items())
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{{light}}}}}\n{_RULES}"
    )


_RULES = """\
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main,header,footer{max-width:1240px;margin:0 auto;padding:0 16px}
header{padding-top:28px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .6rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;line-height:1.3;margin:2.6rem 0 .4rem;padding-top:.9rem;
border-top:1px solid var(--grid)}
p,ul.prose,dl.prose{max-width:74ch;margin:.5rem 0 1rem}
.lead{font-size:1.08rem}
.note{color:var(--muted)}
a{color:var(--link)}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;margin:1rem 0 0;padding:0}
dl.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:10px;
margin:1.3rem 0}
dl.cards div{background:var(--panel);border:1px solid var(--grid);border-radius:8px;
padding:10px 12px;display:flex;flex-direction:column}
dl.cards dt{color:var(--muted);font-size:.9rem;line-height:1.3}
dl.cards dd{margin:0}
dl.cards dd.figure{font-size:1.5rem;font-weight:650;line-height:1.35;
font-variant-numeric:tabular-nums}
dl.cards dd.more{color:var(--muted);font-size:.88rem;line-height:1.35}
dl.prose dt{font-weight:650}
dl.prose dd{margin:0 0 .6rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));
gap:8px 32px;align-items:start}
figure{margin:.6rem 0;max-width:620px}
figure svg{display:block;width:100%;height:auto}
figure svg text{font-family:inherit!important}
figcaption,caption{color:var(--muted);font-size:.9rem;text-align:left}
.wide{overflow-x:auto;margin:.8rem 0}
.wide:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{padding:0 0 .4rem}
caption span{display:inline-block;position:sticky;left:0;max-width:min(74ch,calc(100vw - 32px))}
th,td{padding:.28rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--grid)}
thead th{vertical-align:bottom;border-bottom:2px solid var(--muted)}
th:first-child,td:first-child{padding-left:0}
th.text,td.text{text-align:left}
td.code{white-space:pre-wrap;overflow-wrap:anywhere;min-width:16ch;max-width:60ch}
td.code code,p code,dd code{font:0.92em ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",
monospace}
tbody th{font-weight:500}
tr.chosen>*{font-weight:700;background:var(--panel)}
footer{padding-bottom:40px;color:var(--muted);font-size:.9rem}
@media (max-width:520px){h1{font-size:1.45rem}.lead{font-size:1rem}
th,td{padding:.28rem .45rem}dl.cards{grid-template-columns:repeat(2,1fr)}
dl.cards dd.figure{font-size:1.25rem}}
"""
