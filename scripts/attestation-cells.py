#!/usr/bin/env python3
"""Cross bulla's attestations with cosign 3, both ways, on registries with and without the referrers API.

usage: scripts/attestation-cells.py [--bulla target/debug/bulla]

bulla attests and cosign verify-attestation accepts it, for every word of --type; cosign attests and bulla verify accepts it; a wrong
key and a wrong type are refused on both sides. The last line counts passed, failed, skipped. Needs what scripts/signature-cells.py
needs.
"""
import argparse, importlib.util, json, os, subprocess, sys, tempfile

from interop import CACHE, HERE, Skip, call, docker_registry, ferro

spec = importlib.util.spec_from_file_location("signature_cells", HERE / "signature-cells.py")
cells = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cells)

PREDICATES = {
    "slsaprovenance": {"builder": {"id": "https://ci.example.com"}, "buildType": "https://example.com/build/v1"},
    "slsaprovenance1": {"buildDefinition": {"buildType": "https://example.com/build/v1", "externalParameters": {}}, "runDetails": {"builder": {"id": "https://ci.example.com"}}},
    "spdxjson": {"spdxVersion": "SPDX-2.3", "name": "app"},
    "cyclonedx": {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "vulnerabilities": [{"ratings": [{"score": 7.5}]}]},
    "vuln": {"invocation": {}, "scanner": {"uri": "https://example.com/scanner"}, "metadata": {}},
    "link": {"_type": "link", "name": "build", "command": [], "materials": {}, "products": {}, "byproducts": {}, "environment": {}},
    "https://example.com/review/v1": {"reviewed": True},
}


def cosign_says(w, at, key, kind):
    done = subprocess.run([w.need("cosign3"), "verify-attestation", "--insecure-ignore-tlog", "--allow-http-registry", "--key", str(key), "--type", kind, at],
                          env={**os.environ, **w.env}, capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


def predicate(w, kind):
    path = w.work / "predicate.json"
    path.write_text(json.dumps(PREDICATES[kind]))
    return path


def bulla_attests(w, registry):
    at = w.bundle(registry)
    for kind in PREDICATES:
        w.signer("attest", at, "--predicate", predicate(w, kind), "--type", kind, "--key", "release")
    for kind in PREDICATES:
        good, text = cosign_says(w, at, w.pki / "bulla.pub", kind)
        assert good, (kind, text)
    good, text = cosign_says(w, at, w.pki / "cosign-strangers.pub", "vuln")
    assert not good, text
    good, text = cosign_says(w, at, w.pki / "bulla.pub", "openvex")
    assert not good, text


def cosign_attests(w, registry):
    at = w.bundle(registry)
    w.they_sign("sigstore", at)
    for kind in PREDICATES:
        call(w.need("cosign3"), "attest", "--use-signing-config=false", "--tlog-upload=false", "--yes", "--allow-http-registry", "--key", w.pki / "cosign-theirs.key",
             "--predicate", predicate(w, kind), "--type", kind, at, env=w.env)
    for kind in PREDICATES:
        report = w.bulla_says(at, [("sigstore", "theirs")], extra=["--attestation", kind])
        assert report["verdict"] == "trusted", (kind, report)
    report = w.bulla_says(at, [("sigstore", "theirs")], extra=["--attestation", "openvex"], exits=1)
    assert report["because"]["code"] == "attestation.none", report
    report = w.bulla_says(at, [("sigstore", "theirs"), ("sigstore", "strangers")], extra=["--attestation", "vuln"])
    assert report["verdict"] == "trusted", report
    report = w.bulla_says(at, [("sigstore", "strangers")], extra=["--attestation", "vuln"], exits=1)
    assert report["verdict"] == "not-trusted", report


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--bulla", default=str(HERE.parent / "target/debug/bulla"))
    args = args.parse_args()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, docker_registry(work) as plain, ferro(work) as api:
        world = cells.World(os.path.abspath(args.bulla), work, cells.matrix.Tools(), {cells.PLAIN: plain.host, cells.API: api.host})
        for cell in (bulla_attests, cosign_attests):
            for registry in cells.REGISTRIES:
                try:
                    cell(world, registry)
                    end, why = "passed", ""
                except Skip as e:
                    end, why = "skipped", str(e)
                except (AssertionError, subprocess.CalledProcessError, RuntimeError) as e:
                    end, why = "failed", str(e)
                counts[end] += 1
                print(f"{end:<8} {cell.__name__:<16} {registry}  {why}", flush=True)
    print(", ".join(f"{n} {end}" for end, n in counts.items()))
    sys.exit(1 if counts["failed"] else 0)


main()
