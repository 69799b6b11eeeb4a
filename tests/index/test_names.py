"""One source, many spellings; one position, many notations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinjet.index.names import parse_position, source_key


@pytest.mark.parametrize(
    "text",
    [
        "RGZ J091635.5+044052",
        "J091635.5 044052",
        "j091635.5+044052",
        " RGZ_J091635.5+044052 ",
        "RGZJ091635.5+044052",
        "RGZ J091635.5 044052",
    ],
)
def test_spellings_of_a_name_have_one_key(text: str) -> None:
    assert source_key(text) == "J091635.5+044052"


def test_kinds_of_minus_are_one_and_signs_are_two() -> None:
    assert source_key("J0916\u22120440") == source_key("J0916-0440")
    assert source_key("J0916+0440") != source_key("J0916-0440")


@pytest.mark.parametrize(
    "text",
    [
        "139.148 +4.681",
        "139.148, 4.681",
        "139.148d 4.681d",
        "09 16 35.52 +04 40 51.6",
        "09:16:35.52 +04:40:51.6",
        "9h16m35.52s +4d40m51.6s",
        "09 16 35.52 04 40 51.6",
        "J091635.52+044051.6",
    ],
)
def test_notations_of_a_position_agree(text: str) -> None:
    position = parse_position(text)
    assert position is not None
    assert position == pytest.approx((139.148, 4.681), abs=2e-4)


@pytest.mark.parametrize(
    "text", ["", "NGC 1265", "139.1", "361 0", "10 91", "J12", "+"]
)
def test_what_is_no_position_is_none(text: str) -> None:
    assert parse_position(text) is None


def test_southern_positions_keep_their_sign() -> None:
    position = parse_position("00:00:36 -00:30:00")
    assert position == pytest.approx((0.15, -0.5))


@given(st.text(max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    source_key(text)
    position = parse_position(text)
    assert position is None or (0 <= position[0] <= 360 and -90 <= position[1] <= 90)
