"""Readers beside writers: queries while stages, `dvc repro` and refreshes make and publish one version after another.

Each version marks all its crystals with its number, and has more crystals if the number is odd. So a query tells
whether all that it sees is of one version.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from tests.conftest import CRYSTALS, make_project
from tests.faults.commands import command, dvc
from tests.faults.forks import ends_with_its_parent, in_a_fork, spread
from tests.faults.report import Report
from tests.faults.scenes import dvc_project, must
from tests.faults.settings import Settings

TRIED, ERRORS, MIXTURES = "queries beside writers", "errors", "mixtures"
QUERIES = 10_000
VERSIONS = 2
"""Written at least before the readers stop."""
HELD = 40
"""Queries through one held session, between two of `features.catalog.query`."""
ALWAYS, ODD = ("mp-30", "mp-149", "mp-22862", "mp-127", "mp-361", "mp-984"), ("mp-938", "mp-786", "mp-169")
QUERY = """
select count(m.material_id) as crystals, count(s.material_id) as split, count(*) as either,
       min(m.other_properties['marker']) as low, max(m.other_properties['marker']) as high
from materials m full join splits s on m.material_id = s.material_id
"""


def run(settings: Settings, report: Report) -> None:
    """Readers beside a writer, until there were enough queries."""
    for name in (TRIED, ERRORS, MIXTURES):
        report.counts[name] = 0
    root = settings.folder / "project"
    project(root)
    must(in_a_fork(lambda: dvc(root, "repro")), "the first version")
    queries = settings.sample.get("queries", 0) if settings.sample else QUERIES
    readers = max(1, settings.jobs)
    written = settings.folder / "written"
    until = settings.until("readers")
    writer = _start_writer(root, written)
    seen: set[float] = set()
    try:
        for result in spread(range(readers), lambda _: _read(root, queries // readers, written, until), readers):
            report.counts[TRIED] += result["tried"]
            seen |= set(result["seen"])
            for kind, why in result["failures"]:
                report.failed(kind, "", why)
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    versions = written.read_text().splitlines()
    report.notes.append(f"{len(versions)} versions were written meanwhile, and {len(seen)} were seen")
    if report.counts[TRIED] < queries:
        report.notes.append(f"there was time for {report.counts[TRIED]:,} queries of {queries:,}")
    for line in versions:
        if "unexpected" in line:
            report.failed(ERRORS, "", f"the writer: {line}")
    if len(seen) < 2:
        report.failed(ERRORS, "", "the readers saw one version only, so that nothing was tried")


def project(root: Path) -> None:
    """Two tables and what publishes them as one version."""
    make_project(root, only=[*ALWAYS, *ODD], split={})
    dvc_project(root, "ingest", "split")
    version(root, 0)


def version(root: Path, number: int) -> None:
    """Input of a version."""
    folder = root / "data" / "input"
    for name in ODD:
        (folder / f"{name}.cif").unlink(missing_ok=True)
        if number % 2:
            shutil.copy(CRYSTALS / f"{name}.cif", folder)
    names = [*ALWAYS, *(ODD if number % 2 else ())]
    (folder / "properties.csv").write_text("material_id,marker\n" + "".join(f"{name},{number}\n" for name in names))


def _start_writer(root: Path, written: Path) -> int:
    """A process that makes one version after another until it is killed: by `dvc repro`, by a refresh, and now and
    then one whose second stage fails."""
    child = os.fork()
    if child:
        return child
    try:
        ends_with_its_parent()
        number = 0
        while True:
            number += 1
            version(root, number)
            how = ("fails", "repro", "repro", "refresh")[number % 4]
            if how == "fails":
                params = (root / "params.yaml").read_text()
                (root / "params.yaml").write_text(params.replace("split: {}", "split: {test: 7.0}"))
                ended = in_a_fork(lambda: dvc(root, "repro"))
                good = ended.code != 0
                (root / "params.yaml").write_text(params)
            else:
                # guards stop a refresh that loses much; what they would say is another test's
                ended = in_a_fork(lambda: command(root, "pipelines", "refresh") if how == "refresh" else  # noqa: B023
                                  dvc(root, "repro"))
                good = ended.code == 0 or (how == "refresh" and ended.one_line)
            with written.open("a") as file:
                file.write(f"{number} {how}: {ended.code}{'' if good else f' unexpected: {ended.brief()}'}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _read(root: Path, queries: int, written: Path, until: float) -> dict[str, Any]:
    """A reader: one query through `features.catalog.query`, then some through a session that is held, and so on, until
    there were enough, and enough versions, or the time is over."""
    from features import catalog

    tried, seen, failures = 0, set(), []
    while tried < queries or len(written.read_text().splitlines() if written.exists() else []) < VERSIONS:
        if tried and time.monotonic() > until:
            break
        if tried >= queries:
            time.sleep(0.3)  # only the versions are waited for: the writer gets the processor
        began = time.monotonic()
        try:
            answers = [catalog.query(root, QUERY).to_pylist()[0]]
            tried += 1
            session = catalog.connect(root)
            try:
                for _ in range(HELD):
                    tried += 1
                    answers.append(session.sql(QUERY).to_arrow_table().to_pylist()[0])
            finally:
                session.close()
            if len({str(answer) for answer in answers[1:]}) > 1:
                failures.append((MIXTURES, f"a held session sees another version: {answers[1]} and {answers[-1]}"))
            seen |= {answer["low"] for answer in answers}
            failures += [(MIXTURES, str(answer)) for answer in answers if not _whole(answer)]
        except Exception as error:
            tried += 1
            failures.append((ERRORS, f"{type(error).__name__}: {str(error)[:200]}"))
            time.sleep(max(0.0, 0.01 - (time.monotonic() - began)))
    return {"tried": tried, "seen": sorted(seen), "failures": failures[:200]}


def _whole(answer: dict[str, Any]) -> bool:
    """Whether all of an answer is of one version."""
    crystals = len(ALWAYS) + (len(ODD) if int(answer["low"] or 0) % 2 else 0)
    return answer["low"] == answer["high"] and answer["crystals"] == answer["split"] == answer["either"] == crystals
