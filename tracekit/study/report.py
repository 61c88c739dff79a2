"""Puts together what a study found: the records that `tracekit study report` renders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tracekit.study import causes, claims, counted, measures, sweeping
from tracekit.study.families import PAPER
from tracekit.study.folder import DONE, read_study
from tracekit.study.reading import read_cases
from tracekit.study.running import without_place
from tracekit.study_results import STUDY_SCHEMA, NotMeasured, StudyReport, Verdict


def study_report(path: Path) -> StudyReport:
    """Return everything that the study in a folder found.

    Raises
    ------
    InputError
        The folder holds no study, or a run of it is missing or broken.
    """
    study = read_study(path)
    cases = read_cases(study)
    scale, dtype = study.options["scale"], study.options["dtype"]
    environment = study.environment or {}
    devices = environment.get("devices") or [{}]
    found = tuple(sweeping.sweeps(cases))
    models = measures.model_cases(cases)
    runs = tuple(measures.run_of(case) for case in models)
    paper = [case for case in models if case.entry["model"] in PAPER]
    graphed = tuple(causes.graphed(study))
    report = StudyReport(
        schema=STUDY_SCHEMA,
        scale=scale,
        device=devices[0].get("name"),
        versions=dict(environment.get("versions") or {}),
        dtype=dtype,
        verdicts=(),
        runs=runs,
        missing=tuple(
            NotMeasured(name, entry["status"], without_place(entry["error"]))
            for name, entry in study.cases.items()
            if entry["status"] != DONE
        ),
        speedups=measures.speedups(runs),
        checks=tuple(measures.sampling_checks(cases)),
        lengths=tuple(measures.lengths(cases)),
        query_lengths=tuple(measures.query_lengths(cases)),
        likeness=measures.likeness(cases),
        temporal=tuple(measures.temporal(cases)),
        sweeps=found,
        memory=sweeping.memory(found, dtype, tiny=scale == "tiny"),
        idle=tuple(measures.idle(cases)),
        stages=tuple(causes.stages(models)),
        variants=tuple(causes.variants(cases)),
        projections=tuple(causes.projections(paper, devices[0].get("name"), dtype)),
        graphed=graphed,
        graph_speedups=tuple(causes.graph_speedups(graphed, models)),
        caches=tuple(counted.caches(cases)),
        timed_again=measures.timed_again(study.cases.values()),
    )
    return replace(report, verdicts=judge(report))


def judge(report: StudyReport) -> tuple[Verdict, ...]:
    """Return the verdicts on the eight claims, in their order; only the paper's models count."""
    sweeps = {sweep.name: sweep for sweep in report.sweeps}
    runs = tuple(run for run in report.runs if run.model in PAPER)
    diffusion = [
        name
        for name, family in PAPER.items()
        if (family.task, family.architecture) == ("image", "diffusion")
    ]
    return (
        claims.convolution_share(runs, report.variants, report.projections),
        claims.linear_share(runs, report.variants, report.projections),
        claims.diffusion_gain(
            [one for one in report.speedups if one.model in PAPER], report.graph_speedups
        ),
        claims.phases([one for one in report.likeness if one.model in PAPER]),
        claims.length_variation(report.lengths, diffusion),
        claims.image_scaling(sweeps.get("image-size")),
        claims.temporal_attention(
            [one for one in report.temporal if one.model in PAPER],
            sweeps.get("frames"),
            [one for one in report.caches if one.model in PAPER],
        ),
        claims.memory_growth(report.memory),
    )
