#!/usr/bin/env python3
"""Reads and writes stored key records by their layout in docs/keys.md, with Python's cryptography.

    stored_keys.py open JWKS < VALUE > JSON     the record with its key
    stored_keys.py seal JWKS < JSON > VALUE     a record under the first key
"""
import base64
import json
import os
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV


def keys(jwks):
    def decode(text):
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    return {key["kid"].encode(): decode(key["k"]) for key in json.loads(jwks)["keys"]}


def open_record(value, jwks):
    version, length = value[0], value[1]
    assert version == 1, version
    kid, rest = value[2 : 2 + length], value[2 + length :]
    nonce, encrypted, text = rest[:12], rest[12:44], rest[44:]
    associated = bytes([version, length]) + kid + text
    key = AESGCMSIV(keys(jwks)[kid]).decrypt(nonce, encrypted, associated)
    return {**json.loads(text)["record"], "key": key.hex()}


def seal_record(record, jwks):
    kid, encrypting = next(iter(keys(jwks).items()))
    key = bytes.fromhex(record.pop("key"))
    text = json.dumps({"record": record}).encode()
    head = bytes([1, len(kid)]) + kid
    nonce = os.urandom(12)
    return head + nonce + AESGCMSIV(encrypting).encrypt(nonce, key, head + text) + text


if __name__ == "__main__":
    action, jwks = sys.argv[1:]
    if action == "open":
        print(json.dumps(open_record(sys.stdin.buffer.read(), jwks)))
    else:
        sys.stdout.buffer.write(seal_record(json.load(sys.stdin), jwks))
