"""The statement splitter, the password hash, and what becomes of the driver's errors."""

import socket
from contextlib import closing

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc import sql
from byoc.errors import ByocError, NotAuthenticated, TooManyRequests, Unreachable, UsageError

_LITERALS = st.text(st.sampled_from("ab;'\"`#-/* \n"), max_size=12)


def _quote(text: str, quote: str) -> str:
    return quote + text.replace("\\", "\\\\").replace(quote, quote * 2) + quote


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ;; ; \n", []),
        ("select 1", ["select 1"]),
        ("select 1;", ["select 1"]),
        ("select 1; select 2", ["select 1", "select 2"]),
        ("select ';'; select \";\"; select `;`", ["select ';'", 'select ";"', "select `;`"]),
        (r"select '\';'; select 2", [r"select '\';'", "select 2"]),
        (r"select `\`; select 2", [r"select `\`", "select 2"]),
        ("select 'it''s;'; select 2", ["select 'it''s;'", "select 2"]),
        ("-- a; b\nselect 1", ["-- a; b\nselect 1"]),
        ("# a; b\nselect 1", ["# a; b\nselect 1"]),
        ("select 1 -- last; one", ["select 1 -- last; one"]),
        ("select 5--2; select 2", ["select 5--2", "select 2"]),
        ("select /* ; */ 1; /* only a comment; */", ["select /* ; */ 1"]),
        ("--\n; # nothing", []),
        ("/*! set @a = 1 */; select 2", ["/*! set @a = 1 */", "select 2"]),
        ("/*M! set @a = 1 */", ["/*M! set @a = 1 */"]),
        ("select 'never closed; ", ["select 'never closed;"]),
        ("select /* never closed; ", ["select /* never closed;"]),
        (
            "delimiter //\ncreate procedure p() begin do 1; do 2; end //\nDELIMITER ;\ncall p(); do 3",
            ["create procedure p() begin do 1; do 2; end", "call p()", "do 3"],
        ),
        ("delimiter_of_mine; select 1", ["delimiter_of_mine", "select 1"]),
        ("select delimiter $$ ; select 2", ["select delimiter $$", "select 2"]),
    ],
)
def test_statements_are_cut_as_the_server_reads_them(text: str, statements: list[str]) -> None:
    assert sql.split(text) == statements


@given(st.lists(st.tuples(_LITERALS, st.sampled_from("'\"`")), min_size=1, max_size=5))
def test_no_semicolon_inside_quotes_cuts(literals: list[tuple[str, str]]) -> None:
    statements = [f"select {_quote(text, quote)} as x" for text, quote in literals]
    assert sql.split(";\n".join(statements)) == statements


@given(st.text(max_size=40))
def test_any_text_can_be_cut(text: str) -> None:
    for statement in sql.split(text):
        assert statement == statement.strip()
        assert statement in text


def test_the_hash_is_the_servers_own() -> None:
    # select password('secret')
    assert sql.native_hash("secret") == "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (pymysql.err.OperationalError(2003, "Can't connect"), Unreachable),
        (pymysql.err.OperationalError(2013, "Lost connection"), Unreachable),
        (pymysql.err.OperationalError(1053, "Server shutdown in progress"), Unreachable),
        (pymysql.err.InterfaceError(0, ""), Unreachable),
        (TimeoutError(), Unreachable),
        (pymysql.err.OperationalError(1045, "Access denied for user"), NotAuthenticated),
        (pymysql.err.OperationalError(1040, "Too many connections"), TooManyRequests),
        (pymysql.err.ProgrammingError(1064, "You have an error\nnear 'selekt'"), UsageError),
        (pymysql.err.IntegrityError(1062, "Duplicate entry"), UsageError),
        (pymysql.err.ProgrammingError("not enough arguments"), UsageError),
    ],
)
def test_each_error_becomes_one_of_ours(error: Exception, kind: type[ByocError]) -> None:
    translated = sql._translated(error)
    assert type(translated) is kind
    assert "\n" not in translated.message


def test_a_refused_statement_keeps_the_servers_words() -> None:
    translated = sql._translated(pymysql.err.ProgrammingError(1146, "Table 'shop.t' doesn't exist"))
    assert translated.message == "Table 'shop.t' doesn't exist (SQL error 1146)"


def test_nobody_at_the_port_is_unreachable() -> None:
    with closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable):
            sql.connect(port=reserved.getsockname()[1], timeout=1)


def test_no_socket_file_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        sql.connect(socket="/nonexistent/sock", timeout=1)
