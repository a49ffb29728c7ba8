#!/usr/bin/env python3
"""Cross bulla's signatures with cosign 2.5, cosign 3, notation, oras and skopeo, both ways, as cells of a table.

usage: scripts/signature-cells.py [--bulla target/debug/bulla] [--only WORD] [--write] [--keep]

bulla signs and they verify; they sign and bulla verifies; both signed one bundle and two of two are asked for; a wrong key is
refused on both sides; the same after copies and round trips through an OCI layout. Each on docker-registry (no referrers API)
and on ferro-oci-server (with it). The table must be what docs/signature-matrix.md shows; --write writes it. The last line counts
passed, failed, skipped.

Needs what scripts/copy-matrix.py needs, and fetches the same tools. Everything runs on 127.0.0.1.
"""
import argparse, base64, difflib, hashlib, importlib.util, json, os, pathlib, shutil, subprocess, sys, tempfile, time, traceback

from interop import CACHE, HERE, INDEX, MANIFEST, NAME, Bulla, Skip, call, docker_registry, ferro, request

spec = importlib.util.spec_from_file_location("copy_matrix", HERE / "copy-matrix.py")
matrix = importlib.util.module_from_spec(spec)
spec.loader.exec_module(matrix)
PAGE = HERE.parent / "docs/signature-matrix.md"
PLAIN, API = "docker-registry", "ferro"
REGISTRIES = (PLAIN, API)
# bulla's name of a form -> who reads and writes it.
FORMS = {"sigstore": "Sigstore bundle", "cosign-tag": "`.sig` tag", "notation": "Notary JWS", "notation-cose": "Notary COSE"}
OTHER = {PLAIN: API, API: PLAIN}


class World:
    """Keys, tools and registries; every cell takes a repository of its own."""

    def __init__(self, program, work, tools, hosts):
        self.program, self.work, self.tools, self.hosts = program, pathlib.Path(work), tools, hosts
        self.number = 0
        call(sys.executable, HERE / "make-layouts.py", self.work / "layouts", "preset", "small")
        self.pki = self.work / "pki"
        self.pki.mkdir()
        for who in ("bulla", "theirs", "strangers"):
            self.authority(who)
        self.env = {"COSIGN_PASSWORD": "interop", "HOME": str(self.work), "DOCKER_CONFIG": str(self.work / "none"), "NOTATION_LIBEXEC": str(self.work),
                    "SIGSTORE_ROOT_FILE": "", "TUF_ROOT": str(self.work / "no-tuf")}
        for who in ("theirs", "strangers"):
            call(tools.cosign2, "generate-key-pair", "--output-key-prefix", f"cosign-{who}", env=self.env, cwd=self.pki)
        self.signer = Bulla(program, self.work / "signer")
        self.signer("key", "import", self.pki / "bulla.key", "release")
        self.notation_home("theirs", ["theirs"], "theirs")
        self.sources = {}

    def authority(self, who):
        """WHO-ca.pem, and WHO.key with WHO.chain.pem (leaf first) and WHO.pub."""
        ssl = lambda *a: call("openssl", *a, cwd=self.pki)
        about = f"/C=DE/ST=Berlin/O=Example {who}/CN="
        ssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256", "-keyout", f"{who}-ca.key", "-out", f"{who}-ca.pem", "-subj", about + "CA",
            "-days", "2", "-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE")
        ssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", about + "Signer")
        (self.pki / "leaf").write_text("keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\nbasicConstraints=critical,CA:FALSE\n")
        ssl("x509", "-req", "-sha256", "-in", f"{who}.csr", "-CA", f"{who}-ca.pem", "-CAkey", f"{who}-ca.key", "-CAcreateserial", "-out", f"{who}.pem", "-days", "2", "-extfile", "leaf")
        (self.pki / f"{who}.chain.pem").write_bytes((self.pki / f"{who}.pem").read_bytes() + (self.pki / f"{who}-ca.pem").read_bytes())
        ssl("pkey", "-in", f"{who}.key", "-pubout", "-out", f"{who}.pub")

    def notation_home(self, name, trusted, signer=None):
        """A configuration of notation that trusts these authorities, each in a store of its own."""
        home = self.work / f"notation-{name}"
        for who in trusted:
            store = home / "truststore/x509/ca" / who
            store.mkdir(parents=True)
            shutil.copy(self.pki / f"{who}-ca.pem", store)
        (home / "trustpolicy.json").write_text(json.dumps({"version": "1.0", "trustPolicies": [
            {"name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "strict"}, "trustStores": [f"ca:{w}" for w in trusted], "trustedIdentities": ["*"]}]}))
        if signer:
            (home / "signingkeys.json").write_text(json.dumps({"default": signer, "keys": [
                {"name": signer, "keyPath": str(self.pki / f"{signer}.key"), "certPath": str(self.pki / f"{signer}.chain.pem")}]}))
        return home

    def need(self, tool):
        program = getattr(self.tools, tool)
        if not program:
            raise Skip(f"{tool} could not be had")
        return program

    # ---- a bundle, signed

    def bundle(self, registry):
        """A repository with an unsigned bundle at v1: `host/repo@digest`."""
        self.number += 1
        repo = f"{self.hosts[registry]}/cells/n{self.number}"
        call(self.program, "copy", f"oci:{self.work}/layouts/small:v1", f"{repo}:v1", env={"BULLA_HOME": str(self.work / "mover")})
        status, _, data = request("GET", f"http://{self.hosts[registry]}/v2/cells/n{self.number}/manifests/v1", headers={"Accept": f"{MANIFEST}, {INDEX}"})
        assert status == 200, data
        return f"{repo}@sha256:{hashlib.sha256(data).hexdigest()}"

    def bulla_signs(self, form, at):
        chain = ["--cert", self.pki / "bulla.chain.pem"] if form.startswith("notation") else []
        return self.signer("sign", at, "--key", "release", "--format", form, *chain)

    def they_sign(self, form, at):
        """The program that writes this form signs with its own key."""
        offline = ["--tlog-upload=false", "--yes", "--allow-http-registry", "--key", self.pki / "cosign-theirs.key", at]
        if form == "sigstore":
            call(self.need("cosign3"), "sign", "--use-signing-config=false", *offline, env=self.env)
        elif form == "cosign-tag":
            call(self.need("cosign2"), "sign", *offline, env=self.env)
        elif form == "cosign-referrer":
            call(self.need("cosign2"), "sign", "--registry-referrers-mode=oci-1-1", *offline, env={**self.env, "COSIGN_EXPERIMENTAL": "1"})
        else:
            kind = "cose" if form == "notation-cose" else "jws"
            call(self.need("notation"), "sign", "--insecure-registry", "--signature-format", kind, at, env={**self.env, "NOTATION_CONFIG": str(self.work / "notation-theirs")})

    # ---- verdicts

    def cosign_says(self, tool, form, at, key):
        old = ["--new-bundle-format=false"] if tool == "cosign3" and form == "cosign-tag" else []
        done = subprocess.run([self.need(tool), "verify", "--insecure-ignore-tlog", *old, "--allow-http-registry", "--key", str(key), at],
                              env={**os.environ, **self.env}, capture_output=True, text=True)
        return done.returncode == 0, done.stdout + done.stderr

    def notation_says(self, at, trusted, *layout):
        self.number += 1
        home = self.notation_home(str(self.number), trusted)
        done = subprocess.run([self.need("notation"), "verify", *(layout or ["--insecure-registry", at])],
                              env={**os.environ, **self.env, "NOTATION_CONFIG": str(home), "NOTATION_EXPERIMENTAL": "1"}, capture_output=True, text=True)
        return done.returncode == 0, done.stdout + done.stderr

    def they_say(self, form, at, who):
        """The verdict of the program that reads this form, with WHO's key or authority; of a `.sig` tag both cosigns'."""
        if form.startswith("notation"):
            return self.notation_says(at, [who])
        key = self.pki / (f"{who}.pub" if who == "bulla" else f"cosign-{who}.pub")
        if form == "sigstore":
            return self.cosign_says("cosign3", form, at, key)
        first, second = (self.cosign_says(t, form, at, key) for t in ("cosign2", "cosign3"))
        assert first[0] == second[0], (first, second)
        return first

    def bulla_says(self, at, anchors, threshold=1, scope=None, extra=(), exits=0):
        """The verdict of somebody who trusts these (form, who) for the place, `threshold` of whom must have signed: the report."""
        self.number += 1
        who = Bulla(self.program, self.work / f"deployer-{self.number}")
        scope = scope or at.split("@")[0]
        trust(who, scope, [self.anchor(*a) for a in anchors], threshold)
        return who.json("verify", at, *extra, exits=exits)["result"]["bundles"][0]

    def anchor(self, form, who):
        if form.startswith("notation"):
            return "ca", self.pki / f"{who}-ca.pem"
        return "key", self.pki / (f"{who}.pub" if who == "bulla" else f"cosign-{who}.pub")

    # ---- a bundle that everybody signed in every form

    def source(self, registry):
        if registry not in self.sources:
            at = self.bundle(registry)
            for form in FORMS:
                self.bulla_signs(form, at)
                self.they_sign(form, at)
            self.sources[registry] = at
        return self.sources[registry]

    def all_verified(self, at, without=()):
        """Everybody's signatures of every form are there and verify, but those `without`, which nobody finds."""
        for form in FORMS:
            for who in ("bulla", "theirs"):
                good, text = self.they_say(form, at, who)
                assert good == (form not in without), (form, who, text)
            anchors = [(form, "bulla"), (form, "theirs")]
            if form not in without:
                report = self.bulla_says(at, anchors, threshold=2)
                assert report["verdict"] == "trusted", report

    def fresh(self, registry):
        self.number += 1
        return f"{self.hosts[registry]}/cells/n{self.number}"


def trust(who, scope, anchors, threshold=1):
    """A trust file in which `threshold` of these anchors, (kind, PEM file) each, must have signed what the scope covers."""
    listed = []
    for n, (kind, path) in enumerate(anchors):
        der = base64.b64decode("".join(path.read_text().split("-----")[2].split()))
        data = base64.b64encode(der).decode()
        what = {"key": {"spki": data}} if kind == "key" else {"certificate": {"sha256": hashlib.sha256(der).hexdigest(), "data": data}}
        listed.append({"id": f"anchor-{n}", "kind": kind, "scope": scope, **what})
    statement = {"scope": scope, "require": {"signatures": {"threshold": threshold, "from": [a["id"] for a in listed]}}}
    who.home.mkdir(parents=True, exist_ok=True)
    (who.home / "trust.json").write_text(json.dumps({"schemaVersion": 2, "anchors": listed, "statements": [statement]}, indent=2))


def because(report):
    code = (report["because"] or {}).get("code")
    assert code, report
    return f"refused (`{code}`)"


# ---- cells: (row, what to do on a registry) -------------------------------------------------------------------------------

def they_verify(form, *readers):
    def cell(w, registry):
        at = w.bundle(registry)
        w.bulla_signs(form, at)
        for reader in readers:
            good, text = w.cosign_says(reader, form, at, w.pki / "bulla.pub") if reader.startswith("cosign") else w.notation_says(at, ["bulla"])
            assert good, text
        return "verified"
    return cell


def bulla_verifies(form, anchor_form=None):
    def cell(w, registry):
        at = w.bundle(registry)
        w.they_sign(form, at)
        report = w.bulla_says(at, [(anchor_form or form, "theirs")])
        assert report["verdict"] == "trusted", report
        return "verified"
    return cell


def both(form, bulla_first):
    def cell(w, registry):
        at = w.bundle(registry)
        for sign in (w.bulla_signs, w.they_sign) if bulla_first else (w.they_sign, w.bulla_signs):
            sign(form, at)
        for who in ("bulla", "theirs"):
            good, text = w.they_say(form, at, who)
            assert good, (who, text)
        report = w.bulla_says(at, [(form, "bulla"), (form, "theirs")], threshold=2)
        assert report["verdict"] == "trusted", report
        return "verified by both"
    return cell


def wrong_key(form):
    def cell(w, registry):
        ours, theirs = w.bundle(registry), w.bundle(registry)
        w.bulla_signs(form, ours)
        w.they_sign(form, theirs)
        good, text = w.they_say(form, ours, "strangers")
        assert not good, text
        good, text = w.they_say(form, ours, "bulla")
        assert good, text
        said = because(w.bulla_says(theirs, [(form, "strangers")], exits=1))
        assert w.bulla_says(theirs, [(form, "theirs")])["verdict"] == "trusted"
        return f"they: refused; bulla: {said}"
    return cell


def copied_by_bulla(w, registry):
    source, to = w.source(OTHER[registry]), w.fresh(registry)
    w.signer("copy", source, f"{to}:v1")
    at = f"{to}@{source.split('@')[1]}"
    w.all_verified(at)
    return "all verified"


def copied_by_oras(w, registry):
    source, to = w.source(OTHER[registry]), w.fresh(registry)
    call(w.tools.oras, "cp", "-r", "--from-plain-http", "--to-plain-http", source, f"{to}:v1", env=w.env)
    w.all_verified(f"{to}@{source.split('@')[1]}", without=("cosign-tag",))
    return "all but the `.sig` tag, which it leaves behind"


def through_a_layout(tool):
    def cell(w, registry):
        source, to = w.source(OTHER[registry]), w.fresh(registry)
        repo, digest = source.split("@")
        w.number += 1
        stick = w.work / f"stick-{w.number}"
        if tool == "bulla":
            w.signer("copy", f"{repo}:v1", f"oci:{stick}:v1")
            w.signer("copy", f"oci:{stick}:v1", f"{to}:v1")
            w.all_verified(f"{to}@{digest}")
            return "all verified"
        call(w.tools.oras, "cp", "-r", "--from-plain-http", "--to-oci-layout", f"{repo}:v1", f"{stick}:v1", env=w.env)
        call(w.tools.oras, "cp", "-r", "--from-oci-layout", "--to-plain-http", f"{stick}:v1", f"{to}:v1", env=w.env)
        w.all_verified(f"{to}@{digest}", without=("cosign-tag",))
        return "all but the `.sig` tag, which it leaves behind"
    return cell


def there_and_back(w, registry):
    """bulla out, oras back."""
    source, to = w.source(OTHER[registry]), w.fresh(registry)
    repo, digest = source.split("@")
    w.number += 1
    stick = w.work / f"stick-{w.number}"
    w.signer("copy", f"{repo}:v1", f"oci:{stick}:v1")
    call(w.tools.oras, "cp", "-r", "--from-oci-layout", "--to-plain-http", f"{stick}:v1", f"{to}:v1", env=w.env)
    w.all_verified(f"{to}@{digest}", without=("cosign-tag",))
    return "all but the `.sig` tag, which it leaves behind"


def in_a_layout(tool):
    """Verified on the stick, where no registry is asked."""
    def cell(w, registry):
        repo, _ = w.source(registry).split("@")
        w.number += 1
        stick = w.work / f"stick-{w.number}"
        if tool == "bulla":
            w.signer("copy", f"{repo}:v1", f"oci:{stick}:v1")
        else:
            call(w.tools.oras, "cp", "-r", "--from-plain-http", "--to-oci-layout", f"{repo}:v1", f"{stick}:v1", env=w.env)
        for form in FORMS:
            if form == "cosign-tag" and tool == "oras":
                continue
            report = w.bulla_says(f"oci:{stick}:v1", [(form, "bulla"), (form, "theirs")], threshold=2, scope=NAME, extra=("--as", NAME))
            assert report["verdict"] == "trusted", (form, report)
        # notation 1.3 knows a signature in a layout by the type of its config alone, as it writes it itself; bulla writes the newer form.
        digest = w.source(registry).split("@")[1]
        for who, wanted in (("theirs", True), ("bulla", False)):
            good, text = w.notation_says(None, [who], "--oci-layout", "--scope", "local/cells", f"{stick}@{digest}")
            assert good == wanted, (who, text)
        return "verified by bulla; notation finds its own there, not bulla's"
    return cell


def saved_by_cosign(w, registry):
    at = w.bundle(registry)
    w.they_sign("cosign-tag", at)
    w.number += 1
    stick = w.work / f"stick-{w.number}"
    call(w.tools.cosign2, "save", "--allow-http-registry", "--dir", stick, at, env=w.env)
    report = w.bulla_says(f"oci:{stick}@{at.split('@')[1]}", [("cosign-tag", "theirs")], scope=NAME, extra=("--as", NAME))
    assert report["verdict"] == "trusted", report
    return "verified"


def skopeo_leaves_them(w, registry):
    """A copy without its signatures is refused by everybody, and trusted nowhere."""
    if not w.tools.skopeo:
        raise Skip("skopeo is not installed")
    source, to = w.source(registry), w.fresh(registry)
    repo, digest = source.split("@")
    call("skopeo", "copy", "-q", "--all", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{repo}:v1", f"docker://{to}:v1")
    at = f"{to}@{digest}"
    for form in FORMS:
        good, text = w.they_say(form, at, "theirs")
        assert not good, (form, text)
        report = w.bulla_says(at, [(form, "theirs")], exits=1)
        said = because(report)
    return f"they: refused; bulla: {said}"


def skopeo_brings_the_tag(w, registry):
    """The `.sig` tag is an image like any other; skopeo carries it when it is told to."""
    if not w.tools.skopeo:
        raise Skip("skopeo is not installed")
    at = w.bundle(registry)
    w.bulla_signs("cosign-tag", at)
    w.they_sign("cosign-tag", at)
    repo, digest = at.split("@")
    to = w.fresh(OTHER[registry])
    for tag in ("v1", digest.replace(":", "-") + ".sig"):
        call("skopeo", "copy", "-q", "--all", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{repo}:{tag}", f"docker://{to}:{tag}")
    at = f"{to}@{digest}"
    for who in ("bulla", "theirs"):
        good, text = w.they_say("cosign-tag", at, who)
        assert good, text
    report = w.bulla_says(at, [("cosign-tag", "bulla"), ("cosign-tag", "theirs")], threshold=2)
    assert report["verdict"] == "trusted", report
    return "verified by both"


def their_key_file(w, registry):
    """bulla signs with a key file that cosign made; both cosigns verify."""
    at = w.bundle(registry)
    key = w.pki / "cosign-theirs.key"
    for form in ("sigstore", "cosign-tag"):
        w.signer("sign", at, "--key", key, "--format", form)
        good, text = w.they_say(form, at, "theirs")
        assert good, text
    return "verified"


GROUPS = [
    ("bulla signs, they verify", [
        ("`--format sigstore`: cosign 3", they_verify("sigstore", "cosign3")),
        ("`--format cosign-tag`: cosign 2.5", they_verify("cosign-tag", "cosign2")),
        ("`--format cosign-tag`: cosign 3, `--new-bundle-format=false`", they_verify("cosign-tag", "cosign3")),
        ("`--format notation`: notation", they_verify("notation", "notation")),
        ("`--format notation-cose`: notation", they_verify("notation-cose", "notation")),
        ("with a key file that cosign made: cosign 2.5 and 3", their_key_file)]),
    ("They sign, bulla verifies", [
        ("cosign 3: Sigstore bundle", bulla_verifies("sigstore")),
        ("cosign 2.5: `.sig` tag", bulla_verifies("cosign-tag")),
        ("cosign 2.5, `--registry-referrers-mode=oci-1-1`: simple signing as a referrer", bulla_verifies("cosign-referrer", "cosign-tag")),
        ("notation: JWS", bulla_verifies("notation")),
        ("notation: COSE", bulla_verifies("notation-cose"))]),
    ("Both signed the same bundle, two of two are asked for", [
        (f"{name}, {first} first", both(form, first == "bulla")) for form, name in FORMS.items() for first in ("they", "bulla")]),
    ("A wrong key is refused on both sides", [(name, wrong_key(form)) for form, name in FORMS.items()]),
    ("A bundle that everybody signed in every form, brought here from the other registry", [
        ("`bulla copy`", copied_by_bulla),
        ("`oras cp -r`", copied_by_oras),
        ("through an OCI layout by bulla", through_a_layout("bulla")),
        ("through an OCI layout by oras", through_a_layout("oras")),
        ("to an OCI layout by bulla, back by oras", there_and_back),
        ("`skopeo copy` of the bundle and of the `.sig` tag", skopeo_brings_the_tag)]),
    ("Where it did not come along, and where there is no registry", [
        ("`skopeo copy --all`, which takes no signatures along", skopeo_leaves_them),
        ("in an OCI layout that bulla wrote", in_a_layout("bulla")),
        ("in an OCI layout that oras wrote", in_a_layout("oras")),
        ("in a layout of `cosign save`", saved_by_cosign)]),
]


# ---- results ---------------------------------------------------------------------------------------------------------------

HEAD = """# Signature matrix

Made by `scripts/signature-cells.py --write`, compared with a new run by `make interop`; do not edit. cosign 2.5, cosign 3, notation 1.3, oras and skopeo are Debian's own
packages ([versions](copy-matrix.md)), with their own keys and, for notation, their own authorities. docker-registry has no referrers API, ferro-oci-server has it. *Verified* is always also a check that the next reader
still finds what was there before.
"""


def page(tables):
    out = [HEAD]
    for title, rows in tables:
        out.append(f"## {title}\n\n| | docker-registry | ferro-oci-server |\n|---|---|---|")
        out += [f"| {row} | {cells.get(PLAIN, '-')} | {cells.get(API, '-')} |" for row, cells in rows]
        out.append("")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bulla", default=str(HERE.parent / "target/debug/bulla"))
    parser.add_argument("--only", default="", help="only the rows with this word")
    parser.add_argument("--write", action="store_true", help="write docs/signature-matrix.md")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    work = tempfile.mkdtemp(prefix="bulla-cells-")
    passed, failed, skipped, tables = 0, 0, [], []
    try:
        with docker_registry(work) as plain, ferro(work) as api:
            w = World(os.path.abspath(args.bulla), work, matrix.Tools(), {PLAIN: plain.host, API: api.host})
            for title, rows in GROUPS:
                done = []
                for row, cell in rows:
                    if args.only not in f"{title}: {row}":
                        continue
                    cells = {}
                    for registry in REGISTRIES:
                        name, started = f"{title}: {row}, {registry}", time.time()
                        try:
                            cells[registry] = cell(w, registry)
                            passed += 1
                            print(f"ok      {name}: {cells[registry]}  {time.time() - started:.1f} s", flush=True)
                        except Skip as why:
                            skipped.append(f"{name} ({why})")
                            cells[registry] = "not run"
                            print(f"SKIPPED {name}: {why}", flush=True)
                        except Exception:
                            failed += 1
                            cells[registry] = "**failed**"
                            print(f"FAILED  {name}", flush=True)
                            traceback.print_exc()
                    done.append((row, cells))
                tables.append((title, done))
    finally:
        if args.keep:
            print(f"        kept {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    text = page(tables)
    if args.write:
        PAGE.write_text(text)
    elif not args.only and not skipped:
        # What could not be had is no difference; what came out otherwise is.
        shown = PAGE.read_text() if PAGE.exists() else ""
        if shown != text:
            failed += 1
            print("FAILED  docs/signature-matrix.md shows something else; scripts/signature-cells.py --write")
            sys.stdout.writelines(difflib.unified_diff(shown.splitlines(True), text.splitlines(True), "docs/signature-matrix.md", "this run"))
    if skipped:
        print("skipped: " + "; ".join(skipped))
    print(f"signature-cells: {passed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
