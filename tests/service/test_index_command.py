"""``twinjet index`` of all that holds cutouts, and what it says when it cannot."""

import json
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient
from skies import double_source, header_at, write_sky

from twinjet.index.cutouts.open import open_provider
from twinjet.index.errors import JobConflictError
from twinjet.index.jobs.engine import connected
from twinjet.index.jobs.jobs import Jobs
from twinjet.index.jobs.presence import presence_of
from twinjet.index.jobs.progress import ProgressBoard
from twinjet.index.jobs.request import ReindexRequest
from twinjet.index.source import Source
from twinjet.service.app import create_app
from twinjet.service.cli import cli, main
from twinjet.service.commands.options import store_of
from twinjet.service.config import Config

COUNT = 4


@pytest.fixture
def run(tmp_path: Path, card: Path, monkeypatch: pytest.MonkeyPatch) -> "Runner":
    monkeypatch.setenv("TWINJET_ENCODER", str(card))
    monkeypatch.setenv("TWINJET_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_sky(tmp_path / "sky", COUNT)
    return Runner()


class Runner:
    """Runs the command; its arguments are paths within the test's folder."""

    def __call__(self, *arguments: object) -> Result:
        return CliRunner().invoke(cli, ["index", *map(str, arguments), "--json"])

    def cutouts(self, *arguments: object, reused: int = 0) -> str:
        """Where the manifest of what was published says that the cutouts are."""
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert (report["count"], report["problems"]) == (COUNT, [])
        assert report["reused"] == reused
        path = Path("home/generations") / f"g{report['number']:06d}" / "manifest.json"
        cutouts: str = json.loads(path.read_text())["cutouts"]
        return cutouts


def test_archives_of_a_folder_take_its_place_and_its_embeddings(
    run: Runner, tmp_path: Path
) -> None:
    with zipfile.ZipFile("sky.zip", "w") as archive:
        for file in Path("sky").iterdir():
            archive.write(file, file.name)
    with tarfile.open("packed.tar", "w") as tar:
        tar.add("sky")
    assert run.cutouts("sky") == str(tmp_path / "sky")
    for name in ("sky.zip", "packed.tar", "packed.tar"):
        assert run.cutouts(name, reused=COUNT) == str(tmp_path / name)


def test_a_mosaic_is_cut_by_its_catalogue(run: Runner, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    header = header_at(10, 20, 400)
    pixels = np.block([[double_source(rng, size=200) for _ in "ab"] for _ in "ab"])
    Path("tiles").mkdir()
    fits.PrimaryHDU(pixels, header).writeto("tiles/a.fits")
    lines = ["source_id,ra,dec"]
    for number, (x, y) in enumerate([(100, 100), (300, 100), (100, 300), (300, 300)]):
        sky = WCS(header).pixel_to_world(x, y)
        lines.append(f"s{number},{sky.ra.deg},{sky.dec.deg}")
    Path("list.csv").write_text("\n".join(lines))
    arguments = ("tiles", "--mosaic", "--cutout-size", 200)
    refused = run(*arguments)
    assert (refused.exit_code, "add --catalogue" in refused.stderr) == (2, True)
    location = run.cutouts(*arguments, "--catalogue", "list.csv")
    assert location == f"mosaic:{tmp_path}/tiles?size_arcsec=200"
    ra, dec = (float(value) for value in lines[1].split(",")[1:])
    assert open_provider(location).read(Source("s0", ra, dec))
    Path("list.csv").rename("tiles/catalogue.csv")
    assert run.cutouts(*arguments, reused=COUNT) == location
    # The catalogue names no cutouts, and there are pictures all the same.
    with TestClient(create_app(Config())) as client:
        source = client.get("/sources/s0").json()
        assert source["field_arcsec"] > 0
        for link in ("cutout_fits", "cutout_png"):
            assert client.get(source["links"][link]).status_code == 200
        twin = client.get("/similar/s0").json()["neighbours"][0]
        assert client.get(twin["links"]["cutout_png"]).status_code == 200


def test_a_stack_needs_a_catalogue(run: Runner, tmp_path: Path) -> None:
    import h5py  # noqa: PLC0415 - as the stack itself

    rng = np.random.default_rng(0)
    with h5py.File("s.h5", "w") as file:
        file["a"] = np.stack([double_source(rng) for _ in range(COUNT)])
        file["b"] = file["a"][:] * 2
        file.attrs["pixel_scale_arcsec"] = 1.8
    refused = run("s.h5")
    assert (refused.exit_code, "add --catalogue" in refused.stderr) == (2, True)
    lines = ["source_id,ra,dec,cutout", *(f"s{i},1{i},2{i},{i}" for i in range(COUNT))]
    Path("list.csv").write_text("\n".join(lines))
    location = f"stack:{tmp_path / 's.h5'}?images=b"
    assert run.cutouts(location, "--catalogue", "list.csv") == location
    unclear = run("s.h5", "--catalogue", "list.csv")
    assert unclear.exit_code == 1
    assert "does not say which" in str(unclear.exception)


def test_an_unset_variable_does_not_index_the_folder_one_is_in(run: Runner) -> None:
    result = run("")
    assert (result.exit_code, "it is empty" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing",), "'nothing' does not exist"),
        (("nothing", "--mosaic"), "'nothing' does not exist"),
        (("sky", "--cutout-size", 100), "add --mosaic"),
        (("sky", "--mosaic", "--cutout-size", 0), "0"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    run: Runner, arguments: tuple[object, ...], words: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gopher:/sky", "--catalogue", "sky/catalogue.csv"), "not one of"),
        (("sky/T000.fits",), "mosaic:"),
    ],
)
def test_what_is_no_place_of_cutouts_is_said(
    run: Runner, arguments: tuple[object, ...], words: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert words in str(result.exception)


def test_a_job_that_nobody_took_gives_way_to_a_changed_catalogue(
    run: "Runner", tmp_path: Path
) -> None:
    """Killed before a worker had it, and then the catalogue was corrected."""
    run("sky")
    config = Config()
    with closing(store_of(config)) as store, connected(config.jobs_url) as client:
        jobs = Jobs(client, ProgressBoard(store.engine))
        left = jobs.submit(ReindexRequest(cutouts=str(tmp_path / "sky"), force=True))
        run("sky")
        assert jobs.get(left.id).state == "cancelled"
        left = jobs.submit(ReindexRequest(cutouts=str(tmp_path / "sky"), force=True))
        presence = presence_of(store.engine, config.home / "workers")
        presence.enter("somebody")
        with pytest.raises(JobConflictError, match=left.id):
            CliRunner().invoke(cli, ["index", "sky"], catch_exceptions=False)
        presence.leave()


def test_a_damaged_snapshot_is_written_anew(run: Runner) -> None:
    run.cutouts("sky")
    (snapshot,) = Path("home/jobs/catalogues").iterdir()
    snapshot.write_bytes(b"no Parquet")
    run.cutouts("sky", reused=COUNT)


def test_what_was_mended_is_a_problem_no_longer(run: Runner) -> None:
    table = Path("sky/catalogue.csv")
    good = table.read_text()
    table.write_text(good + "bad,T000.fits,x,1,,,\n")
    assert len(json.loads(run("sky").stdout)["problems"]) == 1
    table.write_text(good)
    run.cutouts("sky", reused=COUNT)


def test_more_failures_than_may_be_are_refused_the_next_time_too(run: Runner) -> None:
    Path("sky/T000.fits").write_bytes(b"no FITS")
    assert run("sky", "--max-failed", 0.25).exit_code == 0
    refused = run("sky", "--max-failed", 0)
    assert refused.exit_code == 1
    assert "1 of 4 sources" in str(refused.exception)


def test_a_smaller_catalogue_of_one_name_is_compared(run: Runner) -> None:
    run.cutouts("sky")
    lines = Path("sky/catalogue.csv").read_text().splitlines()
    Path("sky/half.csv").write_text("\n".join(lines[:3]))
    arguments = ("sky", "--catalogue", "sky/half.csv", "--name", "sky")
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert "2 of 4 sources are gone" in str(refused.exception)
    allowed = run(*arguments, "--max-removed", 0.5)
    assert (allowed.exit_code, json.loads(allowed.stdout)["count"]) == (0, 2)
    nameless = run("sky", "--name", " ")
    assert (nameless.exit_code, "is no name" in nameless.stderr) == (2, True)


def test_sources_of_one_cutout_are_no_embeddings_that_were_there(run: Runner) -> None:
    table = Path("sky/catalogue.csv")
    first = table.read_text().splitlines()[1]
    table.write_text(table.read_text() + first.replace("T100+000", "twin") + "\n")
    report = json.loads(run("sky").stdout)
    assert (report["count"], report["reused"]) == (COUNT + 1, 0)


def test_another_kind_of_index_is_built_and_embeds_nothing(run: Runner) -> None:
    run.cutouts("sky")
    manifest = Path("home/generations/g000001/manifest.json")
    of = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(of | {"index_kind": "HNSW32"}))
    report = json.loads(run("sky").stdout)
    assert (report["number"], report["published"]) == (2, True)
    assert (report["reused"], report["embedded"]) == (COUNT, 0)


@pytest.mark.parametrize("broken", ["home", "home/jobs.sqlite"])
def test_a_home_that_cannot_be_written_is_told_in_a_line(
    run: Runner,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if broken == "home":
        Path("home").write_text("no folder")
    else:
        Path(broken).mkdir(parents=True)
    monkeypatch.setattr("sys.argv", ["twinjet", "index", "sky"])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err.splitlines()
    assert (end.value.code, len(said)) == (1, 1), said
    assert said[0].startswith("twinjet: ")
