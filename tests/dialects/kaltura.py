#!/usr/bin/env python3
"""Writes fixtures/dialects/kaltura.json: custom data of Kaltura uDRM, and what each is answered with.

An encoder of its own: it shares no code with the server. The secrets are made for these vectors.
"""

import base64
import hashlib
import json
import struct
import urllib.parse

from vectors import write

KEYS = {"1851571": b"signing-key-of-1851571", "4281523": b"signing-key-of-4281523"}
CASES = []


def encode(document):
    return document.encode() if isinstance(document, str) else json.dumps(document, separators=(",", ":")).encode()


def sign(document, key=KEYS["1851571"]):
    return base64.b64encode(hashlib.sha1(key + encode(document)).digest()).decode()


def data(**members):
    members = {
        "ca_system": "OVP",
        "user_token": "djJ8MTIz",
        "account_id": 1851571,
        "content_id": "movie-1",
        "files": "",
        **members,
    }
    return {name: value for name, value in members.items() if value is not None}


def case(name, comment, token, signature, expect):
    one = {"name": name, "comment": comment, "query": "custom_data", "token": token}
    if signature is not None:
        one["signature"] = signature
    CASES.append({**one, "asset": "movie-1", "expect": expect})


def base64_of(document):
    return base64.b64encode(encode(document)).decode()


def granted(name, comment, document, keys, key=KEYS["1851571"], encoding=str):
    expect = {"status": 200, "needs_callback": True, "granted": {}, "entitlements": [{"keys": keys}]}
    case(name, comment, encoding(base64_of(document)), encoding(sign(document, key)), expect)


def refused(name, comment, document, code, signature=None, status=401, **more):
    signature = sign(document) if signature is None else signature
    case(name, comment, base64_of(document), signature, {"status": status, "code": code, **more})


def sha1_continued(digest, length, suffix):
    """SHA-1 (FIPS 180-4) of what is not known, its padding and a suffix, from the digest of the first."""
    def rotate(value, bits):
        return (value << bits | value >> 32 - bits) & 0xFFFFFFFF

    state = list(struct.unpack(">5I", digest))
    total = length + len(suffix)
    suffix += b"\x80" + bytes((55 - total) % 64) + struct.pack(">Q", total * 8)
    for start in range(0, len(suffix), 64):
        words = list(struct.unpack(">16I", suffix[start:start + 64]))
        for i in range(16, 80):
            words.append(rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1))
        a, b, c, d, e = state
        for i, word in enumerate(words):
            if i < 20:
                f, k = b & c | ~b & d, 0x5A827999
            elif i < 40:
                f, k = b ^ c ^ d, 0x6ED9EBA1
            elif i < 60:
                f, k = b & c | b & d | c & d, 0x8F1BBCDC
            else:
                f, k = b ^ c ^ d, 0xCA62C1D6
            a, b, c, d, e = (rotate(a, 5) + f + e + k + word) & 0xFFFFFFFF, a, rotate(b, 30), c, d
        state = [(one + other) & 0xFFFFFFFF for one, other in zip(state, (a, b, c, d, e))]
    return struct.pack(">5I", *state)


def main():
    def quoted(text):
        return urllib.parse.quote(text, safe="")

    # What is granted is the back end's to say: here it says nothing that restricts.
    granted("plain", "an entry of an account that is a number", data(), ["movie-1"])
    granted("account-text", "an account that is text", data(account_id="1851571"), ["movie-1"])
    granted("quoted", "both values percent-encoded once more", data(udid="device-1"), ["movie-1"], encoding=quoted)
    granted("plus-lost", "a query that was decoded once too often", data(user_token="djJ8MTIz", note="~~~???>>>"),
            ["movie-1"], encoding=lambda text: text.replace("+", " "))
    granted("other-account", "another account's key", data(account_id=4281523), ["movie-1"], KEYS["4281523"])
    granted("flavours", "flavours of an account name no key", data(files="0,487041,"), ["movie-1"])
    granted("files", "flavour assets of an entry", data(content_id="1_e65kefsx", files="0_zwq3l44r,movie-1"),
            ["1_e65kefsx", "0_zwq3l44r", "movie-1"])
    granted("files-list", "files in a list, of the other system",
            data(ca_system="OTT", content_id=480097, files=[7, "movie-1"]), ["480097", "7", "movie-1"])
    granted("files-absent", "no files", data(files=None), ["movie-1"])
    granted("contents", "several contents", data(content_id="movie-0,movie-1", files=""), ["movie-0", "movie-1"])

    refused("other-content", "another content", data(content_id="movie-2"), "not_entitled", status=403,
            needs_callback=True, entitlements=[{"keys": ["movie-2"]}])
    refused("wrong-key", "signed with another account's key", data(), "token_signature",
            sign(data(), KEYS["4281523"]))
    refused("changed", "changed after signing", data(content_id="movie-1"), "token_signature",
            sign(data(content_id="movie-2")))
    refused("short", "a part of the signature", data(), "token_signature",
            base64.b64encode(base64.b64decode(sign(data()))[:10]).decode())
    refused("empty", "an empty signature", data(), "token_signature", "")
    refused("no-base64", "a signature that is none", data(), "token_signature", "%%%")
    case("no-signature", "no signature", base64_of(data()), None, {"status": 401, "code": "token_signature"})
    refused("unknown-account", "an account whose key is not configured", data(account_id=1), "token_key_unknown",
            sign(data(account_id=1), b""))
    refused("no-account", "no account", data(account_id=None), "token_claims")
    refused("account-fraction", "an account that is no whole number", data(account_id=1.5), "token_claims")
    refused("no-content", "no content", data(content_id=None), "token_claims")
    refused("empty-content", "an empty content", data(content_id=","), "token_claims")
    refused("any-content", "`*` is no content", data(content_id="*"), "token_claims")
    refused("any-file", "`*` is no file", data(files="movie-2,*"), "token_claims")
    refused("file-object", "files that are an object", data(files={}), "token_claims")
    refused("token-number", "a user token that is no text", data(user_token=1), "token_claims")
    twice = json.dumps(data())[:-1] + ',"content_id":"movie-2"}'
    refused("twice", "a member occurs twice", twice, "token_claims")

    # The secret in front of what is hashed lets anybody continue it: the result is no JSON.
    document = encode(data(content_id="movie-2"))
    length = len(KEYS["1851571"]) + len(document)
    padding = b"\x80" + bytes((55 - length) % 64) + struct.pack(">Q", length * 8)
    suffix = encode(data())
    digest = sha1_continued(base64.b64decode(sign(data(content_id="movie-2"))), length + len(padding), suffix)
    whole = document + padding + suffix
    assert digest == hashlib.sha1(KEYS["1851571"] + whole).digest()
    case("continued", "a digest that was continued without the key", base64.b64encode(whole).decode(),
         base64.b64encode(digest).decode(), {"status": 401, "code": "token_malformed"})
    case("no-object", "a document that is none", base64_of("[]"), sign("[]"),
         {"status": 401, "code": "token_malformed"})

    document = {
        "comment": "Custom data of Kaltura uDRM; written by tests/dialects/kaltura.py. The values are those of the "
        "query after it was decoded. `needs_callback`: the answer is the back end's, here one that grants without "
        "a restriction. `entitlements` is the native claim that a message comes to.",
        "now": 1_800_000_000,
        "variables": {
            "dialects": "kaltura",
            "token_keys": {
                "keys": [
                    {
                        "kty": "oct",
                        "kid": account,
                        "alg": "kaltura-signing-key",
                        "k": base64.urlsafe_b64encode(key).rstrip(b"=").decode(),
                    }
                    for account, key in KEYS.items()
                ]
            },
            "token_issuer": "*",
            "token_audience": "*",
        },
        "cases": CASES,
    }
    write("kaltura", document)


if __name__ == "__main__":
    main()
