"""A key server for `key_server` with the protocol `json`: it answers a question for a key with a key record.

    KEYLET_KEY_SERVER_TOKEN='a secret of your own' python3 examples/key-server/server.py
"""

import hmac
import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

TOKEN = "Bearer " + os.environ["KEYLET_KEY_SERVER_TOKEN"]
KEYS = {
    "339c45b5-fb6d-4bd9-994c-eabd9d41c95b": {
        "id": "movie-42", "track": "hd", "terms": {"lease_seconds": 300},
        "key": "a537cdc0ca65841406d525e7bf22d754", "iv": "000102030405060708090a0b0c0d0e0f",
    },
}


class KeyServer(BaseHTTPRequestHandler):
    def do_POST(self):
        if not hmac.compare_digest(self.headers.get("authorization", ""), TOKEN):
            return self.answer(401, {})
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for kid, record in KEYS.items():
            if kid == asked.get("kid") or record["id"] == asked.get("id"):
                return self.answer(200, {"kid": kid, **record})
        self.answer(404, {})

    def answer(self, status, document):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())


HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8090"))), KeyServer).serve_forever()
