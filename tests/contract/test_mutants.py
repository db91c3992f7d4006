"""Mistakes that were made on purpose are noticed by the contract of transports, or by a recording."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.mutants.patches import MUTANTS, Mutant
from tests.mutants.run import SUITES, WORKERS, killers, node_id, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

MUTANTS_MIN = 40


def test_the_table_has_every_mutant() -> None:
    """At least 40 mutants, each with a name of its own, and `docs/mutants.md` names a killer for each and no other."""
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) >= MUTANTS_MIN
    assert Counter(names).most_common(1)[0][1] == 1
    assert list(table()) == names


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[list[str]]]]:
    """Begin to run, a few at a time, the killer of each mutant that is asked for: most of them wait."""
    wanted = [item.callspec.params["mutant"] for item in request.session.items if _is_of_a_mutant(item)]
    names = table()
    with ThreadPoolExecutor(WORKERS) as pool:
        yield {
            mutant.name: pool.submit(killers, mutant.name, [node_id(names[mutant.name], mutant.suite)])
            for mutant in wanted
        }
        pool.shutdown(cancel_futures=True)


def _is_of_a_mutant(item: pytest.Item) -> bool:
    return item.path.samefile(__file__) and "mutant" in getattr(getattr(item, "callspec", None), "params", ())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed(mutant: Mutant, runs: dict[str, Future[list[str]]]) -> None:
    """The test that the table names fails with the mutant; if it does not, the message tells which one does."""
    if not runs[mutant.name].result():
        killer = node_id(table()[mutant.name], mutant.suite)
        others = killers(mutant.name, ["-x", *SUITES[mutant.suite]])
        pytest.fail(f"{killer} lets it live; {others[0] if others else 'and so does everything else'}", pytrace=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("suite", SUITES)
def test_the_killers_pass_without_a_mutant(suite: str) -> None:
    """What kills mutants does so because of them: run in the same way without any, all of it passes."""
    tests = sorted({node_id(table()[mutant.name], suite) for mutant in MUTANTS if mutant.suite == suite})
    assert killers("", tests) == []
