"""What a run beside a noisy neighbour says, and when it says that the target is met."""

import pytest

from bench.neighbour import ELSEWHERE, HUNDRED, KINDS, LIMIT, TEN, Round, rows
from bench.noise import Told

SENT = LIMIT * 100 * 2
TOLD = Told(SENT, 2.0, 2.1, {"202": 50, "429": SENT - 50}, {"200": 50, "429": SENT - 50}, 0.2)


def round_of(p99: float) -> Round:
    return Round(p99, p99, p99, {"user-service": 0.2}, TOLD)


def fresh_row(**p99: float) -> tuple[str, bool]:
    by_kind = {TEN: p99.get("ten", 1.0), HUNDRED: p99.get("hundred", 1.0)}
    row = rows({kind: [round_of(by_kind.get(kind, 1.0))] for kind in KINDS})[0]
    return row.measured, row.met


@pytest.mark.parametrize(("ten", "hundred"), [(1.3, 1.0), (1.0, 1.3)])
def test_target_is_met_at_both_loads_or_not_at_all(ten: float, hundred: float) -> None:
    assert fresh_row(ten=1.2, hundred=1.25) == (
        "1.2 [1.2 - 1.2] and 1.25 [1.25 - 1.25]",
        True,
    )
    assert not fresh_row(ten=ten, hundred=hundred)[1]


def test_row_says_how_much_was_sent() -> None:
    row = rows({kind: [round_of(1.0)] for kind in KINDS})[0]
    assert "it sent 100 [100 - 100] and 100 [100 - 100] times that" in row.detail
    # What a row is known by in the document ends at a semicolon.
    assert ";" not in row.what


def test_what_the_services_let_happen_is_told_apart_from_a_machine_that_is_shared() -> None:
    slow = {HUNDRED: 2.0, ELSEWHERE: 2.0}
    shared = rows({kind: [round_of(slow.get(kind, 1.0))] for kind in KINDS})
    assert [row.met for row in shared] == [False, False, False, True]
    ours = rows({kind: [round_of({HUNDRED: 2.0}.get(kind, 1.0))] for kind in KINDS})
    assert not ours[-1].met
