"""How fast a stage's own tasks end, and so how long the rest of it takes.

Only what was seen of one kind tells about that kind: a case takes milliseconds to prepare and minutes to measure, an
arm that predicts everything takes longer than one that predicts little. Folds of one stage are of one kind. A study's
end is never told, since of the stages that have not begun nothing is known.
"""

import math
import re

from missrate.study.runner import Event

MEMORY_S = 60.0
"""Older values fade within about so many seconds,"""
LEAST_KEPT = 0.8
"""but each new one counts at most a fifth, so that one slow case does not turn the estimate over."""
ENOUGH, ENOUGH_S = 3, 2.0
"""Values, and seconds that they cover, before anything is said."""
SKIPPED = 0.05
"""A task that took less than this share of the mean was done already, by an earlier call, and tells nothing."""
FOLD = re.compile(r"/fold\d+")


class Pace:
    """Units of work and the seconds that they took: fading sums, whose ratio is the pace."""

    def __init__(self) -> None:
        self.units = self.seconds = self.seen_s = 0.0
        self.values = 0

    def add(self, units: float, seconds: float) -> None:
        """Learns that ``units`` more were done within ``seconds``."""
        kept = max(math.exp(-seconds / MEMORY_S), LEAST_KEPT)
        self.units, self.seconds = self.units * kept + units, self.seconds * kept + seconds
        self.values += 1
        self.seen_s += seconds

    def seconds_for(self, units: float) -> float | None:
        """How long ``units`` will take; None until enough is known."""
        if self.values < ENOUGH or self.seen_s < ENOUGH_S or self.units <= 0.0:
            return None
        return units * self.seconds / self.units


class Stages:
    """What the stages under way have told, and when. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self.paces: dict[str, Pace] = {}
        self.under_way: dict[str, tuple[Event, float, float | None]] = {}
        """Of each stage the last event with news, when it came, and the seconds that were left then."""

    def learn(self, event: Event, now: float) -> None:
        """Takes in one event."""
        if event.kind in ("kept", "ended", "failed"):
            self.under_way.pop(event.stage, None)
        if event.kind not in ("started", "advanced", "finished"):
            return
        kind = FOLD.sub("", event.stage)
        pace = self.paces.setdefault(kind, Pace())
        before, at, _ = self.under_way.get(event.stage, (event, now, None))
        if event.kind == "advanced" and event.of == 1 and before.kind == "advanced":
            # The first report of a task is where it starts from: an earlier call may have done half of it.
            pace.add(event.done - before.done, now - at)
        elif event.kind == "finished" and event.of > 1:
            pace = self.paces[kind] = _with_task(pace, event)
        elif event.kind == "started" and event.stage in self.under_way:
            return
        self.under_way[event.stage] = event, now, pace.seconds_for(event.of - event.done)

    def told(self, now: float, most: int = 3) -> list[str]:
        """A line for each stage under way: its name, how far it is, and the time left where that is known."""
        lines = [self._line(name, now) for name in self.under_way]
        more = [f"{len(lines) - most} more"] if len(lines) > most else []
        return [*lines[:most], *more]

    def seconds_left(self, stage: str, now: float) -> float | None:
        """Seconds until a stage under way ends; None while nobody can tell, and once the estimate has run out."""
        _, at, seconds = self.under_way[stage]
        if seconds is None or now - at >= seconds:
            return None
        return seconds - (now - at)

    def _line(self, stage: str, now: float) -> str:
        event = self.under_way[stage][0]
        far = event.detail if event.of == 1 else f"{int(event.done)}/{event.of}"
        return ", ".join(part for part in (f"{stage} {far}".rstrip(), left(self.seconds_left(stage, now))) if part)


def _with_task(pace: Pace, event: Event) -> Pace:
    """The pace after one task of several. Those beside it ran at the same time: the stage goes faster by their number.

    What an earlier call had done ends at once: such tasks are left out, before others and after them.
    """
    share = event.seconds / event.beside
    if pace.units and share < SKIPPED * pace.seconds / pace.units:
        return pace
    if pace.units and SKIPPED * share > pace.seconds / pace.units:
        pace = Pace()
    pace.add(1.0, share)
    return pace


def left(seconds: float | None) -> str:
    """ "12 min left", or nothing while nobody can tell."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"
