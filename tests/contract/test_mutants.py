"""Mistakes that were made on purpose are noticed by the contract of transports, or by a recording."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mutants.patches import MUTANTS, Mutant
from tests.mutants.run import SUITES, killers, node_id, table

MUTANTS_MIN = 40


def test_the_table_has_every_mutant() -> None:
    """At least 40 mutants, each with a name of its own, and `docs/mutants.md` names a killer for each and no other."""
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) >= MUTANTS_MIN
    assert Counter(names).most_common(1)[0][1] == 1
    assert list(table()) == names


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_killed(mutant: Mutant) -> None:
    """The test that the table names fails with the mutant; if it does not, the message tells which one does."""
    killer = node_id(table()[mutant.name], mutant.suite)
    if not killers(mutant.name, [killer]):
        others = killers(mutant.name, ["-x", *SUITES[mutant.suite]])
        pytest.fail(f"{killer} lets it live; {others[0] if others else 'and so does everything else'}", pytrace=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("suite", SUITES)
def test_the_killers_pass_without_a_mutant(suite: str) -> None:
    """What kills mutants does so because of them: run in the same way without any, all of it passes."""
    tests = sorted({node_id(table()[mutant.name], suite) for mutant in MUTANTS if mutant.suite == suite})
    assert killers("", tests) == []
