"""Private RSA keys whose exponents are right and whose factors are not: `fixtures/keys/unsound-rsa.json`.

    python3 tests/unsound_rsa.py fixtures/keys/unsound-rsa.json
"""

import json
import math
import random
import sys

E = 65537
chance = random.Random(1)


def is_prime(number):
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11))


def factor(wanted):
    while True:
        number = chance.getrandbits(512) | 3 << 510 | 1
        if is_prime(number) == wanted and math.gcd(number - 1, E) == 1:
            return number


def integer(number):
    value = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return element(2, value)


def element(tag, value):
    length = len(value)
    if length < 128:
        return bytes([tag, length]) + value
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 | len(size)]) + size + value


def key(p, q):
    d = pow(E, -1, math.lcm(p - 1, q - 1))
    inverse = pow(q, -1, p) if math.gcd(p, q) == 1 else 1
    numbers = [0, p * q, E, d, p, q, d % (p - 1), d % (q - 1), inverse]
    return element(0x30, b"".join(map(integer, numbers))).hex()


p, q, composite = factor(True), factor(True), factor(False)
keys = {"sound": key(p, q), "equal factors": key(p, p), "a factor that is no prime": key(composite, q)}
with open(sys.argv[1], "w") as file:
    json.dump(keys, file, indent=2)
    file.write("\n")
