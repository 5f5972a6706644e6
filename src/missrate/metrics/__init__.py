"""Shelf: one file is one metric.

A member has ``UNIT``, ``BETTER`` ("lower" or "higher"), ``LEVEL`` and ``measure``. ``LEVEL`` says of what it is:
"case" ``measure(case, at, matching)``, "patient" ``measure(cases_of_one_patient, at, matching)``, "cohort"
``measure(cases, at, matching, weight_per_patient)``; ``at`` is a level of ``core.quantise``. Optional:

NEEDS       "voxels", "distances", "surfels" (distances by area) or "scores", or a tuple: without them the metric is
            undefined, with that reason
DEFAULT     False: measured only where it is asked for by name
PARAMETER   the name of a further argument of ``measure``, such as "tolerance_mm"; the name in results ends in its value
``measure_each(sweep, weights)``  a cohort metric over all thresholds, for many weightings of one ``core.sweep.Sweep``
``measure_at(cases, levels, matching, weights)``  a cohort metric at each case's own level, for many weightings
RESAMPLED   False: such a metric is too slow for intervals
``interval(cases, matching)``     a cohort metric's own interval, instead of the bootstrap's
"""
