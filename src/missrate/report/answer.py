"""The answer on top of the page: the comparison's own sentences, and of many arms a count of them."""

from typing import Any

from missrate.core.miss_rates import LEVELS
from missrate.report import ranks
from missrate.report.material import NULL_ARMS, Arm, Material
from missrate.report.words import amount, listed, point_words, sentence, share

Json = dict[str, Any]


def short(material: Material) -> list[str]:
    """The sentences in large type: each comparison of few arms, a summary of many."""
    plain, _ = _parted(material)
    return _summary(material) if material.many and plain else plain


def each(material: Material) -> list[str]:
    """Of many arms the single sentences, which ``short`` leaves out."""
    return _parted(material)[0] if material.many else []


def null_arms(material: Material) -> list[str]:
    """The sentences about null arms."""
    return _parted(material)[1]


def costs(material: Material) -> list[str]:
    """What the miss rates of the answer were paid with, one line per arm."""
    return [f"{arm.name}: {_cost(arm, material)}" for arm in material.trained_arms()]


def _cost(arm: Arm, material: Material) -> str:
    metrics = arm.summary["metrics"]
    if not metrics:
        return f"undefined (all), {sentence(arm.summary.get('reason', 'not measured'))}"
    blocks = [metrics.get(name, {}).get("pooled", {}) for name in ("false_positives_per_scan", "voxel_precision")]
    values = ["undefined" if b.get("value") is None else b["value"] for b in blocks]
    words = [v if isinstance(v, str) else form(v) for v, form in zip(values, (amount, share), strict=True)]
    point = "" if material.masks else f", at {point_words(arm.point)}"
    return f"{words[0]} false positives per scan, voxel precision {words[1]}{point}"


def _parted(material: Material) -> tuple[list[str], list[str]]:
    """The comparison's own sentences, those about null arms apart."""
    sentences: list[str] = material.comparison.get("answer") or []
    null = [line for line in sentences if line.startswith(tuple(f"{name} " for name in NULL_ARMS))]
    return [line for line in sentences if line not in null], null


def _summary(material: Material) -> list[str]:
    lines = []
    against, ranked = material.comparison["against"], material.comparison["ranks"].get("lesion_miss_rate")
    if ranked and ranked["top"]:
        lines.append(f"Lesion miss rate: {ranks.top(ranked)}")
        best = [arm for arm in material.arms if arm.name in ranked["top"][:3]]
        lines += [
            f"{arm.name} misses {_rate(arm)} of the lesions at this cost: {_cost(arm, material)}." for arm in best
        ]
    reference = next(arm for arm in material.arms if arm.name == against)
    lines.append(
        f"The reference arm {against} misses {_rate(reference)} of the lesions, at this cost: "
        f"{_cost(reference, material)}."
    )
    lines += [line for level in LEVELS if (line := _counted(level, material))]
    told = [f"{arm.name} had another budget on purpose: {arm.unequal}." for arm in material.arms if arm.unequal]
    return [*lines, *told]


def _counted(level: str, material: Material) -> str:
    """How many arms miss less at one level, how many more, and of how many nothing is shown; "" where none has it."""
    comparisons = material.comparison["comparisons"]
    found = {arm.name: comparisons.get(arm.name, {}).get("metrics", {}) for arm in material.trained_arms()}
    blocks = {name: metrics[level]["pooled"] for name, metrics in found.items() if level in metrics}
    blocks = {name: block for name, block in blocks.items() if block["difference"] is not None}
    if not blocks:
        return ""
    less, more = ([n for n, b in blocks.items() if b["shown"] and b["difference"] * s < 0] for s in (1, -1))
    rest = len(blocks) - len(less) - len(more)
    return (
        f"Of {len(blocks)} arms, {_some(less, 'less')} of {LEVELS[level]}, {_some(more, 'more')}, and of {rest} no "
        f"difference is shown: {material.comparison['patients']} patients cannot tell them apart, which does not make "
        "them equal."
    )


def _rate(arm: Arm) -> str:
    block: Json = arm.summary["metrics"].get("lesion_miss_rate", {}).get("pooled", {})
    if block.get("value") is None:
        return "an undefined share"
    if block["ci95"] is None or block["ci95"][0] == block["ci95"][1]:  # nothing or everything: resamples cannot differ
        return f"{block['value']:.1%} ({block['numerator']} / {block['denominator']})"
    return f"{block['value']:.1%} [{block['ci95'][0]:.1%}, {block['ci95'][1]:.1%}]"


def _some(names: list[str], what: str) -> str:
    if not names:
        return f"none misses {what}"
    return f"{len(names)} {'miss' if len(names) > 1 else 'misses'} {what} ({listed(names, 12)})"
