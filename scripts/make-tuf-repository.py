#!/usr/bin/env python3
"""A TUF repository made by python-tuf alone, as a tree of files: root, timestamp, snapshot, targets, and a delegated role that lists a bundle.

usage: make-tuf-repository.py DIR NAME DIGEST SIZE MEDIATYPE [--plain]

DIR/metadata and DIR/targets are the tree, DIR/keys/ROLE.pem the private keys (for scripts/interop.py, nothing else). With --plain the
roles do not name the collection NAME in `x-bulla`, as those of any other TUF repository.
"""
import datetime, hashlib, pathlib, sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, MetaFile, Role, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

out, name, digest, size, media_type = pathlib.Path(sys.argv[1]), *sys.argv[2:6]
plain = "--plain" in sys.argv
now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
for folder in ("metadata", "targets", "keys"):
    (out / folder).mkdir(parents=True)

signers = {}
for role in ("root", "targets", "releases", "online"):
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (out / f"keys/{role}.pem").write_bytes(pem)
    (out / f"keys/{role}.pem").chmod(0o600)
    signers[role] = CryptoSigner(private)


def fields():
    return {} if plain else {"x-bulla": {"collection": name, "at": stamp}}


def write(file, signed, *by):
    metadata = Metadata(signed)
    for role in by:
        metadata.sign(signers[role], append=True)
    data = metadata.to_bytes(JSONSerializer(compact=False))
    path = out / "metadata" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return MetaFile(version=signed.version, length=len(data), hashes={"sha256": hashlib.sha256(data).hexdigest()})


def key(role) -> Key:
    return signers[role].public_key


def entry(path, claim):
    about = {"claim": claim, "at": stamp, "by": key("releases").keyid, "mediaType": media_type, "tags": ["v1"]}
    return TargetFile(int(size), {"sha256": digest.split(":")[1]}, path, {"custom": {"bulla": about}})


life = {"root": 365, "targets": 365, "releases": 90, "snapshot": 30, "timestamp": 7}
expires = {role: now + datetime.timedelta(days=days) for role, days in life.items()}

root = Root(version=1, expires=expires["root"], consistent_snapshot=True, unrecognized_fields=fields())
for role, by in (("root", "root"), ("targets", "targets"), ("snapshot", "online"), ("timestamp", "online")):
    root.add_key(key(by), role)
write("1.root.json", root, "root")

releases = Targets(version=1, expires=expires["releases"], unrecognized_fields=fields())
for path, claim in ((f"{name}:v1", "tag"), (f"{name}@{digest}", "release")):
    releases.targets[path] = entry(path, claim)
pins = {"targets/releases.json": write("1.targets%2Freleases.json", releases, "releases")}

role = DelegatedRole("targets/releases", [key("releases").keyid], 1, True, [f"{name}:*", f"{name}@sha256:*"])
delegations = Delegations({key("releases").keyid: key("releases")}, {"targets/releases": role})
targets = Targets(version=1, expires=expires["targets"], delegations=delegations, unrecognized_fields=fields())
pins["targets.json"] = write("1.targets.json", targets, "targets")

snapshot = Snapshot(version=1, expires=expires["snapshot"], meta=pins, unrecognized_fields=fields())
pin = write("1.snapshot.json", snapshot, "online")
write("timestamp.json", Timestamp(version=1, expires=expires["timestamp"], snapshot_meta=pin, unrecognized_fields=fields()), "online")
