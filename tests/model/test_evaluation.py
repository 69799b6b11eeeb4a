"""Figures of quality: right on cases that can be counted by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skies import double_source, small_encoder

from twinjet.model.cutout import Cutout
from twinjet.model.dataset import LabelledFolder
from twinjet.model.encoder import load_encoder, shipped_cards
from twinjet.model.errors import DatasetError
from twinjet.model.evaluation.classify import draw, label_efficiency, linear_probe
from twinjet.model.evaluation.intervals import mean_of
from twinjet.model.evaluation.invariance import CHANGES, mixing, overlaps
from twinjet.model.evaluation.methods import (
    EncoderMethod,
    Method,
    Minkowski,
    PixelPca,
    RandomVectors,
    functionals,
    unit,
    untrained,
)
from twinjet.model.evaluation.report import as_markdown, judge
from twinjet.model.evaluation.retrieve import (
    leave_one_out,
    ranked,
    retrieval,
    several_examples,
)
from twinjet.model.evaluation.sample import Sample, Split
from twinjet.model.finetune import FineTuning, encoder_from, fine_tune
from twinjet.model.metric import MetricHead
from twinjet.model.probe import fit_probe


def labelled_sky(folder: Path) -> LabelledFolder:
    """Compact and double sources, as PNG, all over the sky."""
    rng = np.random.default_rng(0)
    lines = ["source_id,cutout,ra_deg,dec_deg,kind,angular_size_arcsec"]
    folder.mkdir()
    for number in range(160):
        y, x = np.indices((48, 48)) - 23.5
        gap = 8 * (number % 2)
        angle = rng.uniform(0, np.pi)
        along, across = gap * np.cos(angle), gap * np.sin(angle)
        pixels = sum(
            np.exp(-((x - s * along) ** 2 + (y - s * across) ** 2) / 8) for s in (-1, 1)
        )
        Image.fromarray((255 * pixels / np.max(pixels)).astype("u1")).save(
            folder / f"{number}.png"
        )
        dec = np.degrees(np.arcsin(rng.uniform(-1, 1)))
        place = f"{rng.uniform(0, 360)},{dec}"
        kind = ["one", "two"][number % 2]
        lines.append(f"s{number},{number}.png,{place},{kind},{10 + number}")
    (folder / "catalogue.csv").write_text("\n".join(lines))
    return LabelledFolder.read(str(folder))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = labelled_sky(tmp_path_factory.mktemp("labelled") / "sky")
    return Sample.read(folder, small_encoder().card.preprocess)


def test_average_precision_is_that_of_the_definition() -> None:
    relevant = np.array([[True, False, True, True, False], [False] * 5])
    measures = retrieval(relevant)
    assert measures["ap"][0] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    gain = 1 + 1 / math.log2(4) + 1 / math.log2(5)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert measures["ndcg10"][0] == pytest.approx(gain / ideal)
    assert measures["r100"][0] == 1
    # A class of which there is nothing to find has no precision.
    assert all(math.isnan(values[1]) for values in measures.values())


def test_a_query_is_no_answer_to_itself() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(20, 4)))
    rows = np.arange(20)
    ranks = ranked(vectors, vectors, without=rows)
    assert (ranks[:, -1] == rows).all()
    assert (ranked(vectors, vectors)[:, 0] == rows).all()


def test_members_of_a_class_are_found_and_chance_is_chance() -> None:
    rng = np.random.default_rng(0)
    members = np.arange(500) < 12
    random = unit(rng.normal(size=(500, 8)))
    assert leave_one_out(random, members)["ap"].mean() < 0.2
    close = random.copy()
    close[members] = unit(np.eye(8)[0] + 0.01 * rng.normal(size=(12, 8)))
    assert leave_one_out(close, members)["p10"].min() == 1
    found = several_examples(close, members)
    assert found["found_in_10"].mean() == 1
    by_chance = np.mean(
        [
            several_examples(unit(rng.normal(size=(500, 8))), members)["found_in_50"]
            for _ in range(40)
        ]
    )
    assert by_chance == pytest.approx(0.1, abs=0.04)


def test_intervals_hold_the_mean_and_shrink_with_the_sample() -> None:
    rng = np.random.default_rng(0)
    few, many = (mean_of(rng.random(n) < 0.3) for n in (50, 5000))
    for figure in (few, many):
        assert figure["low"] < figure["value"] < figure["high"]
    assert many["high"] - many["low"] < (few["high"] - few["low"]) / 5
    assert mean_of([1.0, math.nan])["sources"] == 1


def test_labels_are_drawn_in_proportion_and_one_of_each() -> None:
    labels = np.array(["a"] * 90 + ["b"] * 10)
    pool = np.ones(100, np.bool_)
    for count in (2, 10, 57):
        chosen = draw(labels, pool, count, seed=1)
        assert chosen.sum() == count
        assert set(labels[chosen].tolist()) == {"a", "b"}
    assert (
        draw(labels, pool, 50, seed=0).tolist()
        != draw(labels, pool, 50, seed=1).tolist()
    )
    assert draw(labels, pool, 10**9, seed=0).all()


def test_a_probe_can_be_fitted_to_two_labels() -> None:
    labels = np.array(["a", "b"])
    probe = linear_probe(labels).fit(np.eye(2), labels)
    assert probe.predict(np.eye(2)).tolist() == ["a", "b"]


def test_more_labels_err_less() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["a", "b"] * 150)
    vectors = unit(rng.normal(size=(300, 20)) + 0.35 * (labels == "b")[:, None])
    train = np.arange(300) < 200
    errors = label_efficiency(
        vectors, labels, Split(train, ~train), counts=(6, 10**9), seeds=4
    )
    assert sorted(errors) == [6, 200]
    assert errors[200].mean() < errors[6].mean()


def test_the_sample_is_split_by_the_sky(sample: Sample) -> None:
    split = sample.held_out()
    assert not (split.train & split.judge).any()
    for part in sample.development():
        assert not (part.train & part.judge).any()
        assert not ((part.train | part.judge) & split.judge).any()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_method_gets_the_same_figures(sample: Sample) -> None:
    encoder = small_encoder()
    images = sample.images[sample.held_out().train]
    recipe = encoder.card.preprocess
    methods: list[Method] = [
        EncoderMethod(encoder),
        EncoderMethod(untrained(encoder, images, seed=1)),
        PixelPca(recipe, images),
        Minkowski(recipe, images),
        RandomVectors(recipe, dimension=32, seed=0),
    ]
    report = judge([(m, sample) for m in methods], "kind", seeds=2, counts=(8, 10**9))
    figures = report["methods"]
    assert list(figures) == [m.name for m in methods]
    for name, values in figures.items():
        assert set(values["by_class"]) == {"one", "two"}
        assert 0 <= values["ap"]["low"] <= values["ap"]["high"] <= 1
        good = name != "random"
        assert (values["linear_error"]["value"] < 0.1) == good, name
        assert (values["p10_same_size"]["value"] > 0.7) == good, name
    text = as_markdown(report)
    for name in figures:
        assert text.count(f"| {name} |") == 3


def test_a_label_that_is_not_there_is_refused(sample: Sample) -> None:
    with pytest.raises(DatasetError, match="no source of sky has a 'colour'"):
        sample.labelled("colour")
    method = EncoderMethod(small_encoder())
    one = sample.labelled("kind", classes=("one",))
    with pytest.raises(DatasetError, match="only the class one"):
        judge([(method, one)], "kind")
    few = sample.where(np.arange(len(sample)) < 3)
    with pytest.raises(DatasetError, match="lacks one of"):
        judge([(method, few)], "kind")


def test_functionals_count_pieces_and_holes() -> None:
    image = np.zeros((1, 20, 20), np.float32)
    image[0, 2:5, 2:5] = 1
    image[0, 10:15, 10:15] = 1
    image[0, 12, 12] = 0
    values = functionals(image)[0]
    levels = len(values) // 3
    assert values[0] == pytest.approx(math.log1p(9 + 24))
    assert values[levels] == pytest.approx(math.log1p(12 + 20 + 4))
    assert values[2 * levels] == 2 - 1


@pytest.fixture(scope="module")
def doubles() -> list[Cutout]:
    rng = np.random.default_rng(3)
    return [
        Cutout(double_source(rng), pixel_scale_arcsec=(1.8, 1.8)) for _ in range(60)
    ]


def test_what_the_encoder_averages_over_changes_nothing(doubles: list[Cutout]) -> None:
    method = EncoderMethod(small_encoder())
    images = np.stack([method.preprocess(c).image for c in doubles])
    figures = overlaps(method, doubles[:15], method.vectors(images), np.arange(15))
    assert set(figures) == set(CHANGES)
    for name in ("quarter turn", "mirror"):
        assert figures[name]["value"] == 1
    assert figures["flux x 0.01-100"]["value"] > 0.95
    little, much = figures["noise to S/N 10-50"], figures["noise to S/N 5-10"]
    assert little["value"] > much["value"]


def test_changes_keep_the_source_where_it_is(doubles: list[Cutout]) -> None:
    method = EncoderMethod(small_encoder())
    cutout = doubles[0]
    before = method.preprocess(cutout).image
    resampled = CHANGES["pixels x 0.7-1.3"](cutout, np.random.default_rng(0))
    after = method.preprocess(resampled).image
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_surveys_that_look_alike_mix() -> None:
    rng = np.random.default_rng(0)
    one, other = unit(rng.normal(size=(2, 200, 8)).reshape(400, 8)).reshape(2, 200, 8)
    same = mixing(one, other)
    assert same["of the first"]["value"] == pytest.approx(0.5, abs=0.05)
    apart = mixing(unit(one + 5), unit(other - 5))
    assert apart["of the second"]["value"] == 0


def two_kinds(doubles: list[Cutout]) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Doubles and single blobs as the encoder takes them."""
    recipe = small_encoder().card.preprocess
    y, x = np.indices((100, 100)) - 49.5
    rng = np.random.default_rng(1)
    blobs = [
        Cutout(
            (np.exp(-(x**2 + y**2) / 12) + rng.normal(0, 0.01, x.shape)).astype("f4"),
            pixel_scale_arcsec=(1.8, 1.8),
        )
        for _ in doubles
    ]
    images = [recipe(c).image for c in [*doubles, *blobs]]
    labels = ["double"] * len(doubles) + ["blob"] * len(blobs)
    return np.stack(images), np.array(labels)


def test_fine_tuning_learns_resumes_and_leaves_an_encoder(
    doubles: list[Cutout], tmp_path: Path
) -> None:
    encoder = small_encoder()
    encoder.save(tmp_path)
    images, labels = two_kinds(doubles)
    settings = FineTuning(images=200 * 16, batch=16, learning_rate=5e-3)
    start = tmp_path / "small.json"

    def stop(step: int, steps: int, loss: float) -> None:
        if step == steps:  # the checkpoint of the hundredth step is there
            raise KeyboardInterrupt

    options: dict[str, Any] = {"start": start, "settings": settings}
    whole = fine_tune(encoder.card, images, labels, **options)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(encoder.card, images, labels, **options, folder=tmp_path, report=stop)
    assert (tmp_path / "checkpoint.safetensors").exists()
    seen: list[int] = []
    again = fine_tune(
        encoder.card,
        images,
        labels,
        **options,
        folder=tmp_path,
        report=lambda step, *_: seen.append(step),
    )
    assert seen == [200]
    likely = whole.predict(images)
    np.testing.assert_allclose(likely.sum(axis=1), 1, rtol=1e-5)
    guessed = np.array(whole.classes)[likely.argmax(axis=1)]
    assert (guessed == labels).mean() > 0.95
    torch.testing.assert_close(again.head.weight, whole.head.weight)
    tuned = encoder_from(
        whole, encoder.card, images, name="tuned", training={"labels": {"sky": "kind"}}
    )
    tuned.save(tmp_path)
    loaded = load_encoder(tmp_path / "tuned.json")
    vectors = loaded.embed_images(images)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert loaded.card.id != encoder.card.id


@pytest.mark.parametrize("kinds", [2, 3])
def test_fine_tuning_begins_where_the_probe_ends(
    kinds: int, doubles: list[Cutout], tmp_path: Path
) -> None:
    encoder = small_encoder()
    encoder.save(tmp_path)
    images, labels = two_kinds(doubles)
    if kinds > 2:
        labels = np.where(np.arange(len(labels)) % 3 == 0, "third", labels)
    still = FineTuning(images=16, batch=16, learning_rate=0.0)
    start = tmp_path / "small.json"
    first = fine_tune(encoder.card, images, labels, start=start, settings=still)
    features = encoder.features(images).numpy()
    probe = linear_probe(labels).fit(features, labels)
    found = first.head(first.norm(torch.from_numpy(features))).detach().softmax(dim=1)
    wanted = probe.predict_proba(features)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_metric_head_draws_kinds_together(tmp_path: Path) -> None:
    """Along the one direction that matters, hidden among others as strong."""
    rng = np.random.default_rng(0)
    encoder = small_encoder()
    wide = encoder.card.dimension

    def draw(count: int) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        labels = rng.choice(["one", "two"], count)
        features = rng.normal(size=(count, wide))
        features[:, 3] += 3 * (labels == "two") - 1.5
        return features.astype(np.float32), labels

    known, labels = draw(600)
    few = np.where(np.arange(600) < 5, "rare", labels)
    head = MetricHead(shrinkage=0.1, rest=0.5).fit(known, few, real=known)
    assert head.shape == (wide, wide + 1)  # five sources make no class
    asked, truth = draw(200)
    found, plain = (
        labels[ranked(unit(asked @ m), unit(known @ m))] == truth[:, None]
        for m in (head, np.eye(wide))
    )
    assert retrieval(found)["ap"].mean() > retrieval(plain)["ap"].mean() + 0.2
    told = encoder.with_head(head)
    told.save(tmp_path)
    loaded = load_encoder(tmp_path / "small.json")
    image = rng.random((2, 48, 48)).astype("f4")
    assert loaded.embed_images(image).shape == (2, wide + 1)
    np.testing.assert_array_equal(loaded.embed_images(image), told.embed_images(image))
    assert loaded.card.id not in {encoder.card.id, ""}


def test_a_metric_head_needs_two_kinds_of_some_size() -> None:
    features = np.random.default_rng(0).normal(size=(60, 4)).astype("f4")
    labels = np.array(["one"] * 40 + ["two"] * 20)
    with pytest.raises(DatasetError, match="'two': 20"):
        MetricHead(shrinkage=0.1, rest=0.5).fit(features, labels, real=features)


def test_one_class_cannot_be_tuned_to(doubles: list[Cutout]) -> None:
    images, labels = two_kinds(doubles[:8])
    card = small_encoder().card
    with pytest.raises(DatasetError, match="two classes"):
        fine_tune(card, images[:8], labels[:8], start=None)


def clouds(distance: float, count: int = 300) -> tuple[NDArray[np.float32], list[str]]:
    rng = np.random.default_rng(0)
    labels = ["a", "b"] * (count // 2)
    centre = distance * np.array([label == "b" for label in labels])[:, None]
    return (rng.normal(size=(count, 4)) + centre).astype(np.float32), labels


def test_a_probe_is_as_sure_as_it_is_right() -> None:
    vectors, labels = clouds(0.8, 2000)
    known = np.arange(2000) < 400
    names = np.array(labels)
    probe = fit_probe(vectors[known], names[known], np.arange(400) // 4)
    classes, confidence = probe.predict(vectors[~known])
    right = np.array(probe.classes)[classes] == names[~known]
    assert probe.report["error"] == pytest.approx(1 - right.mean(), abs=0.06)
    for low, high in ((0.5, 0.75), (0.75, 1.01)):
        part = (confidence >= low) & (confidence < high)
        assert confidence[part].mean() == pytest.approx(right[part].mean(), abs=0.06)
    total = sum(n for row in probe.report["confusion"].values() for n in row.values())
    assert total == 400


def test_a_probe_does_not_learn_places() -> None:
    # Each place its own direction and class: nothing else tells the classes apart.
    rng = np.random.default_rng(0)
    places = np.repeat(np.arange(20), 10)
    labels = np.array(["a", "b"])[places % 2]
    directions = rng.normal(size=(20, 64))
    vectors = directions[places] + 0.1 * rng.normal(size=(200, 64))
    by_place = fit_probe(vectors.astype("f4"), labels, places)
    by_row = fit_probe(vectors.astype("f4"), labels, np.arange(200))
    assert by_row.report["error"] < 0.05
    assert by_place.report["error"] > 0.3


@pytest.mark.parametrize(
    ("labels", "groups", "fault"),
    [
        (["a"] * 12, range(12), "two classes"),
        (["a"] * 9 + ["b"] * 3, range(12), "class 'b' has 3"),
        (["a"] * 6 + ["b"] * 6, [0, 1, 2, 3, 4, 5, 9, 9, 9, 9, 9, 9], "'b' has 1"),
    ],
)
def test_too_few_labels_are_refused(
    labels: list[str], groups: list[int], fault: str
) -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    with pytest.raises(DatasetError, match=fault):
        fit_probe(vectors, np.array(labels), np.array(list(groups)))


def test_the_shipped_encoders_cards_are_whole() -> None:
    sizes = 0
    for path in shipped_cards():
        encoder = load_encoder(path)
        assert encoder.card.licence == "BSD-3-Clause"
        assert encoder.card.quality, path.name
        assert encoder.card.training["command"].startswith("twinjet train")
        sizes += path.with_suffix(".safetensors").stat().st_size
    assert sizes <= 30e6
