#!/usr/bin/env python3
"""Roots signed in every way python-tuf can judge, with python-tuf's verdict on each.

usage: key-differential.py ROOT.json FOLDER      (runs under the Python that scripts/interop.py prepares)

ROOT.json is a root of a collection; each file in FOLDER is that root with another root key and its signature. Prints JSON:
{name: {"file": path, "tuf": true|false, "stricter": reason or null}}. `stricter` says why bulla may refuse what python-tuf takes;
everywhere else the two must agree.
"""
import base64, copy, json, pathlib, sys, warnings

warnings.simplefilter("ignore")
from cryptography.hazmat.primitives import hashes, serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root

root, folder = json.load(open(sys.argv[1]))["signed"], pathlib.Path(sys.argv[2])
SHA256, SHA384 = hashes.SHA256(), hashes.SHA384()
out = {}


def judged(name, keys, sign, threshold=1, stricter=None):
    """Write a root whose root keys are `keys` (id -> key object), signed by `sign(id, message)`; ask python-tuf."""
    signed = copy.deepcopy(root)
    mine = signed["roles"]["root"]["keyids"]
    signed["keys"] = {k: v for k, v in signed["keys"].items() if k not in mine} | keys
    signed["roles"]["root"] = {"keyids": list(keys), "threshold": threshold}
    message = encode_canonical(signed).encode()
    signatures = [{"keyid": i, "sig": sign(i, message).hex()} for i in keys]
    data = json.dumps({"signatures": signatures, "signed": signed}).encode()
    path = folder / f"{len(out):02}.json"
    path.write_bytes(data)
    try:
        metadata = Metadata[Root].from_bytes(data)
        metadata.signed.verify_delegate(Root.type, message, metadata.signatures)
        verdict = True
    except Exception:
        verdict = False
    out[name] = {"file": str(path), "tuf": verdict, "stricter": stricter}


def pem(public, fmt=ser.PublicFormat.SubjectPublicKeyInfo):
    return public.public_bytes(ser.Encoding.PEM, fmt).decode()


def key(keytype, scheme, public):
    return {"keytype": keytype, "scheme": scheme, "keyval": {"public": public}}


def one(name, keytype, scheme, public, sign, **more):
    judged(name, {"k": key(keytype, scheme, public)}, lambda _, m: sign(m), **more)


# What securesystemslib itself makes.
makers = {"ed25519": ed25519.Ed25519PrivateKey.generate(), "ecdsa P-256": ec.generate_private_key(ec.SECP256R1()),
          "ecdsa P-384": ec.generate_private_key(ec.SECP384R1())}
for bits in (2048, 3072, 4096):
    makers[f"rsa {bits}"] = rsa.generate_private_key(65537, bits)
for name, private in makers.items():
    signer = CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))
    good = lambda _, m: bytes.fromhex(signer.sign(m).signature)
    keys = {signer.public_key.keyid: signer.public_key.to_dict()}
    judged(name, keys, good)
    judged(name + ", another message", keys, lambda i, m: good(i, m + b" "))
    judged(name + ", a bit flipped", keys, lambda i, m: (s := good(i, m))[:-1] + bytes([s[-1] ^ 1]))

# RSA-PSS.
private = makers["rsa 2048"]
public = pem(private.public_key())
pss = lambda salt, md=SHA256, mgf=SHA256: lambda m: private.sign(m, padding.PSS(padding.MGF1(mgf), salt), md)
RSA = ("rsa", "rsassa-pss-sha256")
for salt in (0, 1, 20, 31, 33, 48, 64, 221, 222):
    usual = salt in (0, 20, 32, 48, 64, 222)
    one(f"rsa, salt of {salt}", *RSA, public, pss(salt),
        stricter=None if usual else "salts of unusual lengths are not searched for")
one("rsa, PKCS#1 public key", *RSA, pem(private.public_key(), ser.PublicFormat.PKCS1), pss(32))
one("rsa, PKCS#1 v1.5 signature", *RSA, public, lambda m: private.sign(m, padding.PKCS1v15(), SHA256))
one("rsa, PSS over SHA-384", *RSA, public, pss(48, SHA384, SHA384))
one("rsa, MGF1 over SHA-1", *RSA, public, pss(32, SHA256, hashes.SHA1()))
one("rsa, a zero before", *RSA, public, lambda m: b"\0" + pss(32)(m))
one("rsa, a byte behind", *RSA, public, lambda m: pss(32)(m) + b"\0")
one("rsa, empty signature", *RSA, public, lambda m: b"")
odd = rsa.generate_private_key(3, 2048)
one("rsa, exponent 3", *RSA, pem(odd.public_key()), lambda m: odd.sign(m, padding.PSS(padding.MGF1(SHA256), 32), SHA256))
der = private.public_key().public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)
spki = lambda d: "-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(d).decode() + "-----END PUBLIC KEY-----\n"
no_null = der[:3] + bytes([der[3] - 2]) + der[4:5] + b"\x0b" + der[6:17] + der[19:]
one("rsa, algorithm without NULL", *RSA, spki(no_null), pss(32), stricter="RFC 3279 2.3.1 asks for NULL")
one("rsa, id-RSASSA-PSS key", *RSA, spki(der[:16] + b"\x0a" + der[17:]), pss(32))
one("rsa, something behind the key", *RSA, spki(der + b"\0"), pss(32))
one("rsa, a zero before the modulus", *RSA,
    spki(der[:2] + (len(der) - 3).to_bytes(2) + der[4:19] + b"\x03\x82\x01\x10\x00\x30\x82\x01\x0b\x02\x82\x01\x02\x00" + der[33:]), pss(32))
weak = rsa.generate_private_key(65537, 1024)
one("rsa 1024", *RSA, pem(weak.public_key()), lambda m: weak.sign(m, padding.PSS(padding.MGF1(SHA256), 32), SHA256),
    stricter="TUF specification 4.2: 2048 at least")
one("rsa, ecdsa's type", "ecdsa", "rsassa-pss-sha256", public, pss(32))
one("rsa, key of another kind", *RSA, pem(makers["ecdsa P-256"].public_key()), pss(32))
judged("rsa, one key under two ids", {"a": key(*RSA, public), "b": key(*RSA, pem(private.public_key(), ser.PublicFormat.PKCS1))},
       lambda _, m: pss(32)(m), threshold=2, stricter="equal key material counts once")

# ECDSA.
ORDER = {"256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
         "384": int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16)}


def number(n, pad=0):
    body = b"\0" * pad + n.to_bytes(n.bit_length() // 8 + 1)
    return b"\x02" + bytes([len(body)]) + body


def pair(r, s):
    return b"\x30" + bytes([len(r + s)]) + r + s


for size, md in (("256", SHA256), ("384", SHA384)):
    private_ec = makers[f"ecdsa P-{size}"]
    public, scheme = pem(private_ec.public_key()), f"ecdsa-sha2-nistp{size}"
    der_of = lambda m: private_ec.sign(m, ec.ECDSA(md))
    rs = lambda m: decode_dss_signature(der_of(m))
    name = f"ecdsa P-{size}, "
    one(name + "old key type", scheme, scheme, public, der_of)
    one(name + "high s", "ecdsa", scheme, public, lambda m: (lambda r, s: pair(number(r), number(max(s, ORDER[size] - s))))(*rs(m)))
    one(name + "low s", "ecdsa", scheme, public, lambda m: (lambda r, s: pair(number(r), number(min(s, ORDER[size] - s))))(*rs(m)))
    one(name + "s + order", "ecdsa", scheme, public, lambda m: (lambda r, s: pair(number(r), number(s + ORDER[size])))(*rs(m)))
    one(name + "zero padded r", "ecdsa", scheme, public, lambda m: (lambda r, s: pair(number(r, 1), number(s)))(*rs(m)))
    one(name + "zero padded s", "ecdsa", scheme, public, lambda m: (lambda r, s: pair(number(r), number(s, 1)))(*rs(m)))
    one(name + "long form length", "ecdsa", scheme, public, lambda m: (lambda d: d[:1] + b"\x81" + d[1:])(der_of(m)))
    one(name + "a byte behind", "ecdsa", scheme, public, lambda m: der_of(m) + b"\0")
    one(name + "r and s raw", "ecdsa", scheme, public, lambda m: b"".join(n.to_bytes(int(size) // 8) for n in rs(m)))
    one(name + "r = s = 0", "ecdsa", scheme, public, lambda m: pair(number(0), number(0)))
    one(name + "the other hash", "ecdsa", scheme, public, lambda m: private_ec.sign(m, ec.ECDSA(SHA384 if size == "256" else SHA256)))
    other = "384" if size == "256" else "256"
    one(name + "the other scheme", "ecdsa", f"ecdsa-sha2-nistp{other}", public, der_of)
    one(name + "the other old key type", f"ecdsa-sha2-nistp{other}", scheme, public, der_of)
    point = private_ec.public_key().public_bytes(ser.Encoding.X962, ser.PublicFormat.CompressedPoint)
    whole = private_ec.public_key().public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)
    head = whole[2:2 + 2 + whole[3]]
    bits = b"\0" + point
    one(name + "compressed point", "ecdsa", scheme,
        spki(b"\x30" + bytes([len(head) + 2 + len(bits)]) + head + b"\x03" + bytes([len(bits)]) + bits), der_of, stricter="RFC 5480 2.2: support for compressed points is optional")
    one(name + "CRLF in the PEM", "ecdsa", scheme, public.replace("\n", "\r\n"), der_of)
    one(name + "no final newline", "ecdsa", scheme, public.strip(), der_of)

print(json.dumps(out))
