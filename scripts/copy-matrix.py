#!/usr/bin/env python3
"""Copy a richly signed bundle between every two kinds of place, and count at the destination what arrived.

usage: scripts/copy-matrix.py [--bulla target/debug/bulla] [--only WORD] [--write docs/copy-matrix.md] [--keep]

Signed on both registries by real cosign 2.5 (`.sig` tag), cosign 3 (bundle) and notation, an SBOM attached by oras, foreign
referrers on a platform manifest and on a referrer, a seal and a state by bulla. Counted with plain HTTP and file reads, by no
copier's code; then `bulla verify` by somebody who has nothing but the root. The peers that are installed or can be fetched
copy the same bundle. Exit 1 when bulla loses anything. The last line counts passed, failed, skipped.

Needs what scripts/interop.py needs; cosign and notation come from Debian (trixie; forky or sid), into the same cache folder.
"""
import argparse, contextlib, glob, hashlib, json, os, pathlib, shutil, subprocess, sys, tarfile, tempfile, time, traceback

from interop import (CACHE, EMPTY, HERE, INDEX, MANIFEST, NAME, SEAL, Bulla, Skip, attach, call, docker_registry, ferro, put_manifest,
                     request)

PASSWORD = {"COSIGN_PASSWORD": "interop"}
REF_NAME = "org.opencontainers.image.ref.name"
SBOM, SCAN, NOTE = "application/vnd.example.sbom.v1", "application/vnd.example.scan.v1", "application/vnd.example.note.v1"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
NOTATION = "application/vnd.cncf.notary.signature"
KINDS = ("docker-registry", "ferro", "OCI layout", "oci-archive")


# ---- reading a place without anybody's copier ---------------------------------------------------------------------------

class RegistryPlace:
    """A repository, over plain HTTP."""

    def __init__(self, host, repo):
        self.host, self.repo = host, repo
        self.ref = f"{host}/{repo}"

    def manifest(self, reference):
        status, _, data = request("GET", f"http://{self.host}/v2/{self.repo}/manifests/{reference}", headers={"Accept": f"{MANIFEST}, {INDEX}"})
        assert status in (200, 404), (status, data)
        return data if status == 200 else None

    def has_blob(self, digest, size):
        status, headers, _ = request("HEAD", f"http://{self.host}/v2/{self.repo}/blobs/{digest}")
        return status == 200 and int({k.lower(): v for k, v in headers.items()}["content-length"]) == size

    def referrers(self, digest):
        """What the API lists, or where there is none the tag."""
        status, _, data = request("GET", f"http://{self.host}/v2/{self.repo}/referrers/{digest}")
        if status != 200:
            data = self.manifest(digest.replace(":", "-"))
        listed = json.loads(data).get("manifests", []) if data else []
        return [m["digest"] for m in listed]

    def tags(self):
        _, _, data = request("GET", f"http://{self.host}/v2/{self.repo}/tags/list?n=1000")
        return json.loads(data).get("tags") or []

    def tag(self, name):
        return name


class LayoutPlace:
    """An OCI layout in a folder: what index.json leads to, as oras (entries) and as regctl (tags) look for it."""

    def __init__(self, path):
        self.path, self.ref = pathlib.Path(path), f"oci:{path}"

    def read(self, name):
        return (self.path / name).read_bytes()

    def index(self):
        return json.loads(self.read("index.json"))["manifests"]

    def blob(self, digest):
        try:
            return self.read("blobs/" + digest.replace(":", "/"))
        except (FileNotFoundError, KeyError):
            return None

    def manifest(self, reference):
        if not reference.startswith("sha256:"):
            reference = next((m["digest"] for m in self.index() if m.get("annotations", {}).get(REF_NAME) == reference), "")
        return self.blob(reference) if reference else None

    def has_blob(self, digest, size):
        return len(self.blob(digest) or b"") == size

    def referrers(self, digest):
        return sorted(set(self.by_entries(digest)) | set(self.by_tag(digest)))

    def by_entries(self, digest):
        found = []
        for entry in self.index():
            with contextlib.suppress(ValueError, AttributeError, TypeError):
                if (json.loads(self.blob(entry["digest"])).get("subject") or {}).get("digest") == digest:
                    found.append(entry["digest"])
        return found

    def by_tag(self, digest):
        data = self.manifest(digest.replace(":", "-"))
        return [m["digest"] for m in json.loads(data).get("manifests", [])] if data else []

    def tags(self):
        return [m["annotations"][REF_NAME] for m in self.index() if REF_NAME in m.get("annotations", {})]


class ArchivePlace(LayoutPlace):
    """The same in a tar file."""

    def __init__(self, path):
        self.path, self.ref, self.files, self.seen = pathlib.Path(path), f"oci-archive:{path}", {}, None

    def read(self, name):
        # The file is written once more for each tag that is copied into it.
        about = self.path.stat()
        if self.seen != (about.st_ino, about.st_size, about.st_mtime_ns):
            self.seen = (about.st_ino, about.st_size, about.st_mtime_ns)
            with tarfile.open(self.path) as tar:
                self.files = {os.path.normpath(m.name): tar.extractfile(m).read() for m in tar if m.isfile()}
        return self.files[name]


class Inventory:
    """All that hangs on one tag of a place: manifests, blobs, referrers with their subjects, cosign's tags, states."""

    def __init__(self, place, tag):
        self.manifests, self.blobs, self.edges, self.types, self.problems = set(), set(), set(), {}, []
        self.place = place
        data = place.manifest(tag)
        self.root = "sha256:" + hashlib.sha256(data).hexdigest() if data else None
        todo = [(self.root, data)] if data else []
        while todo:
            digest, data = todo.pop()
            if digest in self.manifests:
                continue
            if data is None or "sha256:" + hashlib.sha256(data).hexdigest() != digest:
                self.problems.append(f"{digest} is missing or has other bytes")
                continue
            self.manifests.add(digest)
            doc = json.loads(data)
            self.types[digest] = doc.get("artifactType") or (doc.get("config") or {}).get("mediaType")
            for child in doc.get("manifests") or []:
                todo.append((child["digest"], place.manifest(child["digest"])))
            for blob in ([doc["config"]] if "config" in doc else []) + (doc.get("layers") or []):
                self.blobs.add(blob["digest"])
                if not place.has_blob(blob["digest"], blob["size"]):
                    self.problems.append(f"blob {blob['digest']} is missing")
            for referrer in place.referrers(digest):
                data = place.manifest(referrer)
                # A list is a hint; the manifest's own subject decides.
                if data and (json.loads(data).get("subject") or {}).get("digest") == digest:
                    self.edges.add((digest, referrer))
                    todo.append((referrer, data))
                else:
                    self.problems.append(f"{referrer} is listed for {digest} and is no referrer of it")
        tags = place.tags()
        self.cosign = {t: self.tagged(t) for t in tags if t.startswith("sha256-") and t.rsplit(".", 1)[-1] in ("sig", "att", "sbom")
                       and t.split(".")[0].replace("-", ":") in self.manifests}
        self.states = {t for t in tags if t.startswith("bulla.") and ".s." not in t}

    def tagged(self, tag):
        data = self.place.manifest(tag)
        for layer in json.loads(data).get("layers", []):
            if not self.place.has_blob(layer["digest"], layer["size"]):
                self.problems.append(f"{tag}: blob {layer['digest']} is missing")
        return hashlib.sha256(data).hexdigest()

    def kept(self, source):
        """How many of `source`'s referrers, cosign tags and states are here."""
        return {"referrers": (len(self.edges & source.edges), len(source.edges)),
                "cosign": (sum(self.cosign.get(t) == d for t, d in source.cosign.items()), len(source.cosign)),
                "states": (len(self.states & source.states), len(source.states))}

    def lost(self, source):
        """What of `source` is not here, in words."""
        words = list(self.problems)
        if self.root != source.root:
            words.append(f"the tag names {self.root} instead of {source.root}")
        words += [f"manifest {d} ({source.types.get(d)})" for d in source.manifests - self.manifests]
        words += [f"referrer {r} ({source.types.get(r)}) of {s}" for s, r in source.edges - self.edges]
        words += [f"tag {t}" for t, d in source.cosign.items() if self.cosign.get(t) != d]
        words += [f"state {t}" for t in source.states - self.states]
        return words


# ---- tools -------------------------------------------------------------------------------------------------------------

def fetched(suite, folder, name):
    program = CACHE / folder / "fs/usr/bin" / name
    if not program.exists():
        done = subprocess.run([HERE / "fetch-debs.sh", suite, CACHE / folder, name])
        if done.returncode or not program.exists():
            raise Skip(f"{name} could not be fetched from Debian {suite}")
    return str(program)


class Tools:
    """The signers and copiers that are to be had; what is not is named once."""

    def __init__(self):
        self.missing = []
        # Debian stable's must be there; sid throws old versions away, so its may be missing.
        self.cosign2 = fetched("trixie", "trixie", "cosign")
        self.oras = self.maybe("forky sid", "sid", "oras") or fetched("trixie", "trixie", "oras")
        self.cosign3 = self.maybe("forky sid", "sid", "cosign")
        self.notation = self.maybe("forky sid", "sid", "notation")
        self.skopeo = shutil.which("skopeo")
        if not self.skopeo:
            self.missing.append("skopeo is not installed")

    def maybe(self, suite, folder, name):
        try:
            return fetched(suite, folder, name)
        except Skip as why:
            self.missing.append(str(why))
            return None

    def versions(self):
        debs = {}
        for path in glob.glob(str(CACHE / "*/debs/*.deb")):
            name, version = os.path.basename(path).split("_")[:2]
            debs.setdefault(name, []).append(version.split("-")[0])
        words = [f"{n} {' and '.join(sorted(v))}" for n, v in sorted(debs.items())]
        for name, program in (("skopeo", self.skopeo), ("docker-registry", "docker-registry")):
            if program:
                words.append(f"{name} {call(program, '--version').split()[-1]}")
        return ", ".join(words)


class Matrix:
    def __init__(self, program, work, tools):
        self.program, self.work, self.tools = program, pathlib.Path(work), tools
        self.number = 0
        for preset in ("small", "cnab"):
            call(sys.executable, HERE / "make-layouts.py", self.work / "layouts", "preset", preset)
        (self.work / "signer").mkdir()
        self.signer = {**PASSWORD, "HOME": str(self.work / "signer"), "NOTATION_CONFIG": str(self.work / "signer/notation"), "DOCKER_CONFIG": str(self.work / "signer"),
                       "XDG_CONFIG_HOME": str(self.work / "signer"), "NOTATION_LIBEXEC": str(self.work / "signer")}

    def sign(self, *args):
        return call(*args, env=self.signer, cwd=self.work / "signer")

    def person(self, name):
        return Bulla(self.program, self.work / name)

    def make_source(self, host, word):
        """Publish both bundles at host/team/app and let everybody sign."""
        repo = f"{host}/team/app"
        alice, desk = self.person(f"alice-{word}"), self.work / f"desk-{word}"
        desk.mkdir()
        alice("init", NAME, "--at", repo, cwd=desk)
        for preset, tag in (("small", "v1"), ("cnab", "bundle-v1")):
            alice("publish", "--from", f"oci:{self.work}/layouts/{preset}:v1", repo, "--tag", tag)
        place = RegistryPlace(host, "team/app")
        t = self.tools
        if not (self.work / "signer/cosign.key").exists():
            self.sign(t.cosign2, "generate-key-pair")
        for tag in ("v1", "bundle-v1"):
            data = place.manifest(tag)
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            subject = {"mediaType": INDEX, "digest": digest, "size": len(data)}
            at = f"{repo}@{digest}"
            self.sign(t.cosign2, "sign", "--tlog-upload=false", "--yes", "--allow-http-registry", "--key", "cosign.key", at)
            if t.cosign3:
                self.sign(t.cosign3, "sign", "--use-signing-config=false", "--tlog-upload=false", "--yes", "--allow-http-registry", "--key", "cosign.key", at)
            if t.notation:
                if not (self.work / "signer/notation/signingkeys.json").exists():
                    self.sign(t.notation, "cert", "generate-test", "--default", "interop")
                self.sign(t.notation, "sign", "--insecure-registry", at)
            (self.work / "signer/sbom.json").write_text("{}")
            self.sign(t.oras, "attach", "--plain-http", "--artifact-type", SBOM, at, "sbom.json:application/json")
            child = {k: json.loads(data)["manifests"][0][k] for k in ("mediaType", "digest", "size")}
            attach(host, "team/app", child, SCAN, "a scan of one part")
            first = next(r for r in place.referrers(digest))
            on = json.loads(place.manifest(first))
            attach(host, "team/app", {"mediaType": on.get("mediaType", MANIFEST), "digest": first, "size": len(place.manifest(first))}, NOTE, "a note on a signature")
        return place, desk / "1.root.json"

    def fresh(self, kind, hosts):
        """An empty place of this kind."""
        self.number += 1
        if kind in hosts:
            return RegistryPlace(hosts[kind], f"copy/n{self.number}")
        if kind == "OCI layout":
            return LayoutPlace(self.work / f"layout-{self.number}")
        return ArchivePlace(self.work / f"archive-{self.number}.tar")

    def verifies(self, place, root, tag="v1", digest=None):
        """The verdict of somebody who has nothing but the root: exit code and whether a seal was needed."""
        self.number += 1
        who = self.person(f"deployer-{self.number}")
        at = place.ref if isinstance(place, RegistryPlace) else NAME
        who("trust", "add", at, "--root", root, "--collection", NAME)
        name = [] if isinstance(place, RegistryPlace) else ["--as", NAME if digest is None else f"{NAME}:{tag}"]
        ref = f"{place.ref}:{tag}" if digest is None else f"{place.ref}@{digest}"
        done = subprocess.run([self.program, "verify", ref, *name], env={**os.environ, **who.env}, capture_output=True, text=True)
        return done.returncode, "seal.used" in done.stdout + done.stderr, done.stdout + done.stderr


# ---- bulla over every pair ----------------------------------------------------------------------------------------------

def bulla_copies(m, source, destination, tags=("v1", "bundle-v1")):
    mover = m.person("mover")
    for tag in tags:
        mover("copy", f"{source.ref}:{tag}", f"{destination.ref}:{tag}")


def words(kept, verdict):
    r, c, s = (f"{a} of {b}" for a, b in kept.values())
    code, sealed, _ = verdict
    answer = {0: "trusted, by the seal" if sealed else "trusted", 1: "**not trusted**"}.get(code, f"**exit {code}**")
    return f"{r} referrers, {c} `.sig`, {s} state; {answer}"


def check(m, what, source, destination, root, tags=("v1", "bundle-v1")):
    """Assert that all of `source` is at `destination`, and that it is trusted there. Returns the figures of v1."""
    for tag in tags:
        want, have = Inventory(source, tag), Inventory(destination, tag)
        assert not want.problems, (what, "the source itself", want.problems)
        lost = have.lost(want)
        assert not lost, f"{what}, {tag}: lost {lost}"
        code, _, text = verdict = m.verifies(destination, root, tag)
        assert code == 0, f"{what}, {tag}: {text}"
        if isinstance(destination, LayoutPlace):
            for digest in {s for s, _ in want.edges}:
                entries, tagged = set(destination.by_entries(digest)), set(destination.by_tag(digest))
                assert entries == tagged, f"{what}: oras would find {len(entries)} referrers of {digest}, regctl {len(tagged)}"
        if tag == tags[0]:
            figures = words(have.kept(want), verdict)
    return figures


def pairs(m, sources, hosts, kinds, results):
    table = {}
    for a in kinds:
        for b in kinds:
            place, root = sources[a]
            def one(a=a, b=b, place=place, root=root):
                destination = m.fresh(b, hosts)
                bulla_copies(m, place, destination)
                table[a, b] = check(m, f"{a} to {b}", place, destination, root)
            results.run(f"{a} to {b}", one)
            table.setdefault((a, b), "**failed**")
    return table


# ---- layouts that others wrote, and traps ---------------------------------------------------------------------------------

def from_oras_layout(m, sources, hosts):
    """a layout that oras wrote, to both registries"""
    source, root = sources["docker-registry"]
    made = LayoutPlace(m.work / "by-oras")
    call(m.tools.oras, "cp", "-r", "--from-plain-http", "--to-oci-layout", f"{source.ref}:v1", f"{made.path}:v1")
    want = Inventory(made, "v1")
    assert want.edges == Inventory(source, "v1").edges, "oras itself lost some"
    for kind in hosts:
        destination = m.fresh(kind, hosts)
        bulla_copies(m, made, destination, ["v1"])
        have = Inventory(destination, "v1")
        assert not have.lost(want), have.lost(want)
        code, sealed, text = m.verifies(destination, root)
        assert code == 0 and sealed, text


def from_regctl_layout(m, sources, hosts):
    """a layout whose referrers are only behind fallback tags in index.json, as regctl writes it"""
    source, root = sources["docker-registry"]
    made = LayoutPlace(m.work / "as-regctl")
    want = Inventory(source, "v1")
    blobs = made.path / "blobs/sha256"
    blobs.mkdir(parents=True)
    put = lambda data: (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    describe = lambda data: {"mediaType": json.loads(data).get("mediaType", MANIFEST), "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}
    tags = ["v1"] + list(want.cosign) + [s.replace(":", "-") for s in sorted({s for s, _ in want.edges})]
    entries = []
    for tag in tags:
        data = source.manifest(tag)
        put(data)
        entries.append({**describe(data), "annotations": {REF_NAME: tag}})
    docs = [source.manifest(d) for d in want.manifests] + [source.manifest(t) for t in want.cosign]
    for data in docs:
        put(data)
        doc = json.loads(data)
        for blob in ([doc["config"]] if "config" in doc else []) + (doc.get("layers") or []):
            status, _, body = request("GET", f"http://{source.host}/v2/{source.repo}/blobs/{blob['digest']}")
            assert status == 200
            put(body)
    (made.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (made.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
    assert Inventory(made, "v1").edges == want.edges and not made.by_entries(want.root)
    for kind in hosts:
        destination = m.fresh(kind, hosts)
        bulla_copies(m, made, destination, ["v1"])
        have = Inventory(destination, "v1")
        lost = [w for w in have.lost(want) if not w.startswith("state ")]
        assert not lost, lost
        code, sealed, text = m.verifies(destination, root)
        assert code == 0 and sealed, text


def from_cosign_save(m, sources, hosts):
    """a layout that cosign save wrote: the index and its .sig"""
    source, _ = sources["docker-registry"]
    want = Inventory(source, "v1")
    made = LayoutPlace(m.work / "by-cosign")
    m.sign(m.tools.cosign2, "save", "--allow-http-registry", "--dir", made.path, f"{source.ref}:v1")
    for kind in hosts:
        destination = m.fresh(kind, hosts)
        m.person("mover")("copy", f"{made.ref}@{want.root}", f"{destination.ref}:v1")
        have = Inventory(destination, "v1")
        assert have.root == want.root and have.cosign == want.cosign and not have.problems, (have.cosign, want.cosign, have.problems)
        m.sign(m.tools.cosign2, "verify", "--insecure-ignore-tlog", "--allow-http-registry", "--key", "cosign.pub", f"{destination.ref}@{want.root}")


def stale_fallback_tag(m, sources, hosts):
    """from a registry with the API and a stale fallback tag to one without: the longer list is kept"""
    source, root = sources["ferro"]
    want = Inventory(source, "v1")
    tag = want.root.replace(":", "-")
    stale = source.manifest(tag)
    if stale is None:
        one = next(r for s, r in want.edges if s == want.root)
        put_manifest(source.host, source.repo, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": one, "size": len(source.manifest(one))}]}, tag, INDEX)
        stale = source.manifest(tag)
    listed = len(json.loads(stale)["manifests"])
    hanging = sum(s == want.root for s, _ in want.edges)
    assert listed < hanging, "the tag is not stale"
    destination = m.fresh("docker-registry", hosts)
    bulla_copies(m, source, destination)
    check(m, "stale fallback tag", source, destination, root)
    return f"the tag listed {listed} of {hanging}"


def squatter(m, sources, hosts):
    """cosign copy's tag sha256-<hex> that names the image itself: bulla copies over it and from it"""
    source, root = sources["docker-registry"]
    want = Inventory(source, "v1")
    squatted = m.fresh("docker-registry", hosts)
    m.sign(m.tools.cosign2, "copy", "--allow-http-registry", f"{source.ref}:v1", f"{squatted.ref}:v1")
    data = squatted.manifest(want.root.replace(":", "-"))
    assert data and "sha256:" + hashlib.sha256(data).hexdigest() == want.root, "cosign copy no longer squats on the tag"
    onward = m.fresh("ferro", hosts)
    bulla_copies(m, squatted, onward, ["v1"])
    have = Inventory(onward, "v1")
    assert have.root == want.root and have.cosign == want.cosign and not have.edges and not have.problems, have.problems
    bulla_copies(m, source, squatted, ["v1"])
    check(m, "over cosign copy's tag", source, squatted, root, ["v1"])


TRAPS = [from_oras_layout, from_regctl_layout, from_cosign_save, stale_fallback_tag, squatter]


# ---- the peers -----------------------------------------------------------------------------------------------------------

def oras_command(m, a, b):
    if isinstance(a, ArchivePlace) or isinstance(b, ArchivePlace):
        return None
    flags = ["--from-oci-layout" if isinstance(a, LayoutPlace) else "--from-plain-http", "--to-oci-layout" if isinstance(b, LayoutPlace) else "--to-plain-http"]
    end = lambda p: f"{p.path}:v1" if isinstance(p, LayoutPlace) else f"{p.ref}:v1"
    return [m.tools.oras, "cp", "-r", *flags, end(a), end(b)]


def skopeo_command(m, a, b):
    end = lambda p: f"{p.ref}:v1" if isinstance(p, LayoutPlace) else f"docker://{p.ref}:v1"
    return [m.tools.skopeo, "copy", "--all", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", end(a), end(b)]


def cosign_command(program):
    def command(m, a, b):
        if isinstance(a, RegistryPlace) and isinstance(b, RegistryPlace):
            return [program(m), "copy", "--allow-http-registry", f"{a.ref}:v1", f"{b.ref}:v1"]
        return None
    return command


PEERS = [("oras cp -r", lambda t: t.oras, oras_command), ("skopeo copy --all", lambda t: t.skopeo, skopeo_command),
         ("cosign 2.5 copy", lambda t: t.cosign2, cosign_command(lambda m: m.tools.cosign2)),
         ("cosign 3 copy", lambda t: t.cosign3, cosign_command(lambda m: m.tools.cosign3))]


def peer_table(m, command, sources, hosts, kinds):
    """What a peer keeps over the same pairs; whatever it does, nothing is asserted."""
    table = {}
    for a in kinds:
        for b in kinds:
            source, root = sources[a]
            destination = m.fresh(b, hosts)
            line = command(m, source, destination)
            if line is None:
                table[a, b] = "cannot"
                continue
            for _ in range(2):
                done = subprocess.run(list(map(str, line)), env={**os.environ, **m.signer}, capture_output=True, text=True)
                if not done.returncode:
                    break
            if done.returncode:
                print(f"        {' '.join(line)}: exit {done.returncode}\n{done.stdout}{done.stderr}", flush=True)
                table[a, b] = f"**exit {done.returncode}**"
                continue
            want, have = Inventory(source, "v1"), Inventory(destination, "v1")
            table[a, b] = words(have.kept(want), m.verifies(destination, root))
            if have.root != want.root:
                table[a, b] += "; **another digest**"
            if isinstance(destination, RegistryPlace):
                at = destination.manifest(want.root.replace(":", "-"))
                if at and "sha256:" + hashlib.sha256(at).hexdigest() == want.root:
                    table[a, b] += "; `sha256-<hex>` names the image"
    return table


# ---- results -------------------------------------------------------------------------------------------------------------

class Results:
    def __init__(self, only):
        self.only, self.passed, self.failed, self.skipped, self.lines = only, 0, 0, [], []

    def run(self, name, case):
        if self.only not in name:
            return
        started = time.time()
        try:
            said = case()
            self.passed += 1
            self.lines.append((name, "all kept" + (f" ({said})" if said else "")))
            print(f"ok      {name}  {time.time() - started:.1f} s", flush=True)
        except Skip as why:
            self.skipped.append(f"{name} ({why})")
            self.lines.append((name, f"skipped: {why}"))
            print(f"SKIPPED {name}: {why}", flush=True)
        except Exception:
            self.failed += 1
            self.lines.append((name, "**failed**"))
            print(f"FAILED  {name}", flush=True)
            traceback.print_exc()


def grid(table, kinds):
    lines = ["| from \\ to | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    lines += [f"| {a} | " + " | ".join(table.get((a, b), "-") for b in kinds) + " |" for a in kinds]
    return "\n".join(lines)


def page(tables, traps, tools, source):
    kinds = ", ".join(f"{n} {t}" for t, n in sorted(source.items()))
    out = [f"""# Copy matrix

Made by `scripts/copy-matrix.py --write docs/copy-matrix.md`; do not edit. {tools.versions()}.

A two-platform image that bulla published and that cosign 2.5 (`.sig` tag), cosign 3 (bundle), notation and oras (SBOM) signed or annotated with their own
programs, on both registries; a foreign referrer hangs on one platform manifest, another on a referrer. Its referrers: {kinds}. Each copy goes to an empty
place and is counted there by plain HTTP and file reads: `n of m` of the source's. Then somebody who has nothing but the root file runs `bulla verify`:
*trusted* by the live state; *trusted, by the seal*, as of the day of its making, where the state did not come along. docker-registry has no referrers API, ferro-oci-server has it.
"""]
    for title, table, kinds in tables:
        out.append(f"## {title}\n\n{grid(table, kinds)}\n")
        if title == "bulla copy":
            out.append("The same pairs with a CNAB bundle (nested index) are checked and must keep everything too; so is that a layout or archive lists the referrers both ways, for oras (entries) and for regctl (tags).\n")
    out.append("## What others wrote, and traps\n\n`bulla copy`, everything counted as above.\n\n| Case | Result |\n|---|---|")
    out += [f"| {name} | {said} |" for name, said in traps]
    if tools.missing:
        out.append("\nNot to be had for this run: " + "; ".join(tools.missing) + ".")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bulla", default=str(HERE.parent / "target/debug/bulla"))
    parser.add_argument("--only", default="")
    parser.add_argument("--write", help="write the tables to this file")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    work = tempfile.mkdtemp(prefix="bulla-matrix-")
    results, program = Results(args.only), os.path.abspath(args.bulla)
    try:
        tools = Tools()
        m = Matrix(program, work, tools)
        with docker_registry(work) as plain, ferro(work) as api:
            hosts = {"docker-registry": plain.host, "ferro": api.host}
            sources = {kind: m.make_source(host, kind) for kind, host in hosts.items()}
            kinds = list(KINDS)
            for kind in KINDS[2:]:
                place, root = m.fresh(kind, hosts), sources["docker-registry"][1]
                try:
                    bulla_copies(m, sources["docker-registry"][0], place)
                except AssertionError as why:
                    if kind != "oci-archive":
                        raise
                    kinds.remove(kind)
                    results.skipped.append(f"oci-archive ({str(why).splitlines()[-1]})")
                    print(f"SKIPPED oci-archive: {why}", flush=True)
                    continue
                sources[kind] = (place, root)
            rich = Inventory(sources["docker-registry"][0], "v1")
            counted = {}
            for _, r in rich.edges:
                counted[f"`{rich.types[r]}`"] = counted.get(f"`{rich.types[r]}`", 0) + 1
            for wanted in (SCAN, NOTE, SEAL, SBOM) + ((BUNDLE,) if tools.cosign3 else ()) + ((NOTATION,) if tools.notation else ()):
                assert f"`{wanted}`" in counted, (wanted, counted)
            tables = [("bulla copy", pairs(m, sources, hosts, kinds, results), kinds)]
            before = len(results.lines)
            for trap in TRAPS:
                results.run(trap.__doc__, lambda: trap(m, sources, hosts))
            traps = results.lines[before:]
            if args.write or not args.only:
                for title, have, command in PEERS:
                    if have(tools):
                        here = kinds[:2] if title.startswith("cosign") else [k for k in kinds if not (k == "oci-archive" and title.startswith("oras"))]
                        tables.append((title, peer_table(m, command, sources, hosts, here), here))
        if args.write:
            pathlib.Path(args.write).write_text(page(tables, traps, tools, counted))
    finally:
        if args.keep:
            print(f"        kept {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    results.skipped += tools.missing
    if results.skipped:
        print("skipped: " + "; ".join(results.skipped))
    print(f"copy-matrix: {results.passed} passed, {results.failed} failed, {len(results.skipped)} skipped")
    return 1 if results.failed or not results.passed else 0


if __name__ == "__main__":
    sys.exit(main())
