"""Who may do what: the whole matrix, and the rows that must never appear."""

import itertools

import pytest

from davy.fact.event import Verb
from davy.people import Place, Role, allowed
from davy.people.matrix import ACTS, MATRIX
from davy.reading.tag import Class


@pytest.mark.parametrize("verb", Verb)
def test_a_centre_can_do_nothing_to_an_alarm(verb: Verb) -> None:
    assert not any(allowed(verb, role, cls, Place.centre) for role, cls in itertools.product(Role, Class))


@pytest.mark.parametrize("verb", [Verb.timed_shelve, Verb.one_shot_shelve, Verb.suppress, Verb.remove_from_service])
def test_no_one_person_may_silence_a_statutory_alarm(verb: Verb) -> None:
    assert not any(allowed(verb, role, Class.statutory, place) for role, place in itertools.product(Role, Place))


@pytest.mark.parametrize("role", [Role.viewer, Role.inspector])
def test_who_only_looks_can_do_nothing_but_look(role: Role) -> None:
    could = {act for act, cls, place in itertools.product(ACTS, Class, Place) if allowed(act, role, cls, place)}
    assert could == {"view"}


def test_an_operator_acknowledges_everything_and_shelves_what_is_not_statutory() -> None:
    assert all(allowed(Verb.acknowledge, "operator", cls, "edge") for cls in Class)
    assert allowed(Verb.timed_shelve, "operator", "process", "edge")
    assert not allowed(Verb.suppress, "operator", "process", "edge")


def test_words_the_matrix_does_not_know_are_refused() -> None:
    assert not allowed("acknowledge", "root", "process", "edge")
    assert not allowed("explode", "admin", "process", "edge")
    assert not allowed("acknowledge", "operator", "process", "moon")


def test_every_verb_on_alarms_stands_in_the_matrix_and_only_the_admin_manages_people() -> None:
    assert {verb.name for verb in Verb} <= ACTS
    assert [row.roles for row in MATRIX if "people" in row.acts] == [frozenset({Role.admin})]
