"""A study -> its stages, in an order in which every stage comes after its inputs."""

from dataclasses import replace
from pathlib import Path

from missrate.core.guard import reachable
from missrate.study import data_stages as data
from missrate.study import model_stages as models
from missrate.study import result_stages as results
from missrate.study.config import StudyConfig
from missrate.study.layout import Layout
from missrate.study.stages import Stage


@reachable("A study")
def plan(study: StudyConfig, out: Path, *, offline: bool = False, folder: Path = Path()) -> list[Stage]:
    """All stages of a study that writes below ``out``. Lists the sources' files, reads no voxel.

    Files of weights lie below ``folder``. A study of several tested sources is as many studies, each in a folder of its
    own.
    """
    if study.split is not None:
        return _plan(Layout(study, out, offline, folder))
    return [
        stage.at(source)
        for source in study.sources
        for stage in _plan(Layout(study.of(source), out / source, offline, folder))
    ]


def _plan(layout: Layout) -> list[Stage]:
    study = layout.study
    used = list(dict.fromkeys([study.partition.source, *(arm.source for arm in study.arms if arm.source)]))
    evaluated = [arm.name for arm in study.arms if arm.evaluate]
    shown = [arm.name for arm in study.arms if arm.evaluate and arm.repeats is None]
    arms, compared = [*evaluated, *study.null_arms()], [*shown, *study.null_arms()]
    climbed = dict.fromkeys(rung.arm for rung in study.ladder)
    stages = [models.recipe(layout, arm) for arm in study.arms if arm.predictions is None]
    # Whole recipes first: a mistake in one would otherwise be told after hours of preparation.
    checked = tuple(stage.name for stage in stages)
    stages += [replace(data.prepare(layout, source), after=checked) for source in used]
    stages.append(data.split(layout, used))
    stages += [data.view(layout, source) for source in used] if study.trains else []
    for arm in study.arms:
        stages += [models.train(layout, arm, fold) for fold in layout.training_folds(arm)] if arm.model else []
    for name in arms:
        stages += [models.predict(layout, name, fold) for fold in layout.folds]
        stages.append(results.evaluate(layout, name))
    stages += [models.predict_leak(layout, name) for name in climbed if layout.leaks(name)]
    stages += [results.calibrate(layout, name) for name in arms] if layout.calibrates else []
    stages += [results.certify(layout, name) for name in arms] if study.evaluate.certify else []
    stages += [results.summarise(layout, name) for name in arms]
    stages += [results.ladder(layout)] if study.ladder else []
    return [*stages, results.compare(layout, compared), results.report(layout, compared)]
