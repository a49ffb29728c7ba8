#!/usr/bin/env python3
"""bulla's signature envelopes before cosign and notation: each is pushed beside the bundle it signs, and the peer must verify it
and must refuse it with another key or root.

  signature-peers.py [--ferro F] [--cosign2 C] [--cosign3 C] [--notation N] [--write COMMAND]

The peers are looked for in $BULLA_INTEROP_CACHE, or ~/.cache/bulla-interop, where scripts/copy-matrix.py puts them.
COMMAND (default: cargo run --quiet --locked --example write-signatures --) is called with a folder and writes the envelopes for
testdata/signatures/subject.json into it. Needs no network: everything runs on 127.0.0.1.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "testdata" / "signatures"
CACHE = pathlib.Path(os.environ.get("BULLA_INTEROP_CACHE", pathlib.Path.home() / ".cache/bulla-interop"))
PEERS = {"ferro": "ferro/bin/ferro-oci-server", "cosign2": "trixie/fs/usr/bin/cosign", "cosign3": "sid/fs/usr/bin/cosign",
         "notation": "sid/fs/usr/bin/notation"}
SUBJECT = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "artifactType": "application/vnd.example.app",
    "config": {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
    },
    "layers": [
        {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        }
    ],
}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": SUBJECT["config"]["digest"], "size": 2}


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    def __init__(self, ferro, work):
        self.host = f"127.0.0.1:{port()}"
        env = {**os.environ, "FERRO_OCI_LISTEN": self.host, "FERRO_OCI_STORAGE_DIR": str(work / "ferro")}
        self.process = subprocess.Popen([ferro], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                socket.create_connection(self.host.split(":"), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit("the registry does not start")

    def request(self, path, method="GET", data=None, **headers):
        request = urllib.request.Request(f"http://{self.host}/v2/{path}", method=method, data=data)
        for k, v in headers.items():
            request.add_header(k.replace("_", "-"), v)
        with urllib.request.urlopen(request) as answer:
            return answer.headers, answer.read()

    def push(self, repository, manifest):
        headers, _ = self.request(f"{repository}/blobs/uploads/", "POST", b"")
        where = headers["Location"].split("/v2/", 1)[1]
        sep = "&" if "?" in where else "?"
        digest = SUBJECT["config"]["digest"]
        self.request(f"{where}{sep}digest={digest}", "PUT", b"{}", Content_Type="application/octet-stream")
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        self.request(f"{repository}/manifests/{digest}", "PUT", manifest, Content_Type=MANIFEST)
        return digest

    def manifest(self, repository, reference):
        return json.loads(self.request(f"{repository}/manifests/{reference}", Accept=MANIFEST)[1])

    def only_signature(self, repository, subject):
        """The one layer of the one referrer."""
        listed = json.loads(self.request(f"{repository}/referrers/{subject}")[1])["manifests"]
        assert len(listed) == 1, listed
        layer, = self.manifest(repository, listed[0]["digest"])["layers"]
        return self.request(f"{repository}/blobs/{layer['digest']}")[1]


def blob(registry, repository, content):
    headers, _ = registry.request(f"{repository}/blobs/uploads/", "POST", b"")
    where = headers["Location"].split("/v2/", 1)[1]
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    sep = "&" if "?" in where else "?"
    registry.request(f"{where}{sep}digest={digest}", "PUT", content, Content_Type="application/octet-stream")
    return {"digest": digest, "size": len(content)}


def attach(registry, repository, subject, envelope, media_type, artifact_type, annotations):
    layer = {"mediaType": media_type, **blob(registry, repository, envelope)}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type, "config": EMPTY, "layers": [layer],
                "subject": {"mediaType": MANIFEST, "digest": "sha256:" + hashlib.sha256(subject).hexdigest(), "size": len(subject)},
                "annotations": annotations}
    registry.push(repository, json.dumps(manifest).encode())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for peer, path in PEERS.items():
        p.add_argument(f"--{peer}", default=str(CACHE / path))
    p.add_argument("--write", default="cargo run --quiet --locked --example write-signatures --")
    a = p.parse_args()
    missing = [getattr(a, peer) for peer in PEERS if not pathlib.Path(getattr(a, peer)).exists()]
    if missing:
        sys.exit(f"not there: {', '.join(missing)} (scripts/copy-matrix.py fetches them)")
    subject = (DATA / "subject.json").read_bytes()
    failed, counted = [], []

    def expect(what, wanted, *command, **env):
        done = subprocess.run(list(map(str, command)), env={**os.environ, **env}, capture_output=True, text=True)
        right = (done.returncode == 0) == wanted
        counted.append(what)
        print(f"{'ok  ' if right else 'FAIL'} {what}: {'verified' if done.returncode == 0 else 'refused'}")
        if not right:
            print(done.stdout + done.stderr)
            failed.append(what)

    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        written = work / "written"
        subprocess.run([*shlex.split(a.write), str(written)], check=True)
        registry = Registry(a.ferro, work)
        try:
            for path in sorted(written.iterdir()):
                envelope = path.read_bytes()
                stem, kind = path.name.split(".", 1)
                if kind in ("sig", "thumbprints"):
                    continue
                repository = f"peers/{kind.replace('.', '-')}-{stem}"
                digest = registry.push(repository, subject)
                reference = f"{registry.host}/{repository}@{digest}"
                if kind == "sigstore.json":
                    attach(registry, repository, subject, envelope, BUNDLE, BUNDLE,
                           {"dev.sigstore.bundle.content": "dsse-envelope",
                            "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1"})
                    # Without it cosign 3.1.1 does not verify its own bundles of P-384 keys either.
                    hash = ["--signature-digest-algorithm", "sha384"] if stem == "p384" else []
                    for key, wanted in ((stem, True), ("empty-password" if stem == "generated" else "generated", False)):
                        expect(f"cosign 3, bundle of {stem}, key {key}", wanted, a.cosign3, "verify", "--insecure-ignore-tlog",
                               *hash, "--allow-http-registry", "--key", DATA / "sigstore" / f"{key}.pub", reference)
                elif kind == "simple.json":
                    signature = (written / f"{stem}.sig").read_text()
                    config = json.dumps({"architecture": "", "os": "", "config": {}, "rootfs": {
                        "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(envelope).hexdigest()]}}).encode()
                    layer = {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", **blob(registry, repository, envelope),
                             "annotations": {"dev.cosignproject.cosign/signature": signature}}
                    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer], "config":
                                {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(registry, repository, config)}}
                    registry.request(f"{repository}/manifests/{digest.replace(':', '-')}.sig", "PUT",
                                     json.dumps(manifest).encode(), Content_Type=MANIFEST)
                    for name, peer in (("cosign 2", a.cosign2), ("cosign 3", a.cosign3)):
                        for key, wanted in ((stem, True), ("empty-password" if stem == "generated" else "generated", False)):
                            more = ["--new-bundle-format=false"] if name == "cosign 3" else []
                            expect(f"{name}, simple signature of {stem}, key {key}", wanted, peer, "verify", "--insecure-ignore-tlog",
                                   *more, "--allow-http-registry", "--key", DATA / "sigstore" / f"{key}.pub", reference)
                else:
                    media = {"jws": "application/jose+json", "cose": "application/cose"}[kind]
                    thumbprints = (written / f"{stem}.thumbprints").read_text()
                    attach(registry, repository, subject, envelope, media, "application/vnd.cncf.notary.signature",
                           {"io.cncf.notary.x509chain.thumbprint#S256": thumbprints})
                    for root, wanted in ((DATA / "notation" / "root.pem", True), (DATA / "x509" / "root-alone.pem", False)):
                        home = work / f"{kind}-{stem}-{wanted}"
                        store = home / "notation" / "truststore" / "x509" / "ca" / "test"
                        store.mkdir(parents=True)
                        (store / "root.pem").write_bytes(root.read_bytes())
                        policy = {"version": "1.0", "trustPolicies": [{"name": "all", "registryScopes": ["*"], "signatureVerification":
                                  {"level": "strict"}, "trustStores": ["ca:test"], "trustedIdentities": ["*"]}]}
                        (home / "notation" / "trustpolicy.json").write_text(json.dumps(policy))
                        expect(f"notation, {kind} of {stem}, {'its' if wanted else 'another'} root", wanted, a.notation, "verify",
                               "--insecure-registry", reference, XDG_CONFIG_HOME=str(home))
        finally:
            registry.process.terminate()
            registry.process.wait()
    print(f"signature peers: {len(counted) - len(failed)} passed, {len(failed)} failed")
    if failed or not counted:
        sys.exit(1)


if __name__ == "__main__":
    main()
