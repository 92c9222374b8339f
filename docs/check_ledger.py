"""Check a ledger without byoc: `python3 check_ledger.py LEDGER_FOLDER PINNED_JSON`. See ledger.md."""

import json
import sys
from base64 import urlsafe_b64decode
from hashlib import sha256, sha512
from pathlib import Path

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # Ed25519, RFC 8032
D, BASE_Y = -121665 * pow(121666, -1, P) % P, 4 * pow(5, -1, P) % P


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    t, x, y = D * a[0] * b[0] * a[1] * b[1], a[0] * b[1] + a[1] * b[0], a[1] * b[1] + a[0] * b[0]
    return x * pow(1 + t, -1, P) % P, y * pow(1 - t, -1, P) % P


def times(n: int, point: tuple[int, int]) -> tuple[int, int]:
    return add(times(n // 2, add(point, point)), point if n % 2 else (0, 1)) if n else (0, 1)


def decode(data: bytes) -> tuple[int, int]:
    sign, y = divmod(int.from_bytes(data, "little"), 2**255)
    u, v = y * y - 1, D * y * y + 1
    x = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    x = x if (v * x * x - u) % P == 0 else x * pow(2, (P - 1) // 4, P) % P
    return (x if x % 2 == sign else P - x), y


def signed(key: bytes, text: str, mark: bytes) -> bool:
    h, s = sha512(mark[:32] + key + text.encode()).digest(), int.from_bytes(mark[32:], "little")
    right = add(decode(mark[:32]), times(int.from_bytes(h, "little") % L, decode(key)))
    return bool(key) and s < L and times(s, decode(BASE_Y.to_bytes(32, "little"))) == right


def plain(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


folder, keys = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_bytes())["receiptKeys"]
trusted = {key["kid"]: plain(key["x"]) if key["kty"] == "OKP" else None for key in keys}
seen, before, checked = {}, "0" * 64, 0
for path in [*sorted(folder.glob("ledger-*.jsonl")), *folder.glob("ledger.jsonl")]:
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if path.name == "ledger.jsonl" and not line.endswith(b"\n"):
            break  # still being written, or cut short by a crash
        name = sha256(line[:-76] + b"}").hexdigest()
        if line[-76:] != b',"hash":"%b"}\n' % name.encode() or b'"prev":"%b"' % before.encode() not in line:
            sys.exit(f"{path.name}, line {number}: not what was written there, or the line before is not")
        before = seen[len(seen) + 1] = name
for token in (folder / "receipts.jsonl").read_text().split():
    text, _, mark = token.rpartition(".")
    head, claims = (json.loads(plain(part)) for part in text.split("."))
    if trusted.get(head["kid"], b"") is None:
        sys.exit(f"key {head['kid']} signs with ES256, which is not checked here: `byoc ledger verify` does")
    if head["typ"] == "byoc-receipt+jws" and signed(trusted.get(head["kid"], b""), text, plain(mark)):
        checked += 1
        if seen.get(claims["seq"]) != claims["hash"]:
            sys.exit(f"the control plane has seen a record {claims['seq']} that is not here")
print(f"{len(seen)} records, none edited, and none missing that one of {checked} good receipts names")
