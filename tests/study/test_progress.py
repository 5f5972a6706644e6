"""Progress under a clock that the tests turn: it names what runs, and tells no time that it cannot know."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from missrate.study import progress
from missrate.study.pace import Pace, Stages
from missrate.study.runner import Event


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def case_by_case(
    stages: Stages, clock: Clock, stage: str, seconds: list[float], of: int, beside: int = 1
) -> list[float | None]:
    """Ends one task after another, each after so many seconds; gives the time left after each."""
    result = []
    stages.learn(Event("begun", stage, 0, of), clock.now)
    stages.learn(Event("started", stage, 0, of), clock.now)
    for done, each in enumerate(seconds, start=1):
        clock.now += each / beside
        stages.learn(Event("finished", stage, done, of, seconds=each, beside=beside), clock.now)
        result.append(stages.seconds_left(stage, clock.now))
    return result


def test_nothing_is_told_until_three_tasks_of_the_stage_have_ended() -> None:
    # Ten cases of 10 s each: seven are left after three, so 70 s.
    told = case_by_case(Stages(), Clock(), "evaluate/everything", [10.0] * 10, of=10)
    assert told[:2] == [None, None]
    assert told[2:9] == [pytest.approx(10.0 * n) for n in (7, 6, 5, 4, 3, 2, 1)]


def test_another_stage_tells_nothing_about_this_one() -> None:
    stages, clock = Stages(), Clock()
    # A thousand quick cases were prepared; the null arm's take a minute each, and nobody knows that yet.
    case_by_case(stages, clock, "prepare/liver", [0.1] * 1000, of=1000)
    stages.learn(Event("ended", "prepare/liver", 1000, 1000), clock.now)
    assert case_by_case(stages, clock, "evaluate/everything", [60.0, 60.0], of=40) == [None, None]
    assert stages.told(clock.now) == ["evaluate/everything 2/40"]


def test_folds_of_one_stage_are_of_one_kind() -> None:
    stages, clock = Stages(), Clock()
    case_by_case(stages, clock, "predict/unet/fold0", [5.0] * 10, of=10)
    assert case_by_case(stages, clock, "predict/unet/fold1", [5.0], of=10) == [pytest.approx(45.0)]
    assert case_by_case(stages, clock, "predict/other/fold1", [5.0], of=10) == [None]


def test_workers_side_by_side_share_what_is_left() -> None:
    # Two at a time: 16 cases of 10 s are 80 s.
    assert case_by_case(Stages(), Clock(), "evaluate/a", [10.0] * 4, of=20, beside=2)[-1] == pytest.approx(80.0)


def test_what_an_earlier_call_had_done_promises_no_speed() -> None:
    # 300 cases were there already and end in a hundredth of a second each; the 100 others take 10 s.
    told = case_by_case(Stages(), Clock(), "prepare/a", [0.01] * 300 + [10.0] * 4, of=400)
    assert told[300:302] == [None, None]
    assert told[302:] == [pytest.approx(970.0), pytest.approx(960.0)]
    # And those that are there do not count between others either.
    mixed = case_by_case(Stages(), Clock(), "prepare/b", [10.0, 0.01, 10.0, 0.01, 10.0, 10.0], of=10)
    assert mixed[-1] == pytest.approx(40.0)


def test_one_slow_case_does_not_turn_the_estimate_over() -> None:
    # 50 cases are left. Five of 10 s, then one of 100 s: its weight is at most a fifth.
    told = case_by_case(Stages(), Clock(), "evaluate/a", [10.0] * 5 + [100.0], of=56)
    before, after = told[4], told[5]
    assert before is not None and before == pytest.approx(510.0)
    assert after is not None and 510 < after < 50 * 100 / 2
    # A change that lasts is believed: twenty of 100 s, and 80 are left.
    told = case_by_case(Stages(), Clock(), "evaluate/b", [10.0] * 5 + [100.0] * 20, of=105)
    assert told[-1] == pytest.approx(80 * 100, rel=0.05)


def training(stages: Stages, clock: Clock, steps: range, of: int, seconds: float) -> list[float | None]:
    stages.learn(Event("begun", "train/unet", 0, 1), clock.now)
    stages.learn(Event("started", "train/unet", 0, 1), clock.now)
    clock.now += 20  # torch is loaded
    result = []
    for step in steps:
        clock.now += seconds
        stages.learn(Event("advanced", "train/unet", step / of, 1, f"{step}/{of}"), clock.now)
        result.append(stages.seconds_left("train/unet", clock.now))
    return result


def test_a_training_is_told_by_its_own_steps_and_not_by_its_start() -> None:
    told = training(Stages(), Clock(), range(1, 101), of=2000, seconds=0.5)
    assert told[:4] == [None] * 4  # less than two seconds of steps
    # Half a second a step: 1,900 steps are 950 s, and the estimate sinks evenly.
    assert told[-1] == pytest.approx(950.0)
    known = [each for each in told if each is not None]
    assert all(a - b == pytest.approx(0.5) for a, b in pairwise(known))


def test_a_training_that_goes_on_does_not_count_the_steps_of_the_call_before() -> None:
    # It goes on after step 1,000: the first report is 1,001 of 2,000.
    told = training(Stages(), Clock(), range(1001, 1021), of=2000, seconds=0.5)
    assert told[-1] == pytest.approx(980 * 0.5)


def test_time_passes_between_events_and_what_has_run_out_is_told_no_more() -> None:
    stages, clock = Stages(), Clock()
    assert case_by_case(stages, clock, "evaluate/a", [10.0] * 9, of=10)[-1] == pytest.approx(10.0)
    clock.now += 4
    assert stages.told(clock.now) == ["evaluate/a 9/10, 6 s left"]
    clock.now += 10
    assert stages.told(clock.now) == ["evaluate/a 9/10"]
    stages.learn(Event("ended", "evaluate/a", 10, 10), clock.now)
    assert stages.told(clock.now) == []


def test_a_stage_whose_tasks_wait_for_a_worker_does_not_run() -> None:
    stages = Stages()
    stages.learn(Event("begun", "evaluate/b", 0, 5), 0.0)
    assert stages.told(0.0) == []


def test_three_stages_are_named_and_the_others_counted() -> None:
    stages = Stages()
    for k in range(5):
        stages.learn(Event("started", f"recipe/{k}", 0, 1), 0.0)
    assert stages.told(0.0) == ["recipe/0", "recipe/1", "recipe/2", "2 more"]


def test_a_pace_of_nothing_is_none() -> None:
    pace = Pace()
    assert pace.seconds_for(5.0) is None
    for _ in range(5):
        pace.add(0.0, 10.0)
    assert pace.seconds_for(5.0) is None


def test_lines_name_what_runs_while_nothing_ends(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    watch = progress.in_lines(4, step=30.0, clock=clock)
    watch(Event("ended", "prepare/a", 3, 3))
    watch(Event("begun", "evaluate/everything", 0, 40))
    watch(Event("started", "evaluate/everything", 0, 40))
    for done in (1, 2, 3):
        clock.now += 20
        watch(Event("finished", "evaluate/everything", done, 40, seconds=20))
    clock.now += 35
    watch(Event("ticked", ""))
    assert capsys.readouterr().err.splitlines() == [
        "[1/4] ended  prepare/a",
        "[1/4] runs   evaluate/everything 2/40",
        "[1/4] runs   evaluate/everything 3/40, 12 min left",  # 37 x 20 s less 35 s
    ]


@pytest.fixture
def slices(capsys: pytest.CaptureFixture[str]) -> Callable[[list[float]], list[str]]:
    """The lines about slices that end after so many seconds each, eight at a time of 800."""

    def lines(seconds: list[float]) -> list[str]:
        clock = Clock()
        with progress.slices_told("scan", step=0.0, clock=clock) as tell:
            for done, each in enumerate(seconds, start=1):
                clock.now += each
                tell(8 * done, 800)
        return capsys.readouterr().err.splitlines()

    return lines


def test_the_first_slices_wait_for_the_model_and_promise_nothing(slices: Callable[[list[float]], list[str]]) -> None:
    told = slices([30.0, 2.0, 2.0, 2.0])
    assert told[:3] == [f"scan: slice {n} of 800" for n in (8, 16, 24)]
    assert told[3] == "scan: slice 32 of 800, 3 min left"  # 768 slices at a quarter of a second
