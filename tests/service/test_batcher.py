"""Images of many requests in one thread: what waits goes together, unseen."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from skies import small_encoder

from twinjet.model.encoder import Encoder, default_encoder
from twinjet.model.engine import Choice, on_engine
from twinjet.service.batcher import Batcher


class Counted:
    """How many images came to an encoder in each call."""

    def __init__(self, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[int] = []
        embed = encoder.embed_images

        def counted(
            images: NDArray[np.float32], *, invariant: bool | None = None
        ) -> NDArray[np.float32]:
            self.calls.append(len(images))
            return embed(images, invariant=invariant)

        monkeypatch.setattr(encoder, "embed_images", counted)


@contextmanager
def busy(batcher: Batcher) -> Iterator[None]:
    """Its thread has something else to do meanwhile."""
    free = threading.Event()
    batcher._thread.submit(free.wait)
    try:
        yield
    finally:
        free.set()


def images_of(encoder: Encoder, count: int) -> NDArray[np.float32]:
    side = encoder.card.preprocess.size_px
    return np.random.default_rng(5).random((count, side, side), dtype=np.float32)


@cache
def small(views: int, engine: Choice) -> Encoder:
    return on_engine(small_encoder(views=views), engine)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("views", [1, 8])
@pytest.mark.parametrize("invariant", [None, True, False])
def test_a_vector_is_the_same_to_the_bit_alone_and_among_others(
    views: int,
    invariant: bool | None,  # noqa: FBT001
    engine: Choice,
) -> None:
    encoder = small(views, engine)
    images = images_of(encoder, 11)
    alone = [encoder.embed_images(one[None], invariant=invariant)[0] for one in images]
    batcher = Batcher(encoder)
    with busy(batcher):
        waiting = [batcher.embed(one, invariant=invariant) for one in images]
    for vector, future in zip(alone, waiting, strict=True):
        np.testing.assert_array_equal(future.result(60).vector, vector)
    batcher.close()


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("invariant", [None, False])
def test_the_shipped_encoder_gives_the_same_bits_at_any_place_of_a_batch(
    invariant: bool | None,  # noqa: FBT001
    engine: Choice,
) -> None:
    encoder = on_engine(default_encoder(), engine)
    images = images_of(encoder, encoder.in_one_batch(invariant=invariant) + 1)
    first = encoder.embed_images(images[:1], invariant=invariant)[0]
    for place in range(len(images)):
        turned = np.roll(images, place, axis=0)
        vectors = encoder.embed_images(turned, invariant=invariant)
        np.testing.assert_array_equal(vectors[place], first)


def test_what_waits_goes_together_as_far_as_it_costs_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = small_encoder(views=1)
    assert encoder.in_one_batch() == 8
    assert encoder.in_one_batch(invariant=True) == 1
    counted = Counted(encoder, monkeypatch)
    batcher = Batcher(encoder)
    with busy(batcher):
        waiting = [batcher.embed(one) for one in images_of(encoder, 11)]
    batcher.close()
    assert all(future.done() for future in waiting)
    assert counted.calls == [8, 3]


def test_images_of_other_wishes_do_not_share_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = small_encoder(views=1)
    images = images_of(encoder, 6)
    wishes = [None, False, True, None, False, True]
    expected = [
        encoder.embed_images(one[None], invariant=wish)[0]
        for one, wish in zip(images, wishes, strict=True)
    ]
    counted = Counted(encoder, monkeypatch)
    batcher = Batcher(encoder)
    with busy(batcher):
        waiting = [
            batcher.embed(one, invariant=wish)
            for one, wish in zip(images, wishes, strict=True)
        ]
    batcher.close()
    assert counted.calls == [2, 2, 1, 1]
    for vector, future in zip(expected, waiting, strict=True):
        np.testing.assert_array_equal(future.result().vector, vector)


def test_what_is_cancelled_before_its_turn_is_never_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = small_encoder(views=1)
    counted = Counted(encoder, monkeypatch)
    batcher = Batcher(encoder)
    with busy(batcher):
        given_up, wanted = map(batcher.embed, images_of(encoder, 2))
        assert given_up.cancel()
    batcher.close()
    assert wanted.done()
    assert counted.calls == [1]


def test_what_the_encoder_cannot_do_is_told_to_who_asked() -> None:
    encoder = small_encoder()
    batcher = Batcher(encoder)
    wrong = batcher.embed(np.zeros((2, 2, 2), np.float32))
    good = batcher.embed(images_of(encoder, 1)[0])
    assert isinstance(wrong.exception(60), RuntimeError)
    assert good.result(60).vector.shape == (encoder.card.dimension,)
    batcher.close()
