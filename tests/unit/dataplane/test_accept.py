"""What a cell takes for a spec, and everything that it does not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.accept import read_delivery, read_resync
from byoc.errors import UsageError
from byoc.testing.cell import GROUP, ORDERS
from byoc.wire.cell import Delivery, Resync, encode

BAD = [
    (b"", "JSON"),
    (b"[]", "Delivery"),
    (b"\xff", "JSON"),
    (b"[" * 100_000, "JSON"),
    (b"{}", "exactly one"),
    (json.dumps(encode(Delivery(group=GROUP, workspace=ORDERS))).encode(), "exactly one"),
    (json.dumps(encode(Delivery(workspace=ORDERS, sealed_password="x"))).encode(), "password"),
    (json.dumps({"workspace": {**encode(ORDERS), "color": "red"}}).encode(), "color"),
    (json.dumps({"workspace": {**encode(ORDERS), "size": "S-7"}}).encode(), "size"),
    (json.dumps({"workspace": {**encode(ORDERS), "scaleFactor": 3}}).encode(), "scaleFactor"),
    (json.dumps({"workspace": {**encode(ORDERS), "cacheConfig": 0}}).encode(), "cacheConfig"),
    (json.dumps({"workspace": {**encode(ORDERS), "generation": 0}}).encode(), "generation"),
    (json.dumps({"workspace": {**encode(ORDERS), "desiredGeneration": 9}}).encode(), "desired"),
    (json.dumps({"workspace": {**encode(ORDERS), "name": ""}}).encode(), "name"),
    (json.dumps({"workspace": {**encode(ORDERS), "id": "../../secrets/x"}}).encode(), "UUID"),
    (json.dumps({"workspace": {**encode(ORDERS), "id": f"{{{ORDERS.id}}}"}}).encode(), "UUID"),
    (json.dumps({"workspace": {**encode(ORDERS), "groupID": "x/y"}}).encode(), "UUID"),
]


@pytest.mark.parametrize(("body", "named"), BAD)
def test_a_body_that_is_no_delivery_is_refused_and_the_reason_named(body: bytes, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        read_delivery(body)


def test_a_good_one_comes_out_as_it_went_in() -> None:
    body = json.dumps(encode(Delivery(group=GROUP, sealed_password="x"))).encode()
    assert read_delivery(body) == (GROUP, "x")


def test_a_resync_is_read_as_strictly() -> None:
    body = json.dumps(encode(Resync((GROUP,), (ORDERS,)))).encode()
    assert read_resync(body) == (GROUP, ORDERS)
    with pytest.raises(UsageError, match="size"):
        read_resync(body.replace(b"S-00", b"S-99"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(encode(ORDERS))), JSON)
def test_no_value_of_any_field_is_anything_but_a_spec_or_a_refusal(field: str, value: object) -> None:
    body = json.dumps({"workspace": {**encode(ORDERS), field: value}}).encode()
    outcome = _outcome(body)
    assert outcome == ORDERS.id or outcome.isprintable()


def _outcome(body: bytes) -> str:
    try:
        return read_delivery(body)[0].id
    except UsageError as error:
        return error.message


@given(st.binary())
def test_no_bytes_are_anything_but_a_refusal(body: bytes) -> None:
    with pytest.raises(UsageError):
        read_delivery(body)
