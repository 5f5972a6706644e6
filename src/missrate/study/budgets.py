"""Which arms may stand side by side: one norm, one budget, or a stated reason for another one."""

from typing import TYPE_CHECKING

from missrate.core.errors import ConfigError

if TYPE_CHECKING:
    from missrate.study.config import ArmConfig, StudyConfig


def total_steps(study: "StudyConfig", arm: "ArmConfig") -> int:
    """The steps of an arm's own training and of every arm that its initial weights come from."""
    return sum(study.recipe(each).train.steps for each in _chain(study, arm))


def unequal(study: "StudyConfig") -> dict[str, str]:
    """Return, for each evaluated arm with another budget on purpose, what differs and why; arms that reuse its run too.

    Such as {"quarter": "500 steps instead of 2000 (learning curve)"}; empty where all arms are alike.
    """
    result = {}
    for arm in study.arms:
        trained = study.arm(arm.run) if arm.run else arm
        if arm.evaluate and arm.repeats is None and trained.unequal is not None:
            result[arm.name] = f"{', '.join(_deviations(study, trained))} ({trained.unequal})"
    return result


def _deviations(study: "StudyConfig", arm: "ArmConfig") -> list[str]:
    """What of an arm's budget is not the study's."""
    mine, shared = study.recipe(arm).train, study.budget
    told = [f"{mine.steps} steps instead of {shared.steps}"] if mine.steps != shared.steps else []
    for key in ("batch", "patch_px"):
        if getattr(mine, key) != getattr(shared, key):
            told.append(f"{key} {getattr(mine, key)} instead of {getattr(shared, key)}")
    return [*told, *([f"{arm.train_patients} training patients"] if arm.train_patients is not None else [])]


def _require_reasons(study: "StudyConfig") -> None:
    """Raise ConfigError for a reason of an arm whose budget is that of all, or that is compared with nobody."""
    for arm in study.arms:
        if arm.unequal is not None and not (arm.evaluate and _deviations(study, arm)):
            raise ConfigError(
                "unequal must be said of an evaluated arm whose steps, batch or patch_px are not those of [budget], or "
                f"that has train_patients. Got it in {arm.name!r}; leave it out."
            )


def _require_patients(study: "StudyConfig") -> None:
    """Raise ConfigError for more training patients than the split names, where it gives their number."""
    named = (study.split.parts or {}).get("train") if study.split else None
    for arm in study.arms:
        own = arm.source in (None, study.split.source if study.split else None)
        if arm.train_patients is not None and own and named is not None and 1 < named <= arm.train_patients:
            raise ConfigError(
                f"train_patients of arm {arm.name!r} must be less than the {named:g} of [split] parts.train. "
                f"Got {arm.train_patients}."
            )


def _chain(study: "StudyConfig", arm: "ArmConfig") -> list["ArmConfig"]:
    """The arm, the one that its initial weights come from, and so on: weights mean nothing under another norm."""
    return [arm, *(_chain(study, study.arm(arm.init[4:])) if arm.init.startswith("arm:") else [])]


def require_equal(study: "StudyConfig") -> None:
    """Evaluated arms must be comparable: one batch size, one norm, steps equal to the budget or a whole chain's.

    An arm that says why its budget is ``unequal`` may have another one; it justifies nobody else's. Raises ConfigError.
    """
    trained = [arm for arm in study.arms if arm.model and arm.evaluate and arm.repeats is None]
    _require_reasons(study)
    _require_patients(study)
    alike = [arm for arm in trained if arm.unequal is None]
    totals = {arm.name: total_steps(study, arm) for arm in alike if arm.init.startswith("arm:")}
    for arm in alike:
        recipe = study.recipe(arm)
        for key in ("batch", "patch_px"):
            mine, shared = getattr(recipe.train, key), getattr(study.budget, key)
            if mine != shared:
                raise ConfigError(
                    f"Arms must share [budget] {key} {shared}. Got {mine}: {arm.name!r}; perhaps say why it is unequal."
                )
        if arm.train_patients is not None:
            raise ConfigError(
                f'An arm with train_patients must say why. Got {arm.name!r}; add unequal = "learning curve".'
            )
        others = {total for name, total in totals.items() if name != arm.name}
        if recipe.train.steps not in {study.budget.steps, *others}:
            raise ConfigError(
                f"An arm's steps must equal [budget] steps = {study.budget.steps}, or the steps of another arm and of "
                f"the arm that it begins from together ({', '.join(map(str, sorted(others))) or 'there is none'}). "
                f'Got {recipe.train.steps} in {arm.name!r}; perhaps say why: unequal = "learning curve".'
            )
    for key, default in (("norm", "batch"), ("trainable_stages", 5)):  # the model's own defaults: torch stays away
        chain = {one.name: one for arm in trained for one in _chain(study, arm) if key == "norm" or one is arm}
        recipes = [study.recipe(arm) for arm in chain.values() if arm.model == "maskrcnn"]
        values = {recipe.config.get(key, default) for recipe in recipes}
        if len(values) > 1:
            raise ConfigError(f"Mask R-CNN arms of one study must share {key!r}. Got {sorted(map(str, values))}.")
