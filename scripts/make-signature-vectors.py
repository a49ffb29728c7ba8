#!/usr/bin/env python3
"""Make testdata/signatures: what cosign 2.5, cosign 3.1 and notation 1.3 sign with throw-away keys, and certificate chains.

  make-signature-vectors.py OUT --ferro F --oras O --cosign2 C --cosign3 C --notation N

Needs python3-cryptography, openssl, and the peers (scripts/fetch-debs.sh; cargo install --locked ferro-oci-server). Everything
runs on 127.0.0.1, nothing is sent anywhere. Each run makes other keys, so other bytes: the tests read the files, not this
script, which stands here to show where they come from.
"""
import argparse
import datetime
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from cryptography.x509.oid import NameOID

HERE = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("peers", HERE / "signature-peers.py")
peers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peers)
PASSWORD = "password"
START, END = datetime.datetime(2026, 1, 1), datetime.datetime(2120, 1, 1)


def pem_key(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(certs):
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certs)


def name(cn):
    pairs = [(NameOID.COUNTRY_NAME, "DE"), (NameOID.STATE_OR_PROVINCE_NAME, "Berlin"),
             (NameOID.ORGANIZATION_NAME, "Example, Inc."), (NameOID.COMMON_NAME, cn)]
    return x509.Name([x509.NameAttribute(o, v) for o, v in pairs])


def usage(*on):
    every = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{k: k in on for k in every})


LEAF = [(usage("digital_signature"), True)]


def ca(path=None):
    return [(x509.BasicConstraints(True, path), True), (usage("key_cert_sign"), True)]


def certificate(cn, key, issuer, extensions, start=START, end=END, hash=None, pss=False):
    """issuer: (name, key), or None for a self-signed one."""
    issuer_name, issuer_key = (name(cn), key) if issuer is None else (name(issuer[0]), issuer[1])
    b = x509.CertificateBuilder().subject_name(name(cn)).issuer_name(issuer_name).public_key(key.public_key())
    b = b.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    for extension, critical in extensions:
        b = b.add_extension(extension, critical)
    if isinstance(issuer_key, ed25519.Ed25519PrivateKey):
        return b.sign(issuer_key, None)
    if pss:
        hash = hash or hashes.SHA256()
        return b.sign(issuer_key, hash, rsa_padding=padding.PSS(padding.MGF1(hash), hash.digest_size))
    return b.sign(issuer_key, hash or hashes.SHA256())


def leaf_keys():
    yield "p256", ec.generate_private_key(ec.SECP256R1())
    yield "p384", ec.generate_private_key(ec.SECP384R1())
    yield "p521", ec.generate_private_key(ec.SECP521R1())
    for bits in (2048, 3072, 4096):
        yield f"rsa{bits}", rsa.generate_private_key(65537, bits)


def chains(out):
    """x509/: chains, leaf first; a name that does not begin with `good-` says what is wrong."""
    out.mkdir(parents=True, exist_ok=True)
    p256 = lambda: ec.generate_private_key(ec.SECP256R1())
    root_key, mid_key, key = ec.generate_private_key(ec.SECP384R1()), p256(), p256()
    root = certificate("Root", root_key, None, ca(), hash=hashes.SHA384())
    mid = certificate("Intermediate", mid_key, ("Root", root_key), ca(0), hash=hashes.SHA384())
    by_mid = ("Intermediate", mid_key)
    leaf = lambda extensions=LEAF, **more: certificate("Signer", key, by_mid, extensions, **more)
    save = lambda n, *certs: (out / f"{n}.pem").write_bytes(pem(certs))
    good = leaf()
    save("good-three", good, mid, root)
    save("good-code-signing", leaf([*LEAF, (x509.ExtendedKeyUsage([Eku.CODE_SIGNING]), False)]), mid, root)
    save("good-self-signed", certificate("Alone", key, None, LEAF))
    save("good-self-signed-not-ca", certificate("Alone", key, None, [*LEAF, (x509.BasicConstraints(False, None), True)]))
    pss_root_key, pss_key = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
    pss_root = certificate("Root", pss_root_key, None, ca(), pss=True)
    save("good-rsa-pss", certificate("Signer", pss_key, ("Root", pss_root_key), LEAF, pss=True, hash=hashes.SHA512()), pss_root)
    p521 = ec.generate_private_key(ec.SECP521R1())
    save("good-p521-root", certificate("Signer", key, ("Root", p521), LEAF, hash=hashes.SHA512()),
         certificate("Root", p521, None, ca(), hash=hashes.SHA512()))

    save("root-first", root, mid, good)
    save("no-root", good, mid)
    save("gap", good, root)
    save("one-more", good, mid, root, certificate("Other", p256(), None, ca()))
    save("twice", good, mid, root, root)
    save("root-alone", root)
    save("same-names-other-key", good, certificate("Intermediate", p256(), ("Root", root_key), ca(0)), root)
    other = certificate("Root", p256(), None, ca())
    save("same-names-other-root", good, mid, other)
    two = certificate("Sub", p256(), by_mid, ca())
    sub_key = p256()
    two = certificate("Sub", sub_key, by_mid, ca())
    save("path-length", certificate("Signer", key, ("Sub", sub_key), LEAF), two, mid, root)
    free = certificate("Intermediate", mid_key, ("Root", root_key), ca())
    save("leaf-as-issuer", certificate("Signer", key, ("Middle", sub_key), LEAF),
         certificate("Middle", sub_key, by_mid, LEAF), free, root)

    def under(n, extensions):
        save(n, good, certificate("Intermediate", mid_key, ("Root", root_key), extensions), root)

    under("ca-without-constraints", [(usage("key_cert_sign"), True)])
    under("ca-constraints-not-critical", [(x509.BasicConstraints(True, 0), False), (usage("key_cert_sign"), True)])
    under("ca-without-usage", [(x509.BasicConstraints(True, 0), True)])
    under("ca-usage-not-critical", [(x509.BasicConstraints(True, 0), True), (usage("key_cert_sign"), False)])
    under("ca-may-not-sign-certificates", [(x509.BasicConstraints(True, 0), True), (usage("crl_sign"), True)])
    constraint = x509.NameConstraints([x509.DNSName("example.com")], None)
    under("ca-name-constraints", [*ca(0), (constraint, True)])
    for n, extensions in {
        "leaf-is-ca": [*LEAF, (x509.BasicConstraints(True, None), True)],
        "leaf-without-usage": [],
        "leaf-usage-not-critical": [(usage("digital_signature"), False)],
        "leaf-may-not-sign": [(usage("content_commitment"), True)],
        "leaf-signs-certificates": [(usage("digital_signature", "key_cert_sign"), True)],
        "leaf-enciphers": [(usage("digital_signature", "key_encipherment"), True)],
        "leaf-agrees": [(usage("digital_signature", "key_agreement", "decipher_only"), True)],
        "leaf-server-auth": [*LEAF, (x509.ExtendedKeyUsage([Eku.CODE_SIGNING, Eku.SERVER_AUTH]), False)],
        "leaf-any-usage": [*LEAF, (x509.ExtendedKeyUsage([Eku.ANY_EXTENDED_KEY_USAGE]), False)],
        "leaf-time-stamping": [*LEAF, (x509.ExtendedKeyUsage([Eku.TIME_STAMPING]), True)],
        "leaf-ocsp-signing": [*LEAF, (x509.ExtendedKeyUsage([Eku.OCSP_SIGNING]), False)],
        "leaf-unknown-critical": [*LEAF, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)],
    }.items():
        save(n, leaf(extensions), mid, root)
    save("expired-leaf", leaf(start=datetime.datetime(2020, 1, 1), end=datetime.datetime(2021, 1, 1)), mid, root)
    save("future-leaf", leaf(start=datetime.datetime(2100, 1, 1)), mid, root)
    save("rsa-1024", certificate("Signer", rsa.generate_private_key(65537, 1024), by_mid, LEAF), mid, root)
    save("ed25519", certificate("Signer", ed25519.Ed25519PrivateKey.generate(), by_mid, LEAF), mid, root)
    save("p256k1", certificate("Signer", ec.generate_private_key(ec.SECP256K1()), by_mid, LEAF), mid, root)
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        (d / "k").write_bytes(pem_key(key))
        subprocess.run(["openssl", "req", "-x509", "-new", "-sha1", "-key", d / "k", "-subj", "/C=DE/ST=Berlin/O=Old/CN=Old",
                        "-days", "36500", "-addext", "keyUsage=critical,digitalSignature", "-addext",
                        "basicConstraints=critical,CA:FALSE", "-out", out / "sha1.pem"], check=True)


def run(*command, **env):
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def sigstore(out, a, registry, subject, work):
    out.mkdir(parents=True, exist_ok=True)
    (out / "artifact").write_bytes(b"an artifact\n")
    kinds = {"p256": ec.generate_private_key(ec.SECP256R1()), "p384": ec.generate_private_key(ec.SECP384R1()),
             "p521": ec.generate_private_key(ec.SECP521R1()),
             "rsa2048": rsa.generate_private_key(65537, 2048), "ed25519": ed25519.Ed25519PrivateKey.generate()}
    secret = {"COSIGN_PASSWORD": PASSWORD}
    offline = ["--tlog-upload=false", "--yes"]
    for kind, key in kinds.items():
        (work / f"{kind}.pem").write_bytes(pem_key(key))
        run(a.cosign3, "import-key-pair", "--yes", "--key", work / f"{kind}.pem", "--output-key-prefix", out / kind, **secret)
        private = out / f"{kind}.key"
        repository = f"sigstore/{kind}"
        digest = registry.push(repository, subject)
        reference = f"{registry.host}/{repository}@{digest}"
        annotations = ["-a", "build=17", "-a", "by=ci"] if kind == "p256" else []
        run(a.cosign3, "sign", *offline, "--use-signing-config=false", "--allow-http-registry", *annotations, "--key", private,
            reference, **secret)
        (out / f"cosign3-{kind}.sigstore.json").write_bytes(registry.only_signature(repository, digest))
        run(a.cosign3, "sign-blob", *offline, "--use-signing-config=false", "--key", private, "--bundle",
            out / f"cosign3-blob-{kind}.sigstore.json", out / "artifact", **secret)
        run(a.cosign2, "sign", *offline, "--allow-http-registry", *annotations, "--key", private, reference, **secret)
        layer, = registry.manifest(repository, digest.replace(":", "-") + ".sig")["layers"]
        (out / f"cosign2-{kind}.json").write_bytes(registry.request(f"{repository}/blobs/{layer['digest']}")[1])
        (out / f"cosign2-{kind}.sig").write_text(layer["annotations"]["dev.cosignproject.cosign/signature"])
    repository = "sigstore/attest"
    digest = registry.push(repository, subject)
    (work / "predicate.json").write_text('{"reviewed": true}')
    run(a.cosign3, "attest", *offline, "--use-signing-config=false", "--allow-http-registry", "--key", out / "p256.key", "--type",
        "https://example.com/review/v1", "--predicate", work / "predicate.json", f"{registry.host}/{repository}@{digest}", **secret)
    (out / "cosign3-attest-p256.sigstore.json").write_bytes(registry.only_signature(repository, digest))
    run(a.cosign2, "attest", *offline, "--allow-http-registry", "--key", out / "p256.key", "--type",
        "https://example.com/review/v1", "--predicate", work / "predicate.json", f"{registry.host}/{repository}@{digest}", **secret)
    layer, = registry.manifest(repository, digest.replace(":", "-") + ".att")["layers"]
    (out / "cosign2-attest-p256.dsse.json").write_bytes(registry.request(f"{repository}/blobs/{layer['digest']}")[1])
    # A key file of the default kind, made by cosign itself, and one with the empty password.
    run(a.cosign3, "generate-key-pair", "--output-key-prefix", out / "generated", **secret)
    run(a.cosign3, "import-key-pair", "--yes", "--key", work / "p256.pem", "--output-key-prefix", out / "empty-password", COSIGN_PASSWORD="")


def notation(out, a, registry, subject, work):
    out.mkdir(parents=True, exist_ok=True)
    root_key, mid_key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate("Root", root_key, None, ca(), hash=hashes.SHA384())
    mid = certificate("Intermediate", mid_key, ("Root", root_key), ca(0), hash=hashes.SHA384())
    (out / "root.pem").write_bytes(pem([root]))
    config = work / "notation"
    (config / "keys").mkdir(parents=True)
    keys = []
    for kind, key in [*leaf_keys(), ("self-signed", ec.generate_private_key(ec.SECP256R1()))]:
        certs = [certificate("Alone", key, None, LEAF)] if kind == "self-signed" else \
            [certificate("Signer", key, ("Intermediate", mid_key), LEAF), mid, root]
        (config / "keys" / f"{kind}.key").write_bytes(pem_key(key))
        (config / "keys" / f"{kind}.crt").write_bytes(pem(certs))
        if kind in ("p256", "p384", "rsa2048", "rsa3072", "rsa4096"):
            (out / f"{kind}.key.pem").write_bytes(pem_key(key))
            (out / f"{kind}.chain.pem").write_bytes(pem(certs))
        keys.append({"name": kind, "keyPath": str(config / "keys" / f"{kind}.key"), "certPath": str(config / "keys" / f"{kind}.crt")})
    (config / "signingkeys.json").write_text(json.dumps({"default": "p256", "keys": keys}))
    env = {"XDG_CONFIG_HOME": str(work)}
    for form in ("jws", "cose"):
        for key in keys:
            kind = key["name"]
            more = ["--expiry", "876000h", "-m", "build=17", "-m", "by=ci"] if kind == "p384" else []
            repository = f"notation/{form}-{kind}"
            digest = registry.push(repository, subject)
            run(a.notation, "sign", "--insecure-registry", "--force-referrers-tag=false", "--signature-format", form, "-k", kind,
                *more, f"{registry.host}/{repository}@{digest}", **env)
            (out / f"notation-{kind}.{form}").write_bytes(registry.only_signature(repository, digest))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    for peer in ("ferro", "cosign2", "cosign3", "notation"):
        p.add_argument(f"--{peer}", required=True)
    a = p.parse_args()
    subject = json.dumps(peers.SUBJECT, separators=(",", ":")).encode()
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "subject.json").write_bytes(subject)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        registry = peers.Registry(a.ferro, work)
        try:
            chains(a.out / "x509")
            sigstore(a.out / "sigstore", a, registry, subject, work)
            notation(a.out / "notation", a, registry, subject, work)
        finally:
            registry.process.terminate()
            registry.process.wait()


if __name__ == "__main__":
    main()
