"""What a comparison says in plain sentences: at which levels an arm misses less, and at which nothing is shown.

One arm may miss less of the lesions' volume and yet as many patients: a sentence about one level alone would hide the
other. So each arm is compared at all four levels, and Holm's correction is over levels and arms together. Tables give
every level by itself, corrected over the arms.
"""

from typing import Any

from missrate.compare.paired import adjust_as
from missrate.core.miss_rates import LEVELS

Json = dict[str, Any]


def adjust_levels(comparisons: dict[str, Json]) -> None:
    """Add to every miss rate in place ``p_levels``, corrected over levels and arms, ``shown`` and ``could_show``.

    Shown: ``p_levels`` is at most .05, and with several seeds the interval, which knows their spread, leaves 0
    out. ``could_show``: the least p that the test could give would be small enough, beside the other p as they are.
    Null arms are in no family.
    """
    blocks = [block for each in comparisons.values() for block in _blocks(each).values()]
    adjust_as(blocks, "p_levels", "shown", "could_show")


def headline(against: str, comparisons: dict[str, Json], verdicts: dict[str, Json]) -> list[str]:
    """Return some sentences about each arm, with what its miss rates cost; then which do not beat the baseline."""
    lines = []
    for name, comparison in comparisons.items():
        if "reason" in comparison:
            lines.append(f"{name} cannot be compared with {against}: {comparison['reason']}.")
        else:
            lines.append(_sentence(name, against, _blocks(comparison)) + _price(comparison["metrics"]))
    tested = [name for name, each in comparisons.items() if any(b["p"] is not None for b in _blocks(each).values())]
    levels = {level for each in comparisons.values() for level, b in _blocks(each).items() if b["p"] is not None}
    if tested:
        over = f"{len(levels)} level" + "s" * (len(levels) != 1)
        over += f" and {len(tested)} arms" * (len(tested) != 1)
        lines.append(
            "The p values of this answer (label swap within patients, McNemar for patients) are corrected over "
            f"{over} (Holm), and they decide. Intervals leave room for a patient who is not here, so one may hold 0 "
            "beside a small p."
        )
    for name, verdict in verdicts.items():
        if verdict["works"] is False:
            lines.append(f"{name} does not beat {verdict['baseline']} at matched false-positive volume.")
    return lines


def _blocks(comparison: Json) -> dict[str, Json]:
    """The difference at each level; none where there is no threshold."""
    metrics = comparison["metrics"]
    return {level: metrics[level]["pooled"] for level in LEVELS if level in metrics}


def _sentence(name: str, against: str, blocks: dict[str, Json]) -> str:
    known = {level: block for level, block in blocks.items() if block["difference"] is not None}
    if not known:
        return f"{name} and {against} cannot be compared: there is no lesion."
    unknown = [LEVELS[level] for level in blocks if level not in known]
    undefined = f" Undefined: {', '.join(unknown)}." if unknown else ""
    if any(block.get("described") for block in known.values()):
        told = "; ".join(_told(level, block) for level, block in known.items())
        return f"{name} is a null arm, described and not tested. It misses of {told}."
    less = [level for level, block in known.items() if block["shown"] and block["difference"] < 0]
    more = [level for level, block in known.items() if block["shown"] and block["difference"] > 0]
    rest = [level for level in known if level not in (*less, *more)]
    said = {level: _told(level, block) for level, block in known.items()}
    if not (less or more):
        could = any(known[level]["could_show"] for level in rest)
        few = "" if could else " So few patients differ that no test could show one."
        return f"No difference between {name} and {against} is shown in {'; '.join(said.values())}.{few}{undefined}"
    parts = [
        f"misses {word} of {'; '.join(said[level] for level in which)}"
        for word, which in (("less", less), ("more", more))
        if which
    ]
    text = f"{name} compared with {against} {', but '.join(parts)}."
    text += f" No difference is shown in {'; '.join(said[level] for level in rest)}." if rest else ""
    return text + undefined


def _price(metrics: Json) -> str:
    """At what false positives and precision; nothing where neither is known."""
    parts = []
    for metric, words, form in (
        ("false_positives_per_scan", "false positives per scan", "{:.2f}"),
        ("voxel_precision", "voxel precision", "{:.1%}"),
    ):
        block = metrics.get(metric, {}).get("pooled", {})
        mine, theirs = (
            "undefined" if block.get(key) is None else form.format(block[key]) for key in ("arm", "against")
        )
        if (mine, theirs) != ("undefined", "undefined"):
            parts.append(f"{mine} {words} against {theirs}")
    return f" The price: {', '.join(parts)}." if parts else ""


def _told(level: str, block: Json) -> str:
    """Both rates, the difference in points, its interval and p."""
    text = f"{LEVELS[level]}: {block['arm']:.1%} against {block['against']:.1%}"
    if block["ci95"] is None:
        return f"{text} (too few patients for an interval)"
    low, high = block["ci95"]
    p = "" if block["p_levels"] is None else f", p = {block['p_levels']:.3g}"
    return f"{text} ({100 * block['difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]{p})"
