"""A CPIX document whose key is encrypted, made by Python's `cryptography`: `fixtures/cpix`.

    python3 tests/cpix_encrypted.py fixtures/cpix

Document key, MAC key and IV are those of no key server: bytes that count up, so that the ciphertext can be compared.
The recipient's RSA key and certificate are new each time.
"""

import base64
import datetime
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac, padding, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KID = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b"
CONTENT_KEY = bytes.fromhex("a537cdc0ca65841406d525e7bf22d754")
DOCUMENT_KEY, MAC_KEY, IV = bytes(range(32)), bytes(range(64)), bytes(range(16))

folder = pathlib.Path(sys.argv[1])
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "keylet fixture")])
start = datetime.datetime(2026, 1, 1)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2036)).sign(key, hashes.SHA256())
)


def text(data):
    return base64.b64encode(data).decode()


def mac(data):
    made = hmac.HMAC(MAC_KEY, hashes.SHA512())
    made.update(data)
    return text(made.finalize())


def value(algorithm, data):
    return (
        f'<enc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#{algorithm}"/>'
        f"<enc:CipherData><enc:CipherValue>{text(data)}</enc:CipherValue></enc:CipherData>"
    )


def wrapped(secret):
    return key.public_key().encrypt(secret, OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None))


padder = padding.PKCS7(128).padder()
encryptor = Cipher(algorithms.AES(DOCUMENT_KEY), modes.CBC(IV)).encryptor()
ciphertext = IV + encryptor.update(padder.update(CONTENT_KEY) + padder.finalize()) + encryptor.finalize()
document_key, mac_key = wrapped(DOCUMENT_KEY), wrapped(MAC_KEY)
der = certificate.public_bytes(serialization.Encoding.DER)
lines = "\n".join(text(der)[i:i + 64] for i in range(0, len(text(der)), 64))


def document(version, mac_method):
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<cpix:CPIX xmlns:cpix="urn:dashif:org:cpix" xmlns:pksc="urn:ietf:params:xml:ns:keyprov:pskc" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:enc="http://www.w3.org/2001/04/xmlenc#" contentId="movie-42" version="{version}">
  <cpix:DeliveryDataList><cpix:DeliveryData id="recipient">
    <cpix:DeliveryKey><ds:X509Data><ds:X509Certificate>
{lines}
    </ds:X509Certificate></ds:X509Data></cpix:DeliveryKey>
    <cpix:DocumentKey><cpix:Data><pksc:Secret><pksc:EncryptedValue>{value("rsa-oaep-mgf1p", document_key)}</pksc:EncryptedValue><pksc:ValueMAC>{mac(document_key)}</pksc:ValueMAC></pksc:Secret></cpix:Data></cpix:DocumentKey>
    <cpix:MACMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#hmac-sha512">{mac_method}</cpix:MACMethod>
  </cpix:DeliveryData></cpix:DeliveryDataList>
  <cpix:ContentKeyList><cpix:ContentKey kid="{KID}" commonEncryptionScheme="cbcs" explicitIV="{text(IV)}"><cpix:Data><pksc:Secret><pksc:EncryptedValue>{value("aes256-cbc", ciphertext)}</pksc:EncryptedValue><pksc:ValueMAC>{mac(ciphertext)}</pksc:ValueMAC></pksc:Secret></cpix:Data></cpix:ContentKey></cpix:ContentKeyList>
  <cpix:ContentKeyUsageRuleList><cpix:ContentKeyUsageRule kid="{KID}" intendedTrackType="HD"><cpix:VideoFilter/></cpix:ContentKeyUsageRule></cpix:ContentKeyUsageRuleList>
</cpix:CPIX>
"""


aws = f"<cpix:Key><pksc:EncryptedValue>{value('rsa-oaep-mgf1p', mac_key)}</pksc:EncryptedValue></cpix:Key>"
pskc = f"<pksc:MACKey>{value('rsa-oaep-mgf1p', mac_key)}</pksc:MACKey>"
(folder / "encrypted-2.3.xml").write_text(document("2.3", aws))
(folder / "encrypted-2.4.xml").write_text(document("2.4", pskc))
(folder / "recipient.cer").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
(folder / "recipient.pem").write_bytes(key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
