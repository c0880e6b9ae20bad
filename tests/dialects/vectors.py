"""What the encoders share: their time, what a case is answered with, and where they write."""

import json
import os
import pathlib
import sys

NOW = int(os.environ.get("NOW", 1_800_000_000))  # 2027-01-15T08:00:00Z

# How long a session plays that is opened now: to the end of the next minute, less five seconds.
SESSION = (NOW // 60 + 2) * 60 - 5 - NOW


def ok(**granted):
    return {"status": 200, "granted": granted}


def refused(status, code):
    return {"status": status, "code": code}


MALFORMED = refused(401, "token_claims")
UNSUPPORTED = refused(403, "term_unsupported")


def write(dialect, document):
    """Writes to the file that the first argument names, or else among the fixtures."""
    default = pathlib.Path(__file__).parents[2] / "fixtures" / "dialects" / f"{dialect}.json"
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
