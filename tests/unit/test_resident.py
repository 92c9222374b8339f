import subprocess
import sys

# In a process of its own: what else a test run has loaded would say nothing about a server.
_LOOK = """
import re
from pathlib import Path
import cryptography.hazmat.bindings._rust, hashlib, ssl, sqlite3
from byoc.resident import give_back_code

def code_in_memory():
    said = Path("/proc/self/smaps").read_text()
    blocks = re.findall(r"^\\S+ r-xp \\S+ \\S+ [1-9]\\d* +/.*?^Rss: +(\\d+) kB", said, re.M | re.S)
    return sum(map(int, blocks))

before = code_in_memory()
given = give_back_code()
print(before, code_in_memory(), given, hashlib.sha256(b"").hexdigest()[:8])
"""


def test_code_that_ran_once_is_given_back_and_what_runs_again_still_works() -> None:
    said = subprocess.run([sys.executable, "-c", _LOOK], check=True, capture_output=True, text=True).stdout
    before, after, given, digest = said.split()

    assert int(given) > 0
    # What the loop itself runs comes back at once: a few pages of the interpreter and of libc.
    assert int(after) < int(before) / 2
    assert digest == "e3b0c442"
