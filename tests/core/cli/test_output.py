"""What commands print: tables and values, those of plugins too."""

from uuid import UUID

from soniq.plugin import plain, table

ID = "01a20fbd-4909-7055-a4fb-30857a01e667"


def test_an_id_is_shown_as_a_command_takes_it() -> None:
    assert plain(UUID(ID)) == ID
    assert table(["id", "n"], [[UUID(ID), 1]]).splitlines()[1].split() == [ID, "1"]
