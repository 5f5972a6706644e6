"""What a comparison says in plain sentences: at which levels an arm misses less, and at which nothing is shown.

One arm may miss less of the lesions' volume and yet as many patients: a sentence about one level alone would hide the
other. So each arm is compared at all four levels, and Holm's correction is over levels and arms together. Tables give
every level by itself, corrected over the arms.
"""

from typing import Any

from missrate.core.miss_rates import LEVELS
from missrate.core.resampling import holm

ALPHA = 0.05
Json = dict[str, Any]


def adjust_levels(comparisons: dict[str, Json]) -> None:
    """Add to every miss rate in place ``p_levels``, corrected over levels and arms, ``shown`` and ``could_show``.

    Shown: ``p_levels`` is at most ``ALPHA``, and with several seeds the interval, which knows their spread, leaves 0
    out. ``could_show``: the least p of the test would have been small enough. Null arms are in no family.
    """
    blocks = [block for each in comparisons.values() for block in _blocks(each).values()]
    tested = [block for block in blocks if block["p"] is not None]
    for block in blocks:
        block |= {"p_levels": None, "shown": False, "could_show": False}
    for block, p in zip(tested, holm([block["p"] for block in tested]), strict=True):
        clear = "seeds" not in block or block["ci95"][0] > 0.0 or block["ci95"][1] < 0.0
        could = block["least_p"] * len(tested) <= ALPHA
        block |= {"p_levels": p, "shown": p <= ALPHA and clear, "could_show": could}


def headline(against: str, comparisons: dict[str, Json], verdicts: dict[str, Json]) -> list[str]:
    """Return a sentence or two about each arm, then one about each arm that does not beat the baseline."""
    lines = []
    for name, comparison in comparisons.items():
        if "reason" in comparison:
            lines.append(f"{name} cannot be compared with {against}: {comparison['reason']}.")
        else:
            lines.append(_sentence(name, against, _blocks(comparison)))
    tested = [name for name, each in comparisons.items() if any(b["p"] is not None for b in _blocks(each).values())]
    if tested:
        arms = "" if len(tested) == 1 else f" and {len(tested)} arms"
        lines.append(f"All p values above are corrected over {len(LEVELS)} levels{arms} (Holm).")
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
        return f"No difference between {name} and {against} is shown in {'; '.join(said.values())}.{few}"
    parts = [
        f"misses {word} of {'; '.join(said[level] for level in which)}"
        for word, which in (("less", less), ("more", more))
        if which
    ]
    text = f"{name} compared with {against} {', but '.join(parts)}."
    return f"{text} No difference is shown in {'; '.join(said[level] for level in rest)}." if rest else text


def _told(level: str, block: Json) -> str:
    """Both rates, the difference in points, its interval and p."""
    text = f"{LEVELS[level]}: {block['arm']:.1%} against {block['against']:.1%}"
    if block["ci95"] is None:
        return f"{text} (too few patients for an interval)"
    low, high = block["ci95"]
    p = "" if block["p_levels"] is None else f", p = {block['p_levels']:.2g}"
    return f"{text} ({100 * block['difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]{p})"
