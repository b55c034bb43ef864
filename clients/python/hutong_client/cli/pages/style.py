"""Style sheet of the pages, for light, dark and narrow screens and for print."""

# ruff: noqa: E501

STYLE = """
:root {
  --paper: #fff; --panel: #f6f7f9; --ink: #1b1f24; --soft: #5b6470; --line: #d9dee5;
  --plain: #2f6fb3; --good: #2e7d4f; --warn: #b26a00; --bad: #c0292b; --pale: #a9c4e2;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1e2329; --ink: #e7eaee; --soft: #a2abb7; --line: #343b44;
    --plain: #6ea8e5; --good: #63b98a; --warn: #e0a040; --bad: #f0716f; --pale: #38506d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; print-color-adjust: exact;
}
h1 { margin: 0; font-size: 1.75rem; line-height: 1.25; }
h2 { margin: 0 0 .25rem; font-size: 1.15rem; }
h3 { margin: 1rem 0 .25rem; font-size: 1rem; }
ul { margin: .25rem 0; padding-left: 1.25rem; columns: 18rem; }
header p, .note, footer { margin: .25rem 0 .75rem; color: var(--soft); font-size: .9rem; }
section { margin-top: 2rem; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .75rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin-top: 1.25rem; }
.figure { background: var(--panel); border-left: 4px solid var(--plain); border-radius: 4px; padding: .6rem .9rem; }
.figure strong { display: block; font-size: 1.6rem; line-height: 1.25; }
.figure span { color: var(--soft); font-size: .85rem; }
.figure.good { border-color: var(--good); } .figure.good strong { color: var(--good); }
.figure.warn { border-color: var(--warn); } .figure.warn strong { color: var(--warn); }
.figure.bad { border-color: var(--bad); } .figure.bad strong { color: var(--bad); }
.badge { display: inline-block; padding: 0 .5em; border-radius: 3px; color: var(--paper); font-size: .9em; white-space: nowrap; }
.badge.plain { background: var(--plain); } .badge.good { background: var(--good); }
.badge.warn { background: var(--warn); } .badge.bad { background: var(--bad); }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td { overflow-wrap: break-word; }
td:first-child { min-width: 9.5rem; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; overflow-wrap: normal; }
.number { text-align: right; white-space: nowrap; }
.chart { display: grid; grid-template-columns: minmax(6rem, 15rem) minmax(4rem, 1fr) auto; gap: .35rem .8rem; align-items: center; }
.chart > .label small { display: block; color: var(--soft); font-size: .75rem; line-height: 1.2; }
.chart > .label { line-height: 1.25; }
.chart > .value { text-align: right; font-size: .88rem; }
.plot > svg, .columns > svg { display: block; width: 100%; overflow: visible; }
.columns { padding-top: 1rem; }
.segment rect { stroke: var(--paper); stroke-width: 1; }
svg text { fill: var(--soft); font-size: 11px; }
svg .inside { fill: var(--paper); font-size: 12px; }
.plain { fill: var(--plain); } .good { fill: var(--good); } .warn { fill: var(--warn); } .bad { fill: var(--bad); }
.pale { fill: var(--pale); } .track { fill: var(--panel); }
line { stroke: var(--line); } line.limit { stroke: var(--bad); stroke-dasharray: 4 3; }
line.range { stroke: var(--pale); stroke-width: 6; stroke-linecap: round; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem .5rem; align-items: center; margin: .5rem 0; color: var(--soft); font-size: .85rem; }
.legend span + span:not(.key) { margin-right: .75rem; }
.key { width: .8rem; height: .8rem; border-radius: 2px; }
.key.dot { border-radius: 50%; }
.key.plain { background: var(--plain); } .key.good { background: var(--good); } .key.warn { background: var(--warn); }
.key.bad { background: var(--bad); } .key.pale { background: var(--pale); }
.key.limit { height: 0; border-top: 2px dashed var(--bad); border-radius: 0; }
@media (max-width: 36rem) {
  .chart { grid-template-columns: minmax(0, 1fr) auto; }
  .chart > .label, .chart > .plot { grid-column: 1 / -1; }
  .chart > .value { grid-column: 1 / -1; text-align: left; margin-bottom: .5rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  section > h2, section > .note { break-after: avoid; }
  tr, .figure, .chart > *, .lane { break-inside: avoid; }
  .table { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .2rem .3rem; }
  .number { white-space: normal; }
  td:first-child { min-width: 7rem; }
}
"""
