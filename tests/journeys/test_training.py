"""From real images to an encoder, a fine-tuned one, its figures and classes."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from commands import run_twinjet

pytestmark = pytest.mark.slow


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


@pytest.fixture(scope="module")
def frdeep(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third source of FRDEEP: the encoder looks at each many times."""
    out = tmp_path_factory.mktemp("real") / "frdeep"
    rows = table(shared_data / "frdeep" / "catalogue.csv")[::3]
    (out / "first").mkdir(parents=True)
    for row in rows:
        del row["nvss_cutout"]
        shutil.copyfile(shared_data / "frdeep" / row["cutout"], out / row["cutout"])
    with (out / "catalogue.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out


@pytest.fixture(scope="module")
def trained(frdeep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps of the shipped preset over FRDEEP and simulated sources."""
    out = tmp_path_factory.mktemp("train") / "out"
    options = ["--data", frdeep, "--simulated", 220, "--share", "simulated=0.5"]
    options += ["--balanced", "--batch", 32, "--images", 96, "--min-size", 5]
    run_twinjet("train", out, *options, "--name", "few")
    return out


def test_a_card_says_how_its_encoder_was_made(trained: Path) -> None:
    card = json.loads((trained / "few.json").read_text())
    training = card["training"]
    assert training["images_seen"] == 96
    assert training["shares"] == {"simulated": 0.5}
    assert "FRII" in training["kinds"]
    assert training["labels"] == {}
    assert training["command"].startswith("twinjet train out --data frdeep")
    assert str(trained.parent) not in json.dumps(card)


def test_labels_tune_it_further(trained: Path, frdeep: Path) -> None:
    options = ["--data", frdeep, "--label", "frdeep=fr_class"]
    options += ["--preset", "tuned", "--from", trained / "few.json"]
    options += ["--batch", 32, "--images", 64, "--name", "told"]
    run_twinjet("train", trained.parent / "tuned", *options)
    card = json.loads((trained.parent / "tuned" / "told.json").read_text())
    assert card["training"]["kinds"] == ["FRI", "FRII"]
    assert card["training"]["labels"] == {"frdeep": "fr_class"}
    few = json.loads((trained / "few.json").read_text())
    assert card["training"]["started_from"] == few["id"]
    # The head of the first is gone; one direction for two classes.
    assert card["dimension"] == 512 + 1


def test_a_classifier_names_every_source(trained: Path, frdeep: Path) -> None:
    out = trained.parent / "finetuned"
    options = ["--data", frdeep, "--encoder", trained / "few.json"]
    printed = run_twinjet("finetune", out, *options, "--images", 320)
    assert "held-out sky" in printed
    rows = table(out / "classes.csv")
    assert len(rows) == 151
    assert {row["class"] for row in rows} <= {"FRI", "FRII"}
    assert all(0.5 <= float(row["confidence"]) <= 1 for row in rows)
    training = json.loads((out / "finetuned.json").read_text())["training"]
    assert training["held_out"]["judged"] > 10


def test_an_encoder_is_judged_beside_baselines(trained: Path, frdeep: Path) -> None:
    options = ["--encoder", trained / "few.json", "--seeds", 1]
    report = json.loads(run_twinjet("evaluate", frdeep, *options, "--write"))
    assert report["methods"]["few"]["ap"]["value"] > 0.4
    card = json.loads((trained / "few.json").read_text())
    assert card["quality"][report["task"]] == report
    assert set(report["methods"]) == {
        *("few", "untrained", "Minkowski functionals", "pixel PCA", "random")
    }


def test_a_few_labels_class_real_sources(
    mirabest_home: Path, shared_data: Path, tmp_path: Path
) -> None:
    """A hundred labels of MiraBest tell FR I from FR II in the rest of it."""
    rows = table(shared_data / "mirabest" / "catalogue.csv")
    sure = [
        row
        for row in rows
        if row["confidence"] == "confident" and row["fr_class"] in {"FRI", "FRII"}
    ]
    labels, out = tmp_path / "labels.csv", tmp_path / "classes.csv"
    with labels.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label"])
        writer.writerows([row["source_id"], row["fr_class"]] for row in sure[::7])
    printed = run_twinjet("probe", labels, "--out", out, home=mirabest_home)
    report = json.loads(printed)
    assert report["error"] < 0.2
    assert report["calibration_error"] < 0.15
    found = {row["source_id"]: row["class"] for row in table(out)}
    asked = [row for n, row in enumerate(sure) if n % 7]
    right = sum(found[row["source_id"]] == row["fr_class"] for row in asked)
    assert right / len(asked) > 0.85
