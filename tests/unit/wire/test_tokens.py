import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import BadToken
from byoc.model.verbs import Verb
from byoc.wire import jws, tokens
from byoc.wire.keys import PublicKey, SealingKey, SigningKey
from byoc.wire.tokens import Change, Kind

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
KEY = SigningKey.generate()
OTHER = SigningKey.generate()
KEYS = {KEY.kid: KEY.public}
TARGET = "/cell/v1/workspaces/w?x=1"
CHANGES = (Change(4, Verb.WORKSPACE_RESIZE, "ann", NOW), Change(5, Verb.WORKSPACE_SUSPEND, "bob", NOW))


def request(key: SigningKey = KEY, **changes: Any) -> str:
    given: dict[str, Any] = {
        "issuer": "cp",
        "cell": "cell-1",
        "sub": "ann",
        "method": "PUT",
        "target": TARGET,
        "body": b"{}",
        "now": NOW,
        "jti": "j1",
        "base": 3,
        "changes": CHANGES,
    }
    return tokens.issue_request(key, **(given | changes))


def check(token: str, **changes: Any) -> tokens.RequestClaims:
    given: dict[str, Any] = {
        "cell": "cell-1",
        "method": "PUT",
        "target": TARGET,
        "body": b"{}",
        "now": NOW,
    }
    return tokens.check_request(token, KEYS, **(given | changes))


def reason(error: pytest.ExceptionInfo[BadToken]) -> str:
    return error.value.reason


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_a_request_says_what_was_signed() -> None:
    claims = check(request())

    assert claims.changes == CHANGES
    assert (claims.base, claims.jti, claims.sub, claims.issuer) == (3, "j1", "ann", "cp")
    assert claims.expires_at - claims.issued_at == timedelta(seconds=60)


def test_a_read_carries_verbs_and_no_base() -> None:
    claims = check(request(base=None, changes=(), verbs=(Verb.CELL_READ,)))

    assert (claims.verbs, claims.base, claims.changes) == ((Verb.CELL_READ,), None, ())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wanted", Kind)
def test_a_verifier_accepts_exactly_one_kind(kind: Kind, wanted: Kind) -> None:
    token = jws.sign(kind, {"a": 1}, KEY)
    if kind is wanted:
        assert jws.verify(wanted, token, KEYS) == {"a": 1}
        return
    with pytest.raises(BadToken) as error:
        jws.verify(wanted, token, KEYS)
    assert reason(error) == "wrong-type"


def test_every_kind_has_its_own_typ() -> None:
    assert len({kind.value for kind in Kind}) == len(Kind)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cell": "cell-2"}, "wrong-audience"),
        ({"method": "POST"}, "wrong-target"),
        ({"target": "/cell/v1/workspaces/w"}, "wrong-target"),
        ({"target": TARGET + "&y=2"}, "wrong-target"),
        ({"body": b"{ }"}, "wrong-body"),
        ({"now": NOW + timedelta(seconds=65)}, "expired"),
        ({"now": NOW - timedelta(seconds=6)}, "not-yet-valid"),
    ],
)
def test_a_request_is_good_for_one_call_only(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadToken) as error:
        check(request(), **changes)
    assert reason(error) == expected


@pytest.mark.parametrize("seconds", [-5, 0, 59, 64])
def test_clocks_may_differ_by_five_seconds(seconds: int) -> None:
    assert check(request(), now=NOW + timedelta(seconds=seconds)).jti == "j1"


def test_a_request_that_lives_longer_than_a_minute_is_refused() -> None:
    claims = jws.unverified(Kind.REQUEST, request())
    with pytest.raises(BadToken) as error:
        check(jws.sign(Kind.REQUEST, claims | {"exp": claims["exp"] + 1}, KEY))
    assert reason(error) == "life-too-long"


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "jti", "iat", "exp", "htm", "htu", "bdy"])
@pytest.mark.parametrize("value", [None, "", [], 1.5, True])
def test_a_claim_that_is_missing_or_mistyped_is_refused(name: str, value: object) -> None:
    claims = jws.unverified(Kind.REQUEST, request())
    with pytest.raises(BadToken) as error:
        check(jws.sign(Kind.REQUEST, claims | {name: value}, KEY))
    assert reason(error) == "wrong-claims"


@pytest.mark.parametrize(
    "change",
    [
        {"verb": "workspace.explode"},
        {"generation": -1},
        {"generation": "4"},
        {"at": "2030-01-01T00:00:00"},
        {"at": "yesterday"},
        {"sub": ""},
    ],
)
def test_a_change_that_cannot_be_understood_is_refused(change: dict[str, Any]) -> None:
    claims = jws.unverified(Kind.REQUEST, request())
    claims["changes"][0] |= change
    with pytest.raises(BadToken) as error:
        check(jws.sign(Kind.REQUEST, claims, KEY))
    assert reason(error) == "wrong-claims"


def test_verbs_and_changes_do_not_come_together() -> None:
    claims = jws.unverified(Kind.REQUEST, request())
    with pytest.raises(BadToken) as error:
        check(jws.sign(Kind.REQUEST, claims | {"verbs": ["cell.read"]}, KEY))
    assert reason(error) == "wrong-claims"


def test_a_token_of_an_unknown_key_is_refused() -> None:
    with pytest.raises(BadToken) as error:
        check(request(OTHER))
    assert reason(error) == "unknown-key"


def test_a_kid_that_lies_about_the_signer_is_refused() -> None:
    token = jwt.PyJWS().encode(
        b"{}", OTHER.material, algorithm="EdDSA", headers={"typ": Kind.REQUEST.value, "kid": KEY.kid}
    )
    with pytest.raises(BadToken) as error:
        check(token)
    assert reason(error) == "bad-signature"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "ES256", "RS256", None, 7, ""])
def test_the_algorithm_of_the_header_is_never_asked(algorithm: object) -> None:
    header = {"typ": Kind.REQUEST.value, "kid": KEY.kid, "alg": algorithm}
    with pytest.raises(BadToken) as error:
        check(forged(header, jws.unverified(Kind.REQUEST, request())))
    assert reason(error) in {"wrong-algorithm", "malformed"}


def test_a_public_key_used_as_a_shared_secret_is_refused() -> None:
    secret = KEY.public.jwk()["x"].encode() + b"=" * 16
    token = jwt.encode(
        jws.unverified(Kind.REQUEST, request()),
        secret,
        algorithm="HS256",
        headers={"kid": KEY.kid, "typ": Kind.REQUEST.value},
    )
    with pytest.raises(BadToken) as error:
        check(token)
    assert reason(error) == "wrong-algorithm"


def test_a_p256_key_signs_with_es256_and_nothing_else() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public = PublicKey(private.public_key())
    headers = {"typ": Kind.REQUEST.value, "kid": public.kid}
    token = jwt.PyJWS().encode(b'{"a":1}', private, algorithm="ES256", headers=headers)

    assert jws.verify(Kind.REQUEST, token, {public.kid: public}) == {"a": 1}
    with pytest.raises(BadToken) as error:
        jws.verify(Kind.REQUEST, forged({**headers, "alg": "EdDSA"}, {}), {public.kid: public})
    assert reason(error) == "wrong-algorithm"


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"kid": 7}])
def test_headers_that_change_the_meaning_are_refused(header: dict[str, Any]) -> None:
    token = forged({"typ": Kind.REQUEST.value, "kid": KEY.kid, "alg": "EdDSA", **header}, {})
    with pytest.raises(BadToken) as error:
        check(token)
    assert reason(error) == "malformed"


@given(st.text(max_size=200) | st.text("ey.J0_-", max_size=60))
def test_no_text_gets_in_or_breaks_the_verifier(text: str) -> None:
    with pytest.raises(BadToken):
        check(text)


@given(st.data())
def test_a_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    token = request()
    # The last character of each part may hold unused bits; any other one matters.
    ends = {place - 1 for place, letter in enumerate(token + ".") if letter == "."}
    place = data.draw(st.sampled_from([n for n in range(len(token)) if n not in ends]))
    letter = data.draw(st.sampled_from("Aa0_.").filter(lambda one: one != token[place]))
    with pytest.raises(BadToken):
        check(token[:place] + letter + token[place + 1 :])


def test_an_error_holds_nothing_of_the_token() -> None:
    token = request()
    with pytest.raises(BadToken) as error:
        check(token, body=b"other")
    assert not any(part in error.value.message for part in token.split("."))


def test_a_login_answers_one_challenge_at_one_gateway() -> None:
    token = tokens.issue_login(KEY, cell="c", challenge=b"x" * 32, audience="gw", now=NOW, jti="1")

    assert tokens.claimed_cell(token) == "c"
    assert tokens.check_login(token, KEYS, challenge=b"x" * 32, audience="gw", now=NOW) == "c"
    for changes, expected in (
        ({"challenge": b"y" * 32}, "wrong-challenge"),
        ({"audience": "gw2"}, "wrong-audience"),
        ({"now": NOW + timedelta(seconds=66)}, "expired"),
    ):
        given = {"challenge": b"x" * 32, "audience": "gw", "now": NOW} | changes
        with pytest.raises(BadToken) as error:
            tokens.check_login(token, KEYS, **given)
        assert reason(error) == expected


def test_a_cell_cannot_log_in_as_the_control_plane_nor_as_another_cell() -> None:
    given: dict[str, Any] = {"challenge": b"x" * 32, "audience": "gw", "now": NOW}
    token = tokens.issue_login(KEY, cell="other-cell", jti="1", **given)

    with pytest.raises(BadToken) as error:
        tokens.check_controlplane_login(token, KEYS, **given)
    assert reason(error) == "wrong-type"
    with pytest.raises(BadToken) as error:
        tokens.check_login(token, {OTHER.kid: OTHER.public}, **given)
    assert reason(error) == "unknown-key"


def test_the_control_plane_brings_its_key_set_to_a_gateway() -> None:
    given: dict[str, Any] = {"challenge": b"x" * 32, "audience": "gw", "now": NOW}
    token = tokens.issue_controlplane_login(KEY, issuer="cp", jti="1", key_set="the set", **given)

    assert tokens.carried_key_set(token) == "the set"
    assert tokens.check_controlplane_login(token, KEYS, **given) == "cp"


def test_an_enrolment_is_bound_to_a_thumbprint_for_fifteen_minutes() -> None:
    token = tokens.issue_enrolment(KEY, organization="o", cell="c", thumbprint="t", now=NOW, jti="1")

    claims = tokens.check_enrolment(token, KEYS, thumbprint="t", now=NOW + timedelta(minutes=15))
    assert (claims.organization, claims.cell, claims.thumbprint) == ("o", "c", "t")
    with pytest.raises(BadToken) as error:
        tokens.check_enrolment(token, KEYS, thumbprint="u", now=NOW)
    assert reason(error) == "wrong-key"
    with pytest.raises(BadToken) as error:
        tokens.check_enrolment(token, KEYS, thumbprint="t", now=NOW + timedelta(minutes=15, seconds=5))
    assert reason(error) == "expired"


@pytest.mark.parametrize("changes", [{"jti": "j2"}, {"status": 201}, {"body": b"no"}])
def test_an_answer_is_bound_to_request_status_and_body(changes: dict[str, Any]) -> None:
    given: dict[str, Any] = {"jti": "j1", "status": 200, "body": b"yes"}
    token = tokens.sign_answer(KEY, **given)

    tokens.check_answer(token, KEYS, **given)
    with pytest.raises(BadToken) as error:
        tokens.check_answer(token, KEYS, **(given | changes))
    assert reason(error) == "wrong-answer"


def test_a_report_is_believed_only_with_the_key_of_its_cell() -> None:
    token = tokens.sign_report(KEY, {"cell": "c", "seq": 1})

    assert tokens.claimed_cell(token) == "c"
    assert tokens.open_report(token, KEYS) == {"cell": "c", "seq": 1}
    with pytest.raises(BadToken):
        tokens.open_report(token, {OTHER.kid: OTHER.public})


REPORT = tokens.name_report("life", 12, "r.e.port")


def test_a_receipt_comes_back() -> None:
    token = tokens.sign_receipt(KEY, cell="c", chain="h", seq=7, hash="ab", report=REPORT, at=NOW)

    assert tokens.check_receipt(token, KEYS) == tokens.Receipt("c", "h", 7, "ab", NOW, REPORT)


def test_a_receipt_of_before_it_named_its_report_still_proves_a_head() -> None:
    claims = {"cell": "c", "chain": "h", "seq": 7, "hash": "ab", "at": "2030-01-01T12:00:00Z"}

    assert tokens.check_receipt(jws.sign(Kind.RECEIPT, claims, KEY), KEYS).report is None


@pytest.mark.parametrize("report", [None, {}, {"incarnation": "life", "seq": 12}, {"seq": "12"}])
def test_a_receipt_that_names_half_a_report_is_refused(report: object) -> None:
    claims = {"cell": "c", "chain": "h", "seq": 7, "hash": "ab", "at": "2030-01-01T12:00:00Z"}

    with pytest.raises(BadToken) as error:
        tokens.check_receipt(jws.sign(Kind.RECEIPT, claims | {"report": report}, KEY), KEYS)
    assert reason(error) == "wrong-claims"


def test_reports_are_told_apart_by_place_and_by_content() -> None:
    others = [("other", 12, "r.e.port"), ("life", 13, "r.e.port"), ("life", 12, "r.e.port2")]

    assert tokens.name_report("life", 12, "r.e.port") == REPORT
    assert REPORT not in {tokens.name_report(*other) for other in others}


def test_a_word_about_an_older_report_comes_back() -> None:
    said = tokens.Behind("c", REPORT, "life", 20, 5)

    assert tokens.check_behind(tokens.sign_behind(KEY, said), KEYS) == said
    with pytest.raises(BadToken):
        tokens.check_behind(tokens.sign_behind(OTHER, said), KEYS)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (("life", 12, 5), False),
        (("life", 11, 4), False),
        (("life", 13, 0), True),
        (("life", 0, 6), True),
        (("next", 1, 0), True),
    ],
    ids=["the same report", "less", "a newer report", "a newer record", "a newer incarnation"],
)
def test_only_what_is_newer_says_that_a_cell_is_behind(known: tuple[str, int, int], expected: bool) -> None:
    assert tokens.Behind("c", REPORT, *known).holds(5) is expected


def test_a_sealing_key_is_certified_by_the_cells_signing_key() -> None:
    sealing, another = SealingKey.generate().public_jwk(), SealingKey.generate().public_jwk()
    certificate = tokens.certify_sealing_key(KEY, sealing)

    tokens.check_sealing_certificate(certificate, KEY.public, sealing)
    with pytest.raises(BadToken) as error:
        tokens.check_sealing_certificate(certificate, KEY.public, another)
    assert reason(error) == "wrong-key"
    with pytest.raises(BadToken) as error:
        tokens.check_sealing_certificate(certificate, OTHER.public, sealing)
    assert reason(error) == "unknown-key"
