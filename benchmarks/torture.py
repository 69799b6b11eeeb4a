"""The long form of the tests, one file after the other, and what each has counted.

    python benchmarks/torture.py --write
    python benchmarks/torture.py --write tests/service/test_damage.py
    python benchmarks/torture.py --write --fuzz 600

After each file the results are written, so that an interruption loses one at most; a
test that was run before keeps its row until it is run again.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "torture.json"

FUZZED = ("headers", "decode", "where", "region", "moc")

_UNITS = re.compile(r"number_of_executed_units:\s+(\d+)")


@dataclass(frozen=True)
class Row:
    """What came of one test."""

    test: str
    passed: bool
    minutes: float
    counted: str
    """In its own words; nothing where it counts nothing."""
    date: str


def main() -> int:
    """Run them, and tell of each; the status is 1 where one did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("files", nargs="*", type=Path, help="of tests; all of them")
    parser.add_argument(
        "--fuzz", type=int, metavar="SECONDS", help="fuzz each target so long instead"
    )
    parser.add_argument("--write", action="store_true", help="benchmarks/results")
    args = parser.parse_args()
    files = args.files or sorted(_with_torture())
    rows = fuzzed(args.fuzz) if args.fuzz else tested(files)
    failed = False
    for row in rows:
        failed = failed or not row.passed
        print(_line(row), flush=True)
        if args.write:
            _keep(row)
    return int(failed)


def _with_torture() -> Iterator[Path]:
    for path in (ROOT / "tests").rglob("test_*.py"):
        if "pytest.mark.torture" in path.read_text(encoding="utf-8"):
            yield path.relative_to(ROOT)


def tested(files: Sequence[Path]) -> Iterator[Row]:
    """Each long test of these files."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        for file in files:
            report.unlink(missing_ok=True)
            command = ["pytest", "-q", "-m", "torture", f"--junitxml={report}"]
            _run(sys.executable, "-m", *command, str(file))
            if not report.exists():
                yield Row(
                    test=str(file),
                    passed=False,
                    minutes=0.0,
                    counted="it could not be run",
                    date=_today(),
                )
                continue
            for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own file
                yield _row_of(str(file), case)


def _row_of(file: str, case: ET.Element) -> Row:
    told = [one.get("value", "") for one in case.iter("property")]
    told += [f"skipped: {one.get('message')}" for one in case.iter("skipped")]
    told += [f"failed: {one.get('message')}"[:300] for one in case.iter("failure")]
    told += [f"error: {one.get('message')}"[:300] for one in case.iter("error")]
    return Row(
        test=f"{Path(file).stem}: {case.get('name')}",
        passed=case.find("failure") is None and case.find("error") is None,
        minutes=round(float(case.get("time", 0)) / 60, 1),
        counted="; ".join(told),
        date=_today(),
    )


def fuzzed(seconds: int) -> Iterator[Row]:
    """Each target of the fuzzer."""
    for target in FUZZED:
        began = time.monotonic()
        done = _run(sys.executable, "tests/fuzz/fuzz.py", target, str(seconds))
        units = _UNITS.search(done.stderr)
        yield Row(
            test=f"fuzz: {target}",
            passed=done.returncode == 0,
            minutes=round((time.monotonic() - began) / 60, 1),
            counted=f"{int(units[1]):,} inputs" if units else done.stderr[-300:],
            date=_today(),
        )


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _line(row: Row) -> str:
    skipped = row.counted.startswith("skipped")
    outcome = "passed" if row.passed else "**not passed**"
    counted = " ".join(row.counted.replace("|", "/").split())
    return (
        f"| {row.test} | {'skipped' if skipped else outcome} | {row.minutes:.1f} "
        f"| {counted} | {row.date} |"
    )


def _keep(row: Row) -> None:
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known[row.test] = asdict(row)
    text = json.dumps(dict(sorted(known.items())), indent=1) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    command = "`python benchmarks/torture.py --write`"
    lines = [
        f"{os.cpu_count()} cores. {command}, and with `--fuzz SECONDS`",
        "",
        "| test | | minutes | what it has counted | date |",
        "| --- | --- | --- | --- | --- |",
        *(_line(Row(**one)) for _, one in sorted(known.items())),
    ]
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
