"""A back end for the `callback` of a policy: who may play what, and on which terms.

    KEYLET_CALLBACK_SECRET='a secret of thirty-two bytes, or more' python3 examples/backend.py
"""

import hashlib
import hmac
import json
import os
import re
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = os.environ["KEYLET_CALLBACK_SECRET"].encode()
RIGHTS = {"viewer-1": {"lease_seconds": 300, "hdcp": "type0"}}


class Backend(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        # `t=<seconds since 1970>,v1=<hexadecimal HMAC-SHA256 of time, full stop and body>`
        signature = re.fullmatch(r"t=([0-9]+),v1=([0-9a-f]{64})", self.headers.get("x-keylet-signature", ""))
        if not signature:
            return self.answer(401, {})
        tag = hmac.new(SECRET, signature[1].encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(tag, signature[2]) or abs(time.time() - int(signature[1])) > 60:
            return self.answer(401, {})
        question = json.loads(body)
        terms = RIGHTS.get(question["claims"].get("sub"))
        self.answer(200, {"terms": terms} if terms else {"refuse": "no subscription"})

    def answer(self, status, document):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())


HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Backend).serve_forever()
