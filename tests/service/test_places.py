"""How many may wait is known from the turns of a line, and from nothing else."""

from twinjet.service.pace import Pace
from twinjet.service.places import Places


def of_uploads() -> Places:
    return Places(2, most=32, wait_s=2.0)


def test_a_pace_is_the_mean_of_late_turns_and_forgotten_with_its_line() -> None:
    pace = Pace()
    assert pace.turns_in(1, least=1, most=9) == 9
    pace.begin(0)
    for now in (1.0, 1.5, 2.0):
        pace.count(now)
    assert (pace.mean_s, pace.turns_in(1, least=1, most=9)) == (0.5, 2)
    assert pace.turns_in(1, least=3, most=9) == 3
    pace.begin(1)  # what there was no line in is no time between two turns
    pace.count(100.0)
    assert pace.mean_s == 0.5
    pace.begin(60)
    assert pace.turns_in(1, least=1, most=9) == 9


def test_nothing_is_known_where_nobody_waits() -> None:
    places = of_uploads()
    # A slow one beside quick ones, which come when they like.
    places.come(0)
    for now in range(0, 30, 3):
        places.come(now)
        places.go(now + 1, had_its_turn=True)
    places.go(40, had_its_turn=True)
    assert (places.taken, places.room) == (0, 32)


def test_a_line_that_moves_slowly_is_kept_short_until_it_is_forgotten() -> None:
    places = of_uploads()
    for _ in range(6):
        places.come(0)
    for turn in range(1, 7):
        places.go(turn / 4, had_its_turn=True)
    assert places.room == 8
    assert places.worked_off_s(8) == 2.0
    # One after the other makes no line, and a burst a minute later a new one.
    for now in range(2, 62):
        places.come(now)
        places.go(now + 0.5, had_its_turn=True)
    assert places.room == 8
    for _ in range(3):
        places.come(62)
    assert places.room == 32


def test_some_may_wait_however_long_it_takes() -> None:
    places = of_uploads()
    for _ in range(6):
        places.come(0)
    for turn in range(1, 4):
        places.go(7 * turn, had_its_turn=True)
    assert places.room == 4
    assert Places(2, most=3, wait_s=1).room == 3


def test_who_goes_away_has_had_no_turn() -> None:
    places = of_uploads()
    for _ in range(30):
        places.come(0)
    for turn in range(1, 3):
        places.go(turn / 2, had_its_turn=True)
    for _ in range(20):
        places.go(1.0, had_its_turn=False)
    assert (places.taken, places.room) == (8, 4)
