#!/usr/bin/env python3
"""bulla's signature envelopes before cosign and notation: each is pushed beside the bundle it signs, and the peer must verify it
and must refuse it with another key or root.

  signature-peers.py --ferro F --cosign2 C --cosign3 C --notation N [--write COMMAND]

COMMAND (default: cargo run --quiet --locked --example write-signatures --) is called with a folder and writes the envelopes for
testdata/signatures/subject.json into it. Needs no network: everything runs on 127.0.0.1.
"""
import argparse
import hashlib
import importlib.util
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("vectors", HERE / "make-signature-vectors.py")
vectors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vectors)
DATA = HERE.parent / "testdata" / "signatures"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": vectors.SUBJECT["config"]["digest"], "size": 2}


def blob(registry, repository, content):
    headers, _ = registry.request(f"{repository}/blobs/uploads/", "POST", b"")
    where = headers["Location"].split("/v2/", 1)[1]
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    sep = "&" if "?" in where else "?"
    registry.request(f"{where}{sep}digest={digest}", "PUT", content, Content_Type="application/octet-stream")
    return {"digest": digest, "size": len(content)}


def attach(registry, repository, subject, envelope, media_type, artifact_type, annotations):
    layer = {"mediaType": media_type, **blob(registry, repository, envelope)}
    manifest = {"schemaVersion": 2, "mediaType": vectors.MANIFEST, "artifactType": artifact_type, "config": EMPTY, "layers": [layer],
                "subject": {"mediaType": vectors.MANIFEST, "digest": "sha256:" + hashlib.sha256(subject).hexdigest(), "size": len(subject)},
                "annotations": annotations}
    registry.push(repository, json.dumps(manifest).encode())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for peer in ("ferro", "cosign2", "cosign3", "notation"):
        p.add_argument(f"--{peer}", required=True)
    p.add_argument("--write", default="cargo run --quiet --locked --example write-signatures --")
    a = p.parse_args()
    subject = (DATA / "subject.json").read_bytes()
    failed = []

    def expect(what, wanted, *command, **env):
        done = subprocess.run(list(map(str, command)), env={**os.environ, **env}, capture_output=True, text=True)
        right = (done.returncode == 0) == wanted
        print(f"{'ok  ' if right else 'FAIL'} {what}: {'verified' if done.returncode == 0 else 'refused'}")
        if not right:
            print(done.stdout + done.stderr)
            failed.append(what)

    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        written = work / "written"
        subprocess.run([*shlex.split(a.write), str(written)], check=True)
        registry = vectors.Registry(a.ferro, work)
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
                    attach(registry, repository, subject, envelope, vectors.BUNDLE, vectors.BUNDLE,
                           {"dev.sigstore.bundle.content": "dsse-envelope",
                            "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1"})
                    for key, wanted in ((stem, True), ("empty-password" if stem == "generated" else "generated", False)):
                        expect(f"cosign 3, bundle of {stem}, key {key}", wanted, a.cosign3, "verify", "--insecure-ignore-tlog",
                               "--allow-http-registry", "--key", DATA / "sigstore" / f"{key}.pub", reference)
                elif kind == "simple.json":
                    signature = (written / f"{stem}.sig").read_text()
                    config = json.dumps({"architecture": "", "os": "", "config": {}, "rootfs": {
                        "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(envelope).hexdigest()]}}).encode()
                    layer = {"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", **blob(registry, repository, envelope),
                             "annotations": {"dev.cosignproject.cosign/signature": signature}}
                    manifest = {"schemaVersion": 2, "mediaType": vectors.MANIFEST, "layers": [layer], "config":
                                {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(registry, repository, config)}}
                    registry.request(f"{repository}/manifests/{digest.replace(':', '-')}.sig", "PUT",
                                     json.dumps(manifest).encode(), Content_Type=vectors.MANIFEST)
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
    if failed:
        sys.exit(f"{len(failed)} failed")


if __name__ == "__main__":
    main()
