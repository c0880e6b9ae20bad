#!/usr/bin/env python3
"""Writes fixtures/keys/derived.json: keys, IVs and KIDs that seeds make.

It shares no code with the server: it follows docs/derived-keys.md alone. HKDF is written out here from RFC 5869; AES is
that of the package `cryptography`. The seeds are public: they are for tests only.
"""

import base64
import hashlib
import hmac
import json
import sys
import uuid

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TRACKS = [None, "audio", "sd", "hd", "uhd"]


def hkdf(seed, info, size):
    """RFC 5869 with SHA-256 and no salt."""
    prk = hmac.new(bytes(32), seed, hashlib.sha256).digest()
    okm, block, count = b"", b"", 1
    while len(okm) < size:
        block = hmac.new(prk, block + info + bytes([count]), hashlib.sha256).digest()
        okm, count = okm + block, count + 1
    return okm[:size]


def playready(seed, kid):
    """The key seed algorithm of PlayReady."""
    k = uuid.UUID(bytes=kid).bytes_le
    digests = [hashlib.sha256(data).digest() for data in (seed + k, seed + k + seed, seed + k + seed + k)]
    key = bytes(16)
    for digest in digests:
        for half in (digest[:16], digest[16:]):
            key = bytes(a ^ b for a, b in zip(key, half))
    return key


def aes(key):
    return Cipher(algorithms.AES(key), modes.ECB())


def make_kid(seed, content_id, period, track):
    content = hmac.new(hkdf(seed, b"keylet content 1", 64), content_id.encode(), hashlib.sha256).digest()[:8]
    block = content + period.to_bytes(4, "big") + bytes([TRACKS.index(track)]) + bytes(3)
    cipher = aes(hkdf(seed, b"keylet kid 1", 16))
    kid = cipher.encryptor().update(block)
    assert cipher.decryptor().update(kid) == block
    return kid


class Seed:
    def __init__(self, algorithm, text, iv=None):
        self.setting = {"algorithm": algorithm, "seed": text} | ({"iv": iv} if iv else {})
        if algorithm == "playready":
            self.bytes = base64.b64decode(text)[:30]
        else:
            is_hex = all(c in "0123456789abcdefABCDEF" for c in text)
            self.bytes = bytes.fromhex(text) if is_hex else base64.b64decode(text)

    def derived(self, kid):
        key = {
            "playready": lambda: playready(self.bytes, kid),
            "hkdf-sha256": lambda: hkdf(self.bytes, b"keylet key 1" + kid, 16),
        }[self.setting["algorithm"]]()
        iv = {
            "kid": lambda: kid,
            "derived": lambda: hkdf(self.bytes, b"keylet iv 1" + kid, 16),
        }.get(self.setting.get("iv", "kid"), lambda: bytes.fromhex(self.setting["iv"]))()
        return {"kid": str(uuid.UUID(bytes=kid)), "key": key.hex(), "iv": iv.hex()}


LONG = bytes(range(100))
SEEDS = [
    Seed("hkdf-sha256", "00112233445566778899aabbccddeeff" * 2),
    Seed("hkdf-sha256", base64.b64encode(LONG).decode(), "derived"),
    Seed("hkdf-sha256", "FF" * 32, "000102030405060708090a0b0c0d0e0f"),
    Seed("playready", "XVBovsmzhP9gRIZxWfFta3VVRPzVEWmJsazEJ46I"),
    # What stands behind 30 bytes is not used.
    Seed("playready", base64.b64encode(LONG).decode(), "derived"),
]
MADE = [
    ("movie-42", 0, None),
    ("movie-42", 0, "audio"),
    ("movie-42", 0, "sd"),
    ("movie-42", 0, "hd"),
    ("movie-42", 0, "uhd"),
    ("channel/één", 4294967295, "hd"),
    ("339c45b5fb6d4bd9994ceabd9d41c95b", 1, "uhd"),
]
FOREIGN = [
    "339c45b5-fb6d-4bd9-994c-eabd9d41c95b",
    "8ba94ade-6eb9-449d-b44f-a5beefaf43b0",
    "10000000-1000-1000-1000-100000000001",
    "09e36702-8f33-436c-a5dd-60ffe6671e70",
]


def cases(seed):
    made = [
        {"content_id": content_id, "period": period}
        | ({"track": track} if track else {})
        | seed.derived(make_kid(seed.bytes, content_id, period, track))
        for content_id, period, track in MADE
    ]
    return {
        "seed": seed.setting,
        "made": made,
        "foreign": [seed.derived(uuid.UUID(kid).bytes) for kid in FOREIGN],
    }


document = {
    "comment": "What seeds make. Written by tests/keys/derived.py, which shares no code with the server. "
    "The first row of PlayReady's first seed is published (Azure Media Services' SDK).",
    "seeds": [cases(seed) for seed in SEEDS],
}
text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
with open(sys.argv[1], "w", encoding="utf-8") if len(sys.argv) > 1 else sys.stdout as file:
    file.write(text)
