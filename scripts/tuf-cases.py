#!/usr/bin/env python3
"""A TUF client on the command line against repositories made by python-tuf, over loopback HTTP.

usage: tuf-cases.py CLIENT [--only WORD]

The cases cover what the public suite (theupdateframework/tuf-conformance, which is on no package index) asks of a client, in our
own words, and stricter ones behind them. CLIENT has that suite's command line. What is looked at: exit code, accepted metadata,
downloaded files, the exact list of requests. Needs python-tuf (interop-requirements.txt). The last line counts.
"""
import argparse, contextlib, copy, datetime, hashlib, http.server, json, pathlib, subprocess, sys, tempfile, threading, traceback, urllib.parse

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
LATER = NOW + 30 * DAY
TOP = ["targets", "snapshot", "timestamp"]
CASES = []


def case(*variants):
    """Register a case, once for each variant."""
    def register(f):
        for v in variants or [None]:
            name = f.__name__ if v is None else f"{f.__name__}[{v if isinstance(v, str) else v[0]}]"
            CASES.append((name, f, [] if v is None else [v] if isinstance(v, str) else list(v[1:])))
        return f
    return register


class Repository:
    """A repository in the making, and what a client asked of it. `publish` signs a role's next version."""

    def __init__(self):
        self.mds = {r: Metadata(c(expires=LATER)) for r, c in (("targets", Targets), ("snapshot", Snapshot), ("timestamp", Timestamp), ("root", Root))}
        self.signers = {r: [CryptoSigner.generate_ed25519()] for r in self.mds}
        for role, (signer,) in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.served, self.artifacts = {}, {}
        self.pinned = False  # hashes and lengths in snapshot and timestamp
        self.metadata_requests, self.target_requests = [], []
        self.publish(*TOP, "root")

    def signed(self, role):
        return self.mds[role].signed

    root = property(lambda s: s.signed("root"))
    targets = property(lambda s: s.signed("targets"))
    snapshot = property(lambda s: s.signed("snapshot"))
    timestamp = property(lambda s: s.signed("timestamp"))

    def publish(self, *roles, bump=True, edit=None):
        for role in roles:
            md, versions = self.mds[role], self.served.setdefault(role, {})
            if versions and bump:
                md.signed.version += 1
            md.signatures.clear()
            for signer in self.signers[role]:
                md.sign(signer, append=True)
            data = md.to_bytes(JSONSerializer(compact=False))
            if edit:
                data = edit(data)
            versions[md.signed.version] = versions[None] = data
            meta = MetaFile(md.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()}) if self.pinned else MetaFile(md.signed.version)
            if role == "snapshot":
                self.timestamp.snapshot_meta = meta
            elif role not in ("root", "timestamp"):
                self.snapshot.meta[f"{role}.json"] = meta

    def publish_raw(self, role, change):
        """The next version, changed behind python-tuf's back and signed."""
        self.publish(role)
        version = self.signed(role).version
        document = json.loads(self.served[role][version])
        change(document["signed"])
        message = encode_canonical(document["signed"]).encode()
        document["signatures"] = [{"keyid": s.public_key.keyid, "sig": s.sign(message).signature} for s in self.signers[role]]
        self.served[role][version] = self.served[role][None] = json.dumps(document).encode()

    def rotate(self, role, keep=False, signer=None):
        """New keys for a top-level role."""
        signer = signer or CryptoSigner.generate_ed25519()
        if not keep:
            self.root.roles[role].keyids.clear()
            self.signers[role].clear()
        self.root.add_key(signer.public_key, role)
        self.signers[role].append(signer)

    def delegate(self, by, name, paths=("*",), terminating=False, prefixes=None, signer=None, expires=LATER, threshold=1):
        delegator = self.signed(by)
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, roles={})
        delegator.delegations.roles[name] = DelegatedRole(name, [], threshold, terminating, None if prefixes else list(paths), prefixes)
        signer = signer or CryptoSigner.generate_ed25519()
        delegator.add_key(signer.public_key, name)
        self.signers.setdefault(name, []).append(signer)
        self.mds.setdefault(name, Metadata(Targets(expires=expires)))
        return signer

    def artifact(self, role, path, data, hashes=("sha256",)):
        target = TargetFile.from_data(path, data, list(hashes))
        self.signed(role).targets[path] = target
        self.artifacts[path] = [data, target]

    def fetch(self, path):
        kind, _, rest = path.partition("/")
        if kind == "metadata" and rest.endswith(".json"):
            name = rest[:-5]
            version, dot, role = name.partition(".")
            if dot and (role == "root" or self.root.consistent_snapshot and name != "timestamp"):
                version = int(version)
            else:
                version, role = None, name
            self.metadata_requests.append((role, version))
            return self.served[urllib.parse.unquote(role)][version]
        if kind == "targets":
            folder, slash, name = rest.rpartition("/")
            prefix = None
            if self.root.consistent_snapshot:
                prefix, _, name = name.partition(".")
            target = urllib.parse.unquote(f"{folder}{slash}{name}")
            self.target_requests.append((target, prefix))
            data, file = self.artifacts[target]
            if prefix and prefix not in file.hashes.values():
                raise KeyError(prefix)
            return data
        raise KeyError(path)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        self.repo = None

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    data = self.server.repo.fetch(self.path.lstrip("/"))
                except (KeyError, ValueError):
                    return self.send_error(404)
                if isinstance(data, int):
                    return self.send_error(data)
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a client may stop reading
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Client:
    def __init__(self, program, server, repo):
        self.program, self.repo = program, repo
        self.url = f"http://127.0.0.1:{server.server_port}/"
        self.home = tempfile.TemporaryDirectory(prefix="tuf-case-")
        self.metadata, self.targets = pathlib.Path(self.home.name, "metadata"), pathlib.Path(self.home.name, "targets")
        self.metadata.mkdir()
        self.targets.mkdir()

    def run(self, *args):
        done = subprocess.run([self.program, "--metadata-dir", self.metadata, *args], capture_output=True, timeout=60)
        self.said = done.stderr.decode(errors="replace")
        assert done.returncode in (0, 1), (done.returncode, self.said)
        return done.returncode

    def init(self, root=None):
        path = pathlib.Path(self.home.name, "first-root")
        path.write_bytes(root if root is not None else self.repo.served["root"][1])
        return self.run("init", path)

    def refresh(self, days=0):
        return self.run("--metadata-url", self.url + "metadata/", "--time-offset", str(days * 86400), "refresh")

    def download(self, *paths, days=0):
        names = [a for p in paths for a in ("--target-name", p)]
        return self.run("--metadata-url", self.url + "metadata/", *names, "--target-dir", self.targets, "--target-base-url",
                        self.url + "targets/", "--time-offset", str(days * 86400), "download")

    def bytes(self, role):
        return (self.metadata / f"{role}.json").read_bytes()

    def version(self, role):
        return json.loads(self.bytes(role))["signed"]["version"]

    def trusted(self):
        """Accepted roles with their versions; every *.json in the folder must be metadata."""
        signed = {p.name[:-5]: json.loads(p.read_bytes())["signed"] for p in self.metadata.glob("*.json")}
        assert all(s["_type"] in ("root", *TOP) for s in signed.values()), signed
        return sorted((name, s["version"]) for name, s in signed.items())

    def downloads(self):
        files = [p for p in self.targets.rglob("*") if p.is_file()]
        return sorted(p.read_bytes() for p in files)


def expect(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


def started(client, repo):
    expect((client.init(), client.refresh()), (0, 0))
    repo.metadata_requests.clear()


# ---- first contact ------------------------------------------------------------------------------------------------------

FIRST = [("root", 2), ("timestamp", None), ("snapshot", 1), ("targets", 1)]


@case()
def init_and_refresh(c, r):
    expect((c.init(), c.refresh()), (0, 0))
    expect(r.metadata_requests, FIRST)
    expect(c.trusted(), [("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 1)])
    for role in ("root", *TOP):
        expect(c.bytes(role), r.served[role][None])


@case()
def download_refreshes_first(c, r):
    expect((c.init(), c.download("nonexistent artifact")), (0, 1))
    expect(r.metadata_requests, FIRST)
    expect(len(c.trusted()), 4)


@case("no version", "no signature", "a signature of something else", "not JSON", "empty", "a threshold of 0")
def bad_first_root(c, r, how):
    root = json.loads(r.served["root"][1])
    if how == "no version":
        del root["signed"]["version"]
    elif how == "no signature":
        root["signatures"] = []
    elif how == "a threshold of 0":
        root["signed"]["roles"]["timestamp"]["threshold"] = 0
    else:
        root["signatures"][0]["sig"] = "00" * 64
    c.init({"not JSON": b"{", "empty": b""}.get(how, json.dumps(root).encode()))
    expect((c.refresh(), r.metadata_requests), (1, []))


@case(("root", "root", [("root", 1)]), ("timestamp", "timestamp", [("root", 1)]), ("snapshot", "snapshot", [("root", 1), ("timestamp", 1)]),
      ("targets", "targets", [("root", 1), ("snapshot", 1), ("timestamp", 1)]))
def badly_signed_role(c, r, role, trusted):
    expect(c.init(), 0)
    r.signers[role] = [CryptoSigner.generate_ed25519()]
    for name in TOP:
        del r.served[name]
    r.publish(*(["root"] if role == "root" else TOP))
    expect((c.refresh(), c.trusted()), (1, trusted))


@case("timestamp", "snapshot", "targets")
def missing_role(c, r, role):
    started(c, r)
    r.publish(*TOP)
    r.served[role] = {}
    expect(c.refresh(), 1)
    before = TOP[TOP.index(role) + 1:]
    for name in TOP:
        expect(c.version(name), 2 if name in before else 1)


@case("root", "timestamp", "snapshot", "targets")
def server_error_is_not_absence(c, r, role):
    started(c, r)
    r.publish(*TOP)
    r.served[role][2] = r.served[role][None] = 500
    expect((c.refresh(), c.version("root")), (1, 1))
    expect(r.metadata_requests[-1][0], role)


@case()
def unknown_fields(c, r):
    started(c, r)
    r.root.unrecognized_fields["custom-field"] = "value"
    keyid = r.root.roles["root"].keyids[0]
    r.root.keys[keyid].unrecognized_fields["extra"] = {"a": 1, "b": [None, True, "\n\"\\"]}
    r.root.roles["root"].unrecognized_fields["another"] = "value"
    r.targets.unrecognized_fields["x"] = {"é": "\u0001"}
    r.publish("root", *TOP)
    expect((c.refresh(), c.version("root"), c.version("targets")), (0, 2, 2))


@case("metadata", "snapshot of the wrong hash")
def hashes_of_metadata(c, r, what):
    r.pinned = True
    r.publish(*TOP)
    started(c, r)
    r.publish("targets")
    if what == "metadata":
        r.snapshot.meta["targets.json"].hashes["sha256"] = "46" * 32
        r.publish("snapshot", "timestamp")
        expect((c.refresh(), c.version("snapshot"), c.version("targets")), (1, 3, 2))
    else:
        r.publish("snapshot")
        r.timestamp.snapshot_meta.hashes["sha256"] = "46" * 32
        r.publish("timestamp")
        expect((c.refresh(), c.version("timestamp"), c.version("snapshot")), (1, 3, 2))


@case("longer", "shorter")
def lengths_of_metadata(c, r, what):
    r.pinned = True
    r.publish(*TOP)
    started(c, r)
    r.publish("targets", "snapshot")
    r.timestamp.snapshot_meta.length += 1 if what == "longer" else -1
    r.publish("timestamp")
    expect((c.refresh(), c.version("snapshot")), (1, 2))


@case()
def unlisted_targets_version(c, r):
    started(c, r)
    r.publish("targets")
    expect((c.refresh(), c.version("targets"), r.metadata_requests[-1]), (0, 1, ("timestamp", None)))


WRONG = {"_type": "other", "spec_version": "2.0.0", "version": "1", "expires": "2100-01-01T00:00:00+00:00"}


@case(*[(f"{role}, {field}", role, field) for role in ("root", *TOP) for field in WRONG])
def wrong_common_fields(c, r, role, field):
    started(c, r)
    r.publish_raw(role, lambda s: s.update({field: WRONG[field]}))
    r.publish(*TOP[TOP.index(role) + 1:] if role != "root" else TOP)
    expect((c.refresh(), c.version(role)), (1, 1))


# ---- expiry ---------------------------------------------------------------------------------------------------------------

@case()
def root_expired(c, r):
    started(c, r)
    r.publish("root")
    expect(c.refresh(), 0)
    r.root.expires = NOW - DAY
    r.publish("root", *TOP)
    expect(c.refresh(), 1)
    expect((c.version("root"), c.version("timestamp")), (3, 1))


@case()
def expired_intermediate_root(c, r):
    expect(c.init(), 0)
    r.root.expires = NOW - DAY
    r.publish("root")
    r.root.expires = LATER
    r.publish("root")
    expect((c.refresh(), c.version("root")), (0, 3))


@case()
def expired_first_root_is_a_start(c, r):
    r.root.expires = NOW - DAY
    r.publish("root", bump=False)
    expect(c.init(), 0)
    expect(c.refresh(), 1)
    r.root.expires = LATER
    r.publish("root")
    expect((c.refresh(), c.version("root")), (0, 2))


@case("timestamp", "snapshot", "targets")
def role_expired(c, r, role):
    started(c, r)
    r.mds[role].signed.expires = NOW - 5 * DAY
    r.publish(*TOP)
    expect((c.refresh(), c.version(role)), (1, 1))


@case("timestamp", "snapshot", "targets")
def kept_role_expires(c, r, role):
    r.mds[role].signed.expires = NOW + 7 * DAY
    r.publish(*TOP)
    started(c, r)
    expect((c.refresh(days=18), c.version(role)), (1, 2))
    r.mds[role].signed.expires = NOW + 21 * DAY
    r.publish(*TOP)
    expect((c.refresh(days=18), c.version(role)), (0, 3))


@case()
def expired_kept_timestamp_is_a_floor(c, r):
    r.timestamp.expires = NOW + 7 * DAY
    r.publish("timestamp")
    started(c, r)
    r.timestamp.expires, r.timestamp.version = LATER, 1
    r.publish("timestamp", bump=False)
    expect((c.refresh(days=18), c.version("timestamp")), (1, 2))


@case()
def expired_kept_snapshot_is_a_floor(c, r):
    r.publish("targets")
    r.snapshot.expires = NOW + 7 * DAY
    r.publish("snapshot", "timestamp")
    started(c, r)
    r.snapshot.expires, r.targets.version = LATER, 1
    r.publish("targets", bump=False)
    r.publish("snapshot", "timestamp")
    expect((c.refresh(days=18), c.version("snapshot")), (1, 2))


@case()
def delegated_role_expired(c, r):
    expect(c.init(), 0)
    r.delegate("targets", "delegated", ["delegatedpath/*"], expires=NOW - DAY)
    r.artifact("delegated", "delegatedpath/target", b"x")
    r.publish("delegated", *TOP)
    expect((c.refresh(), c.download("delegatedpath/target"), c.downloads()), (0, 1, []))
    expect(c.trusted(), [("root", 1), ("snapshot", 2), ("targets", 2), ("timestamp", 2)])


@case("stays", "renewed")
def kept_delegated_role_expires(c, r, then):
    expect(c.init(), 0)
    r.delegate("targets", "delegated", ["delegatedpath/*"], expires=NOW + 7 * DAY)
    r.artifact("delegated", "delegatedpath/first", b"first")
    r.artifact("delegated", "delegatedpath/second", b"second")
    r.publish("delegated", *TOP)
    expect(c.download("delegatedpath/first"), 0)
    if then == "renewed":
        r.signed("delegated").expires = NOW + 21 * DAY
        r.publish("delegated", "snapshot", "timestamp")
    expect(c.download("delegatedpath/second", days=18), 0 if then == "renewed" else 1)
    expect(c.downloads(), [b"first", b"second"] if then == "renewed" else [b"first"])


# ---- keys and signatures -------------------------------------------------------------------------------------------------

def rsa():
    return CryptoSigner.generate_rsa()


@case(("ed25519", CryptoSigner.generate_ed25519), ("ecdsa-sha2-nistp256", CryptoSigner.generate_ecdsa), ("rsassa-pss-sha256", rsa))
def kinds_of_keys(c, r, make):
    for role in ("root", *TOP):
        r.rotate(role, keep=role == "root", signer=make())
    r.root.roles["root"].threshold = 2
    r.publish("root", *TOP)
    expect((c.init(), c.refresh(), c.version("root"), c.version("targets")), (0, 0, 2, 2))
    r.delegate("targets", "delegated", signer=make())
    r.artifact("delegated", "t", b"x")
    r.publish("delegated", *TOP)
    expect((c.download("t"), c.downloads()), (0, [b"x"]))
    r.publish("timestamp", edit=lambda d: d.replace(b'"version": 4', b'"version": 5'))
    expect((c.refresh(), c.version("timestamp")), (1, 3))


@case()
def old_name_of_the_ecdsa_key_type(c, r):
    signer = CryptoSigner.generate_ecdsa()
    r.rotate("timestamp", signer=signer)
    r.root.keys[signer.public_key.keyid].keytype = "ecdsa-sha2-nistp256"
    r.publish("root", *TOP)
    expect((c.init(), c.refresh(), c.version("timestamp")), (0, 0, 2))


@case()
def an_unknown_kind_of_key_cannot_sign_and_breaks_nothing(c, r):
    r.root.add_key(SSlibKey("f" * 64, "other", "other", {"public": "?"}), "timestamp")
    r.publish("root")
    expect((c.init(), c.refresh()), (0, 0))
    r.root.roles["timestamp"].threshold = 2
    r.publish("root")
    expect((c.refresh(), c.version("root")), (1, 3))


@case()
def opaque_key_ids(c, r):
    """The id is no hash of the key (TAP 12)."""
    signer = CryptoSigner.generate_ed25519()
    signer.public_key.keyid = "my-key"
    r.rotate("timestamp", signer=signer)
    r.publish("root", *TOP)
    expect((c.init(), c.refresh(), c.version("timestamp")), (0, 0, 2))


@case()
def deprecated_field_of_keys(c, r):
    started(c, r)
    keyid = r.root.roles["snapshot"].keyids[0]
    r.root.keys[keyid].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    r.publish("root", *TOP)
    expect((c.refresh(), c.version("root"), c.version("snapshot")), (0, 2, 2))


@case("timestamp", "snapshot", "targets")
def threshold_not_reached(c, r, role):
    started(c, r)
    for _ in range(4):
        r.rotate(role, keep=True)
    r.root.roles[role].threshold = 6
    r.publish("root", *TOP)
    expect((c.refresh(), c.version("root"), c.version(role)), (1, 2, 1))
    r.rotate(role, keep=True)
    r.publish("root", *TOP)
    expect((c.refresh(), c.version(role)), (0, 3))


@case("timestamp", "snapshot", "targets")
def keys_in_root_that_did_not_sign(c, r, role):
    started(c, r)
    for _ in range(2):
        r.root.add_key(CryptoSigner.generate_ed25519().public_key, role)
    r.root.roles[role].threshold = 3
    r.publish("root", *TOP)
    expect((c.refresh(), c.version("root"), c.version(role)), (1, 2, 1))


@case("timestamp", "snapshot", "targets", "delegated")
def one_signature_given_twice(c, r, role):
    """Two signatures under one key id, also where the threshold is met otherwise."""
    expect(c.init(), 0)
    r.delegate("targets", "delegated")
    r.artifact("delegated", "t", b"x")
    twice = lambda d: json.dumps({**(m := json.loads(d)), "signatures": m["signatures"] * 2}).encode()
    for name in ["delegated", *TOP]:
        r.publish(name, edit=twice if name == role else None)
    expect((c.download("t"), c.downloads()), (1, []))
    assert role not in dict(c.trusted())


@case("timestamp", "snapshot", "targets", "delegated")
def one_key_under_several_ids(c, r, role):
    """TAP 12: each key counts once. python-tuf and others count key ids."""
    expect(c.init(), 0)
    signer = r.delegate("targets", "delegated", threshold=2 if role == "delegated" else 1)
    r.artifact("delegated", "t", b"x")
    if role != "delegated":
        signer = r.signers[role][0]
        r.root.roles[role].threshold = 2
    key = signer.public_key
    alias = Key.from_dict("e" * 64, {**key.to_dict(), "comment": "another"})
    (r.targets if role == "delegated" else r.root).add_key(alias, role)
    other = copy.copy(signer)
    other._public_key = alias
    r.signers[role].append(other)
    r.publish("root", "delegated", *TOP)
    document = json.loads(r.served[role][None])
    expect(len(document["signatures"]), 2)
    expect((c.download("t"), c.downloads()), (1, []))
    assert role not in dict(c.trusted())


@case()
def the_same_id_twice_in_a_role(c, r):
    expect(c.init(), 0)
    ids = r.root.roles["timestamp"].keyids * 2
    r.publish_raw("root", lambda s: s["roles"]["timestamp"].update(keyids=ids, threshold=2))
    expect((c.refresh(), c.trusted()), (1, [("root", 2)]))


@case()
def empty_signatures_are_placeholders(c, r):
    later = CryptoSigner.generate_ed25519().public_key
    for role in TOP:
        r.root.add_key(later, role)
    r.publish("root")
    hold = lambda d: json.dumps({**(m := json.loads(d)), "signatures": [{"keyid": later.keyid, "sig": ""}, *m["signatures"]]}).encode()
    r.publish(*TOP, edit=hold)
    expect((c.init(), c.refresh(), c.version("targets")), (0, 0, 2))


ROOTS = {
    "1 of 1 rotated": [([1], 1, [1]), ([2], 1, [2, 1]), ([2], 1, [2])],
    "signatures of strangers": [([1], 1, [3, 1, 4]), ([2], 1, [3, 2, 1, 4]), ([2], 1, [3, 2, 4])],
    "3 of 5 by different signers": [([0, 1, 2, 3, 4], 3, s) for s in ([0, 2, 4], [0, 4, 1], [0, 1, 3], [0, 1, 3])],
    "3 of 5, one replaced": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 1])],
    "3 of 5, one replaced in two steps": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4, 5]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])],
    "3 of 5, all replaced": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]), ([5, 6, 7, 8, 9], 3, [5, 6, 7])],
    "threshold 1 to 2 of 3": [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 2])],
    "threshold 2 to 1 of 3": [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1, 2]), ([1, 2, 3], 1, [1])],
    "1 of 1 to 2 of 2": [([1], 1, [1]), ([1, 2], 2, [1, 2])],
    "old key did not sign": [([1], 1, [1]), ([2], 1, [2, 3, 4]), None],
    "new key did not sign": [([1], 1, [1]), ([2], 1, [1, 3, 4]), None],
    "3 of 5, not by three new ones": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4]), None],
    "3 of 5, not by three old ones": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 5]), None],
    "raised threshold not reached": [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2]), None],
    "lowered threshold, old not reached": [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1]), None],
}


@case(*[(name, steps) for name, steps in ROOTS.items()])
def root_rotation(c, r, steps):
    people = [CryptoSigner.generate_ed25519() for _ in range(10)]
    good = steps[-1] is not None
    steps = [s for s in steps if s]
    r.served["root"], r.root.version = {}, 0
    for keys, threshold, by in steps:
        role = r.root.roles["root"]
        role.keyids, role.threshold, r.signers["root"] = [], threshold, [people[i] for i in by]
        for i in keys:
            r.root.add_key(people[i].public_key, "root")
        r.root.version += 1
        r.publish("root", bump=False)
    expect((c.init(), c.refresh()), (0, 0 if good else 1))
    expect(c.bytes("root"), r.served["root"][len(steps) - (not good)])


OTHERS = {
    "1 of 1 rotated": ([2], 1, [2], True), "signatures of strangers": ([1], 1, [3, 1, 4], True),
    "new key did not sign": ([2], 1, [1, 3, 4], False), "one of three is no key of the role": ([0, 1, 3, 4, 5], 3, [0, 2, 4], False),
    "two of three": ([0, 1, 3, 4, 5], 3, [0, 4], False),
    **{f"3 of 5 by {by}": ([0, 1, 2, 3, 4], 3, by, True) for by in ([0, 2, 4], [0, 4, 1], [0, 1, 3], [1, 2, 3], [2, 3, 4])},
}


@case(*[(f"{role}, {name}", role, *v) for name, v in OTHERS.items() for role in TOP])
def rotation_of_other_roles(c, r, role, keys, threshold, by, good):
    people = [CryptoSigner.generate_ed25519() for _ in range(10)]
    started(c, r)
    r.root.roles[role].keyids, r.root.roles[role].threshold = [], threshold
    for i in keys:
        r.root.add_key(people[i].public_key, role)
    r.signers[role] = [people[i] for i in by]
    r.publish("root", *TOP)
    expect(c.refresh(), 0 if good else 1)
    expect(c.version(role), 2 if good else 1)
    if good:
        expect(c.bytes(role), r.served[role][None])


# ---- rollback and recovery ------------------------------------------------------------------------------------------------

@case()
def snapshot_falls_behind_an_unchanged_timestamp(c, r):
    r.publish("snapshot", "timestamp")
    started(c, r)
    r.snapshot.version = 1
    r.publish("snapshot", bump=False)
    expect((c.refresh(), c.version("snapshot"), r.metadata_requests[-1]), (0, 2, ("timestamp", None)))


@case()
def timestamp_falls(c, r):
    r.publish("timestamp")
    started(c, r)
    r.timestamp.version = 1
    r.publish("timestamp", bump=False)
    expect((c.refresh(), c.version("timestamp"), r.metadata_requests[-1]), (1, 2, ("timestamp", None)))


@case()
def timestamp_changes_without_a_new_version(c, r):
    started(c, r)
    r.timestamp.snapshot_meta.version = 100
    r.publish("timestamp", bump=False)
    kept = c.bytes("timestamp")
    expect((c.refresh(), r.metadata_requests[-1], c.bytes("timestamp")), (0, ("timestamp", None), kept))


@case(("plain", False), ("with hashes", True))
def snapshot_falls(c, r, pinned):
    r.pinned = pinned
    r.publish("snapshot", "timestamp")
    started(c, r)
    r.snapshot.version = 1
    r.publish("snapshot", bump=False)
    r.publish("timestamp")
    expect((c.refresh(), c.version("timestamp"), c.version("snapshot"), r.metadata_requests[-1]), (1, 2, 2, ("timestamp", None)))


@case(("plain", False), ("with hashes", True))
def targets_fall(c, r, pinned):
    r.pinned = pinned
    r.publish(*TOP)
    started(c, r)
    r.targets.version = 1
    r.publish("targets", bump=False)
    r.publish("snapshot", "timestamp")
    expect((c.refresh(), c.version("snapshot"), c.version("targets")), (1, 2, 2))
    expect(r.metadata_requests[-1], ("snapshot", 3))


@case("gone", "older")
def delegated_role_falls(c, r, how):
    expect(c.init(), 0)
    r.delegate("targets", "delegated")
    r.publish("delegated", *TOP)
    r.publish("delegated", *TOP)
    expect(c.refresh(), 0)
    if how == "gone":
        del r.snapshot.meta["delegated.json"]
    else:
        r.snapshot.meta["delegated.json"].version = 1
    r.publish("snapshot", "timestamp")
    expect((c.refresh(), c.version("snapshot")), (1, 3))


@case(("targets", "targets", ["snapshot"]), ("snapshot", "snapshot", ["snapshot", "timestamp"]), ("timestamp", "timestamp", ["timestamp"]),
      ("snapshot, by the timestamp's key alone", "snapshot", ["timestamp"]))
def fast_forward_recovery(c, r, role, rotated):
    """Keys change, and what an attacker pushed ahead may fall."""
    expect(c.init(), 0)
    r.mds[role].signed.version = 99999
    r.publish(role, bump=False)
    r.publish(*[x for x in TOP[TOP.index(role) + 1:]])
    expect((c.refresh(), c.version(role)), (0, 99999))
    for name in rotated:
        r.rotate(name)
    r.publish("root")
    for name in TOP:
        r.mds[name].signed.version = 1 if name == role else r.mds[name].signed.version
    r.publish(role, bump=False)
    r.publish(*[x for x in TOP[TOP.index(role) + 1:]])
    for name in rotated:
        if name != role:
            r.publish(name)
    r.publish("snapshot", bump=False)
    r.publish("timestamp", bump=False)
    expect((c.refresh(), c.version(role)), (0, 1))


@case("timestamp", "snapshot")
def recovery_by_a_key_that_joins(c, r, role):
    """The old files still verify under the new root; the changed keys alone must make the floors fall."""
    expect(c.init(), 0)
    r.timestamp.version = 99999
    r.publish("timestamp", bump=False)
    expect((c.refresh(), c.version("timestamp")), (0, 99999))
    r.rotate(role, keep=True)
    r.publish("root")
    r.timestamp.version = 2
    r.served["timestamp"][None] = 500
    expect((c.refresh(), c.version("root")), (1, 2))
    r.publish("timestamp", bump=False)
    expect((c.refresh(), c.version("timestamp")), (0, 2))


@case()
def snapshot_of_another_version(c, r):
    expect(c.init(), 0)
    r.snapshot.version = 2
    r.publish("snapshot", bump=False)
    data = r.served["snapshot"][2]
    r.served["snapshot"][1] = data
    r.timestamp.snapshot_meta.version = 1
    r.publish("timestamp")
    expect((c.refresh(), c.trusted(), r.metadata_requests[-1]), (1, [("root", 1), ("timestamp", 2)], ("snapshot", 1)))


@case()
def root_of_another_version(c, r):
    expect(c.init(), 0)
    r.root.version = 3
    r.publish("root", bump=False)
    r.served["root"][2] = r.served["root"][3]
    expect((c.refresh(), c.trusted()), (1, [("root", 1)]))


# ---- delegations ------------------------------------------------------------------------------------------------------------

GRAPHS = {  # delegator>role[!][:path], and the order of visits for "missingpath"
    "one": ("targets>A", "A"), "two": ("targets>A targets>B", "A B"), "two levels": ("targets>A targets>B B>C", "A B C"),
    "deep first": ("targets>A targets>B A>C A>D", "A C D B"), "deeper first": ("targets>A targets>B A>C C>D", "A C D B"),
    "terminating": ("targets>A targets>B A>C! A>D", "A C"), "terminating, descendants": ("targets>A targets>B A>C! C>D", "A C D"),
    "no match": ("targets>A:*.py targets>B A>C", "B"), "no match below": ("targets>A targets>B A>C:*.py C>D", "A B"),
    "cycle": ("targets>A targets>B B>C C>D D>B", "A B C D"), "two ways": ("targets>A targets>B B>C A>C", "A C B"),
    "two ways, one open": ("targets>A targets>B B>C A>C:*.py", "A B C"),
    "terminating without match": ("targets>A!:*.py targets>B", "B"), "itself": ("targets>A A>A A>B", "A B"),
}


def build(r, edges):
    for edge in edges.split():
        edge, _, path = edge.partition(":")
        by, _, name = edge.partition(">")
        r.delegate(by, name.rstrip("!"), [path or "*"], name.endswith("!"))
    r.publish(*[n for n in r.mds if n not in ("root", *TOP)], *TOP)


@case(*[(name, *v) for name, v in GRAPHS.items()])
def search_order(c, r, edges, order):
    expect(c.init(), 0)
    build(r, edges)
    expect(c.download("missingpath"), 1)
    expect(r.metadata_requests[4:], [(name, 1) for name in order.split()])


TREE = {"targetfile": "", "README.md": "A", "releases/x/x_v1": "B C", "releases/y/y_v1.zip": "B D", "releases/z/z_v1.zip": None}


@case(*[(path, path, order) for path, order in TREE.items()])
def search_by_path(c, r, path, order):
    expect(c.init(), 0)
    for by, name, paths in (("targets", "A", ["*.doc", "*.md"]), ("targets", "B", ["releases/*/*"]), ("B", "C", ["releases/x/*"]), ("B", "D", ["releases/y/*.zip"])):
        r.delegate(by, name, paths)
    for role, name in (("targets", "targetfile"), ("A", "README.md"), ("C", "releases/x/x_v1"), ("D", "releases/y/y_v1.zip"), ("D", "releases/z/z_v1.zip")):
        r.artifact(role, name, name.encode())
    r.publish("A", "B", "C", "D", *TOP)
    expect((c.download(path), c.downloads()), (1, []) if order is None else (0, [path.encode()]))
    expect(r.metadata_requests[4:], [(n, 1) for n in ("B" if order is None else order).split()])


@case()
def hash_bins(c, r):
    expect(c.init(), 0)
    for i in range(16):
        r.delegate("targets", f"bin-{i:x}", prefixes=[f"{i:x}"])
    paths = [f"file-{i}" for i in range(8)]
    bins = [hashlib.sha256(p.encode()).hexdigest()[0] for p in paths]
    for path, bin in zip(paths, bins):
        r.artifact(f"bin-{bin}", path, path.encode())
        # Also listed where the prefix does not lead: unreachable.
        r.artifact(f"bin-{(int(bin, 16) + 1) % 16:x}", path, path.encode())
    r.publish(*[f"bin-{i:x}" for i in range(16)], *TOP)
    expect((c.download(*paths), len(c.downloads())), (0, 8))
    expect({role for role, _ in r.metadata_requests[4:]}, {f"bin-{b}" for b in bins})


@case()
def a_chain_of_more_than_32_roles(c, r):
    expect(c.init(), 0)
    build(r, " ".join(f"{'targets' if i == 0 else f'r{i - 1}'}>r{i}" for i in range(40)))
    r.artifact("r31", "near", b"near")
    r.artifact("r39", "far", b"far")
    r.publish("r31", "r39", *TOP)
    expect((c.download("near"), c.download("far"), c.downloads()), (0, 1, [b"near"]))


@case()
def a_kept_role_is_verified_against_the_delegator_at_hand(c, r):
    expect(c.init(), 0)
    r.delegate("targets", "A", ["a/*"])
    r.delegate("targets", "B", ["b/*"])
    good = r.delegate("B", "shared", ["*/*"])
    r.delegate("A", "shared", ["*/*"])
    r.signers["shared"] = [good]
    for path in ("a/x", "b/x"):
        r.artifact("shared", path, path.encode())
    r.publish("A", "B", "shared", *TOP)
    expect((c.download("b/x", "a/x"), c.downloads()), (1, [b"b/x"]))
    expect((c.download("a/x"), c.download("b/x"), c.downloads()), (1, 0, [b"b/x"]))


@case()
def a_role_that_snapshot_does_not_list(c, r):
    expect(c.init(), 0)
    r.delegate("targets", "A")
    r.delegate("targets", "B")
    for role in "AB":
        r.artifact(role, "t", role.encode())
    r.publish("A", "B", "targets")
    del r.snapshot.meta["A.json"]
    r.artifacts["t"] = [b"B", r.signed("B").targets["t"]]
    r.publish("snapshot", "timestamp")
    expect((c.download("t"), c.downloads()), (0, [b"B"]))
    expect(r.metadata_requests[4:], [("B", 1)])


@case("root", "timestamp", "snapshot", "targets")
def a_delegation_to_a_top_level_name(c, r, name):
    started(c, r)
    r.delegate("targets", "other")
    r.publish("other")
    r.publish_raw("targets", lambda s: s["delegations"]["roles"][0].update(name=name))
    r.publish("snapshot", "timestamp")
    expect((c.refresh(), c.version("targets")), (1, 1))


@case("?", "#", "/delegatedrole", "../delegatedrole", "..", ".", "a b", "é", "%2F", "1.root", "x" * 100)
def unusual_role_names(c, r, role):
    expect(c.init(), 0)
    r.delegate("targets", role)
    r.artifact(role, "t", b"x")
    r.publish(role, *TOP)
    expect((c.download("nonexistent target"), c.download("t"), c.downloads()), (1, 0, [b"x"]))
    assert (urllib.parse.quote(role, ""), 1) in r.metadata_requests, r.metadata_requests
    expect(len(c.trusted()), 5)
    outside = {p.name for p in pathlib.Path(c.home.name).iterdir()}
    expect(outside, {"metadata", "targets", "first-root"})


# ---- target files -----------------------------------------------------------------------------------------------------------

@case("target_file.txt", "path/to/a/target_file.txt", "with blank", "per%25cent", "a+b@c:d")
def download(c, r, path):
    expect(c.init(), 0)
    r.artifact("targets", path, b"content")
    r.publish(*TOP)
    expect((c.refresh(), c.downloads(), c.download(path), c.downloads()), (0, [], 0, [b"content"]))
    expect(r.target_requests, [(path, hashlib.sha256(b"content").hexdigest())])
    expect((c.download(path), len(r.target_requests)), (0, 1))


@case("sha256", "sha512", "sha256 sha512")
def kinds_of_hashes(c, r, kinds):
    expect(c.init(), 0)
    r.artifact("targets", "t", b"content", kinds.split())
    r.publish(*TOP)
    expect((c.download("t"), c.downloads()), (0, [b"content"]))
    r.artifacts["t"][0] = b"CONTENT"
    for p in c.targets.iterdir():
        p.unlink()
    expect((c.download("t"), c.downloads()), (1, []))


@case()
def only_unknown_hashes(c, r):
    expect(c.init(), 0)
    r.artifact("targets", "t", b"content", ["blake2b-256"])
    r.publish(*TOP)
    expect((c.download("t"), c.downloads()), (1, []))


@case()
def substituted_files(c, r):
    expect(c.init(), 0)
    for name in ("one", "two"):
        r.artifact("targets", name, name.encode())
    r.publish(*TOP)
    expect(c.download("one"), 0)
    r.artifacts["one"][0] = r.artifacts["two"][0] = b"malicious"
    c.download("one")
    expect((c.download("two"), c.downloads()), (1, [b"one"]))


@case("shorter", "longer", "much longer")
def files_of_another_length(c, r, how):
    expect(c.init(), 0)
    r.artifact("targets", "t", b"x" * 100)
    r.publish(*TOP)
    r.artifacts["t"][0] = b"x" * {"shorter": 99, "longer": 101, "much longer": 50_000_000}[how]
    expect((c.download("t"), c.downloads()), (1, []))


@case()
def changes_of_a_file(c, r):
    expect(c.init(), 0)
    for i in range(11):
        good = b"modified %d" % i
        r.artifact("targets", "t", good)
        r.artifact("targets", f"new-{i}", b"new %d" % i)
        r.publish(*TOP)
        if i % 5 == 0:
            expect((c.download("t"), c.download(f"new-{i}")), (0, 0))
            assert good in c.downloads() and b"new %d" % i in c.downloads()
            r.artifacts["t"][0] = b"malicious %d" % i
            r.publish(*TOP)
            c.download("t")
            assert good in c.downloads() and not any(b"malicious" in d for d in c.downloads())


@case()
def several_targets_stop_at_the_first_failure(c, r):
    expect(c.init(), 0)
    for name in "abc":
        r.artifact("targets", name, name.encode())
    del r.artifacts["b"]
    r.publish(*TOP)
    expect((c.download("a", "b", "c"), c.downloads()), (1, [b"a"]))
    expect(r.metadata_requests, [("root", 2), ("timestamp", None), ("snapshot", 2), ("targets", 2)])


@case("../escape", "../../escape", "/escape", "a/../../escape")
def target_paths_stay_in_their_folder(c, r, path):
    expect(c.init(), 0)
    r.artifact("targets", path, b"content")
    r.publish(*TOP)
    c.download(path)
    expect({p.name for p in pathlib.Path(c.home.name).iterdir()}, {"metadata", "targets", "first-root"})
    expect([p for p in c.targets.rglob("*") if p.is_dir()], [])


@case()
def without_consistent_snapshots(c, r):
    r.root.consistent_snapshot = False
    r.publish("root", bump=False)
    expect(c.init(), 0)
    for name in ("role1", "..", "."):
        r.delegate("targets", name, ["*/*", "*"])
    r.artifact("role1", "dir/t", b"x")
    r.publish("role1", "..", ".", *TOP)
    expect((c.download("dir/t"), c.downloads()), (0, [b"x"]))
    expect(r.metadata_requests, [("root", 2), ("timestamp", None), ("snapshot", None), ("targets", None), ("role1", None)])
    expect(r.target_requests, [("dir/t", None)])
    expect((c.download("missing"), len(c.trusted())), (1, 7))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("client")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    server, failed, passed = Server(), [], 0
    for name, function, variant in CASES:
        if args.only not in name:
            continue
        repo = server.repo = Repository()
        client = Client(args.client, server, repo)
        try:
            function(client, repo, *variant)
            passed += 1
            print(f"ok      {name}", flush=True)
        except Exception:
            failed.append(name)
            print(f"FAILED  {name}\n{traceback.format_exc()}{getattr(client, 'said', '')}requests: {repo.metadata_requests}", flush=True)
        finally:
            client.home.cleanup()
    for name in failed:
        print(f"failed: {name}")
    print(f"tuf-cases: {passed} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
