#!/usr/bin/env python3
"""Cross bulla with other people's programs, both ways: registries, copiers, TUF clients. Loopback only.

usage: scripts/interop.py [--bulla target/debug/bulla] [--only WORD] [--keep]

Needs Debian's docker-registry and skopeo; fetches oras (trixie), builds ferro-oci-server (crates), installs python-tuf (PyPI), all
into a cache folder ($BULLA_INTEROP_CACHE, or ~/.cache/bulla-interop). The last line counts passed, failed, skipped.
"""
import argparse, base64, contextlib, glob, hashlib, http.server, json, os, pathlib, re, shutil, socket, subprocess, sys, tempfile
import threading, time, traceback, urllib.error, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("BULLA_INTEROP_CACHE", pathlib.Path.home() / ".cache/bulla-interop"))
NAME = "example.com/team/app"
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:" + hashlib.sha256(b"{}").hexdigest(), "size": 2}
SEAL = "application/vnd.bulla.seal.v1"
FERRO_VERSION = "1.0.0"


class Skip(Exception):
    """A counterpart is not to be had; the reason is printed and counted."""


# ---- counterparts -----------------------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process):
    for _ in range(100):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args[0]} does not listen on {port}")


class Server:
    """A program that serves until the end of the case."""

    def __init__(self, args, port, env=None, log=None):
        self.process = subprocess.Popen(args, env={**os.environ, **(env or {})}, stdout=log or subprocess.DEVNULL, stderr=subprocess.STDOUT)
        self.host = f"127.0.0.1:{port}"
        wait_for(port, self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()


def docker_registry(work, **extra):
    """CNCF distribution: no referrers API."""
    if not shutil.which("docker-registry"):
        raise Skip("docker-registry is not installed")
    port, folder = free_port(), tempfile.mkdtemp(dir=work)
    http_options = {"addr": f"127.0.0.1:{port}", **extra.pop("http", {})}
    config = {"version": 0.1, "log": {"level": "error"}, "http": http_options,
              "storage": {"filesystem": {"rootdirectory": folder + "/data"}, "delete": {"enabled": True}}, **extra}
    path = pathlib.Path(folder) / "config.json"
    path.write_text(json.dumps(config))
    return Server(["docker-registry", "serve", str(path)], port)


def ferro(work):
    """A registry with the referrers API, from crates.io."""
    program = CACHE / "ferro/bin/ferro-oci-server"
    if not program.exists():
        build = ["cargo", "install", "--locked", "--root", str(CACHE / "ferro"), f"ferro-oci-server@{FERRO_VERSION}"]
        subprocess.run(build, check=True, env={**os.environ, "CARGO_TARGET_DIR": str(CACHE / "ferro-target")})
        shutil.rmtree(CACHE / "ferro-target", ignore_errors=True)
    port = free_port()
    env = {"FERRO_OCI_LISTEN": f"127.0.0.1:{port}", "FERRO_OCI_STORAGE_DIR": tempfile.mkdtemp(dir=work)}
    return Server([str(program)], port, env)


def oras():
    program = CACHE / "trixie/fs/usr/bin/oras"
    if not program.exists():
        done = subprocess.run([HERE / "fetch-debs.sh", "trixie", CACHE / "trixie", "oras"])
        if done.returncode or not program.exists():
            raise Skip("oras could not be fetched from Debian")
    return str(program)


def python_tuf():
    """A Python with python-tuf and in-toto, every package pinned by hash."""
    python, wanted = CACHE / "tuf/bin/python", HERE / "interop-requirements.txt"
    complete = CACHE / "tuf" / f".complete-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    if not complete.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "tuf"], check=True)
        subprocess.run([python, "-m", "pip", "-q", "install", "--require-hashes", "-r", wanted], check=True)
        complete.touch()
    return str(python)


def tuf_js():
    """node, and a folder with tuf-js in it. Neither Debian nor PyPI has it as a package; npm carries one with it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    places = [os.environ.get("BULLA_INTEROP_TUF_JS", "")]
    if npm:
        places.append(str(pathlib.Path(npm).resolve().parent.parent / "node_modules"))
    found = [p for p in places if p and pathlib.Path(p, "tuf-js/package.json").exists()]
    if not node or not found:
        raise Skip("tuf-js is not to be had: install node with npm, which carries it, or name a node_modules folder in BULLA_INTEROP_TUF_JS")
    return node, found[0]


def call(*args, env=None, exits=0, **kw):
    done = subprocess.run([str(a) for a in args], env={**os.environ, **(env or {})}, capture_output=True, text=True, **kw)
    if done.returncode != exits:
        raise AssertionError(f"{' '.join(map(str, args))}\nexit {done.returncode} instead of {exits}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


# ---- raw distribution API, for what a case plants and counts by itself ---------------------------------------------------

def request(method, url, body=None, headers=None):
    r = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(r, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as e:
        return e.code, dict(e.headers), e.read()


def put_blob(host, repo, data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    _, headers, _ = request("POST", f"http://{host}/v2/{repo}/blobs/uploads/", b"")
    location = headers.get("Location") or headers["location"]
    location = location if location.startswith("http") else f"http://{host}{location}"
    status, _, text = request("PUT", location + ("&" if "?" in location else "?") + "digest=" + digest, data, {"Content-Type": "application/octet-stream"})
    assert status == 201, text
    return digest


def put_manifest(host, repo, doc, tag=None, media_type=MANIFEST):
    data = json.dumps(doc).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    status, _, text = request("PUT", f"http://{host}/v2/{repo}/manifests/{tag or digest}", data, {"Content-Type": media_type})
    assert status == 201, text
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def get_manifest(host, repo, reference):
    status, headers, data = request("GET", f"http://{host}/v2/{repo}/manifests/{reference}", headers={"Accept": f"{MANIFEST}, {INDEX}"})
    return (json.loads(data), "sha256:" + hashlib.sha256(data).hexdigest(), len(data)) if status == 200 else None


def attach(host, repo, subject, artifact_type, text):
    """Hang a foreign referrer on `subject`, and maintain the fallback tag where the registry does not list it."""
    put_blob(host, repo, b"{}")
    layer = {"mediaType": "text/plain", "digest": put_blob(host, repo, text.encode()), "size": len(text)}
    doc = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type, "config": EMPTY, "layers": [layer],
           "subject": subject, "annotations": {"example.note": text}}
    me = put_manifest(host, repo, doc)
    if me["digest"] not in referrers(host, repo, subject["digest"]):
        tag = subject["digest"].replace(":", "-")
        listed = (get_manifest(host, repo, tag) or ({"manifests": []},))[0]["manifests"]
        entry = {**me, "artifactType": artifact_type, "annotations": doc["annotations"]}
        put_manifest(host, repo, {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed + [entry]}, tag, INDEX)
    return me


def referrers(host, repo, digest):
    """Digest -> artifact type of what a registry lists, by the API or by the tag schema."""
    status, _, data = request("GET", f"http://{host}/v2/{repo}/referrers/{digest}")
    if status == 200:
        listed = json.loads(data)["manifests"]
    else:
        listed = (get_manifest(host, repo, digest.replace(":", "-")) or ({"manifests": []},))[0]["manifests"]
    return {m["digest"]: m.get("artifactType") for m in listed}


def layout_referrers(layout, digest):
    """The same for an OCI layout, by reading every manifest in it."""
    out = {}
    for path in glob.glob(f"{layout}/blobs/sha256/*"):
        if os.path.getsize(path) < 1 << 20:
            with contextlib.suppress(ValueError, AttributeError, TypeError):
                doc = json.load(open(path))
                if doc.get("subject", {}).get("digest") == digest:
                    out["sha256:" + os.path.basename(path)] = doc.get("artifactType")
    return out


# ---- bulla -----------------------------------------------------------------------------------------------------------

class Bulla:
    """One person with a home of their own."""

    def __init__(self, program, home):
        self.program, self.home = program, pathlib.Path(home)
        self.env = {"BULLA_HOME": str(home), "BULLA_PASSWORD": "interop"}

    def __call__(self, *args, exits=0, env=None, cwd=None, **kw):
        return call(self.program, *args, env={**self.env, **(env or {})}, exits=exits, cwd=cwd, **kw)

    def json(self, *args, exits=0, **kw):
        done = subprocess.run([self.program, *map(str, args), "--format", "json"], env={**os.environ, **self.env}, capture_output=True, text=True, **kw)
        if done.returncode != exits:
            raise AssertionError(f"bulla {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout)


class Case:
    def __init__(self, program, work):
        self.program, self.work = program, pathlib.Path(work)
        self.layouts = self.work / "layouts"
        for preset in ("small", "cnab"):
            call(sys.executable, HERE / "make-layouts.py", self.layouts, "preset", preset)

    def person(self, name):
        return Bulla(self.program, self.work / name)

    def publisher(self, origin):
        """A publisher with a collection at `origin`, and a deployer who trusts it there."""
        alice, bob = self.person("alice"), self.person("bob")
        self.work.joinpath("desk").mkdir(exist_ok=True)
        alice("init", NAME, "--at", origin, cwd=self.work / "desk")
        self.root = self.work / "desk/1.root.json"
        return alice, bob

    def trust(self, who, scope):
        who("trust", "add", scope, "--root", self.root, "--collection", NAME)

    def stranger(self, scope):
        """Somebody without any memory, who trusts the collection at `scope`."""
        self.strangers = getattr(self, "strangers", 0) + 1
        who = self.person(f"stranger-{self.strangers}")
        self.trust(who, scope)
        return who

    def publish(self, who, preset, origin, tag):
        who("publish", "--from", f"oci:{self.layouts / preset}:v1", origin, "--tag", tag)


def decorate(host, repo, tag):
    """Three foreign referrers (one on a child, one on another referrer) and cosign's `.sig` tag."""
    doc, digest, size = get_manifest(host, repo, tag)
    index = {"mediaType": INDEX, "digest": digest, "size": size}
    child = {k: doc["manifests"][0][k] for k in ("mediaType", "digest", "size")}
    sbom = attach(host, repo, index, "application/vnd.example.sbom.v1", "an SBOM")
    attach(host, repo, child, "application/vnd.example.scan.v1", "a scan of one platform")
    attach(host, repo, sbom, "application/vnd.example.signature.v1", "a signature on the SBOM")
    layer = {"mediaType": "text/plain", "digest": put_blob(host, repo, b"sig"), "size": 3}
    put_blob(host, repo, b"{}")
    put_manifest(host, repo, {"schemaVersion": 2, "mediaType": MANIFEST, "config": {**EMPTY, "mediaType": "application/vnd.oci.image.config.v1+json"}, "layers": [layer]},
                 digest.replace(":", "-") + ".sig")
    return digest, child["digest"], sbom["digest"]


def everything(listed, digest, child, sbom):
    """Assert that the whole rich bundle is there; `listed` maps a digest to its referrers."""
    types = sorted(t or "" for t in listed(digest).values())
    assert types.count("application/vnd.example.sbom.v1") == 1, types
    assert types.count(SEAL) == 1, types
    assert list(listed(child).values()) == ["application/vnd.example.scan.v1"], listed(child)
    assert list(listed(sbom).values()) == ["application/vnd.example.signature.v1"], listed(sbom)


# ---- cases -----------------------------------------------------------------------------------------------------------

def case_rich_copy(c):
    """docker-registry -> registry with the API -> OCI layout -> docker-registry: all kept, verified at each stop."""
    with docker_registry(c.work) as plain, ferro(c.work) as api:
        origin = f"{plain.host}/team/app"
        alice, bob = c.publisher(origin)
        c.publish(alice, "small", origin, "v1")
        c.publish(alice, "cnab", origin, "bundle-v1")
        rich = decorate(plain.host, "team/app", "v1")
        stops = [(f"{plain.host}/team/app", f"{api.host}/a/app"), (f"{api.host}/a/app", f"oci:{c.work}/stick"), (f"oci:{c.work}/stick", f"{plain.host}/b/app")]
        for source, destination in stops:
            for tag in ("v1", "bundle-v1"):
                alice("copy", f"{source}:{tag}", f"{destination}:{tag}")
            if destination.startswith("oci:"):
                layout = destination[4:]
                everything(lambda d: layout_referrers(layout, d), *rich)
                with contextlib.suppress(AssertionError):
                    c.trust(bob, NAME)
                for tag in ("v1", "bundle-v1"):
                    bob("verify", f"{destination}:{tag}", "--as", NAME)
                text = call(oras(), "discover", "--oci-layout", f"{layout}:v1", "--format", "json")
                for wanted in ("example.sbom", "bulla.seal"):
                    assert wanted in text, text
            else:
                host, repo = destination.split("/", 1)
                everything(lambda d: referrers(host, repo, d), *rich)
                assert get_manifest(host, repo, rich[0].replace(":", "-") + ".sig"), "the .sig tag is lost"
                c.trust(bob, destination)
                for tag in ("v1", "bundle-v1"):
                    bob("verify", f"{destination}:{tag}")


def case_oras_copy_alone(c):
    """`oras cp -r` of the bundle alone loses the state; the seal carries it."""
    with docker_registry(c.work) as plain, ferro(c.work) as api:
        alice, _ = c.publisher(f"{plain.host}/team/app")
        for preset, tag in (("small", "v1"), ("cnab", "bundle-v1")):
            c.publish(alice, preset, f"{plain.host}/team/app", tag)
            for to in (f"{api.host}/x/{preset}", f"{plain.host}/y/{preset}"):
                call(oras(), "cp", "-r", "--from-plain-http", "--to-plain-http", f"{plain.host}/team/app:{tag}", f"{to}:{tag}")
                assert "seal.used" in c.stranger(to)("verify", f"{to}:{tag}")


def case_oras_layout(c):
    """What oras writes to a layout is read, and what bulla writes oras carries back."""
    with docker_registry(c.work) as plain:
        alice, _ = c.publisher(f"{plain.host}/team/app")
        c.publish(alice, "small", f"{plain.host}/team/app", "v1")
        call(oras(), "cp", "-r", "--from-plain-http", "--to-oci-layout", f"{plain.host}/team/app:v1", f"{c.work}/by-oras:v1")
        assert "seal.used" in c.stranger(NAME)("verify", f"oci:{c.work}/by-oras:v1", "--as", NAME)
        alice("copy", f"{plain.host}/team/app:v1", f"oci:{c.work}/by-bulla:v1")
        call(oras(), "cp", "-r", "--from-oci-layout", "--to-plain-http", f"{c.work}/by-bulla:v1", f"{plain.host}/z/app:v1")
        assert "seal.used" in c.stranger(f"{plain.host}/z/app")("verify", f"{plain.host}/z/app:v1")


def case_skopeo(c):
    """skopeo pulls the published image by tag; its copy without referrers is refused, not trusted."""
    if not shutil.which("skopeo"):
        raise Skip("skopeo is not installed")
    with docker_registry(c.work) as plain:
        alice, bob = c.publisher(f"{plain.host}/team/app")
        c.publish(alice, "small", f"{plain.host}/team/app", "v1")
        call("skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--insecure-policy",
             f"docker://{plain.host}/team/app:v1", f"docker://{plain.host}/sk/app:v1")
        c.trust(bob, f"{plain.host}/sk/app")
        assert "state.absent" in bob("verify", f"{plain.host}/sk/app:v1", exits=1)


def case_access(c):
    """Basic over TLS with a private CA, and Bearer tokens: publish, verify; wrong and missing credentials are named."""
    if not shutil.which("htpasswd"):
        raise Skip("htpasswd (apache2-utils) is not installed")
    d = c.work / "pki"
    d.mkdir()
    ssl = lambda *a: call("openssl", *a, cwd=d)
    ssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=interop CA", "-days", "2")
    ssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "srv.key", "-out", "srv.csr", "-subj", "/CN=127.0.0.1")
    (d / "san").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    ssl("x509", "-req", "-in", "srv.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "srv.crt", "-days", "2", "-extfile", "san")
    (d / "users").write_text(call("htpasswd", "-Bbn", "alice", "s3cret").strip() + "\n")
    tls = {"tls": {"certificate": str(d / "srv.crt"), "key": str(d / "srv.key")}}
    with docker_registry(c.work, http=tls, auth={"htpasswd": {"realm": "interop", "path": str(d / "users")}}) as basic:
        access_story(c, basic, ["--ca-file", d / "ca.crt"], "basic")
    ssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "tok.key", "-out", "tok.crt", "-subj", "/CN=tokens", "-days", "2")
    port = free_port()
    with Server([sys.executable, HERE / "token-server.py", str(port), str(d / "tok.key"), str(d / "tok.crt"), "alice:s3cret"], port):
        auth = {"token": {"realm": f"http://127.0.0.1:{port}/token", "service": "interop", "issuer": "bench-issuer", "rootcertbundle": str(d / "tok.crt")}}
        with docker_registry(c.work, auth=auth) as bearer:
            access_story(c, bearer, [], "bearer")


def access_story(c, server, flags, word):
    home = c.work / f"alice-{word}"
    alice = Bulla(c.program, home)
    config = c.work / f"docker-{word}"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": base64.b64encode(b"alice:s3cret").decode()}}}))
    login = {"DOCKER_CONFIG": str(config), "REGISTRY_AUTH_FILE": ""}
    nobody = {"DOCKER_CONFIG": str(c.work / "none"), "REGISTRY_AUTH_FILE": ""}
    desk = c.work / f"desk-{word}"
    desk.mkdir()
    repo = f"{server.host}/team/app"
    text = alice("init", NAME, "--at", repo, *flags, env=nobody, cwd=desk, exits=3)
    assert "registry.unauthorized" in text or "unauthorized" in text.lower(), text
    shutil.rmtree(home, ignore_errors=True)
    for left in desk.glob("*.json"):
        left.unlink()
    alice("init", NAME, "--at", repo, *flags, env=login, cwd=desk)
    alice("publish", "--from", f"oci:{c.layouts}/small:v1", repo, "--tag", "v1", *flags, env=login)
    alice("verify", f"{repo}:v1", *flags, env=login)
    wrong = subprocess.run([c.program, "verify", f"{repo}:v1", "--username", "alice", "--password-stdin", *map(str, flags)], input="wrong\n",
                           env={**os.environ, **alice.env, **nobody}, capture_output=True, text=True)
    assert wrong.returncode == 3 and "wrong" not in (wrong.stdout + wrong.stderr).replace("wrong credentials", ""), wrong


KINDS = ("ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-3072")


def case_python_tuf(c):
    """python-tuf's client reads a collection's metadata, unchanged, over plain HTTP; with every type of key."""
    python = python_tuf()
    for kind in KINDS:
        work = c.work / kind
        work.mkdir()
        alice, origin = c.person(f"alice-{kind}"), f"oci:{work}/origin"
        keys = []
        for role in ("root", "targets", "releases", "online"):
            alice("key", "generate", role, "--type", kind)
            keys += [f"--{role}-key", role]
        alice("init", NAME, "--at", origin, *keys, cwd=work)
        c.publish(alice, "small", origin, "v1")
        schemes = {k["scheme"] for k in json.load(open(work / "1.root.json"))["signed"]["keys"].values()}
        assert len(schemes) == 1, schemes
        print(kind, *schemes, read_by_python_tuf(python, work))


def read_by_python_tuf(python, work):
    """What python-tuf says of the collection in the OCI layout `work`/origin."""
    index = json.load(open(work / "origin/index.json"))
    tag = "org.opencontainers.image.ref.name"
    state = next(m for m in index["manifests"] if m.get("annotations", {}).get(tag, "").startswith("bulla."))
    blob = lambda d: (work / "origin/blobs" / d.replace(":", "/")).read_bytes()
    site = work / "site"
    site.mkdir()
    for layer in json.loads(blob(state["digest"]))["layers"]:
        if layer["mediaType"] == "application/vnd.tuf.metadata+json":
            (site / layer["annotations"]["tuf.io/filename"]).write_bytes(blob(layer["digest"]))
    digest = next(m["digest"] for m in index["manifests"] if m.get("annotations", {}).get(tag) == "v1")

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = site / self.path.rsplit("/", 1)[1]
            data = path.read_bytes() if path.is_file() else None
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = """
import sys
from tuf.ngclient import Updater
url, root, folder, name, digest = sys.argv[1:]
u = Updater(folder, url, folder, url, bootstrap=open(root, 'rb').read())
u.refresh()
by_tag, by_digest = u.get_targetinfo(name + ':v1'), u.get_targetinfo(name + '@' + digest)
assert by_tag.hashes['sha256'] == by_digest.hashes['sha256'] == digest.split(':')[1], (by_tag, by_digest)
assert u.get_targetinfo(name + ':v2') is None
print('python-tuf agrees', by_tag.unrecognized_fields['custom'] if 'custom' in by_tag.unrecognized_fields else by_tag.custom)
"""
    (work / "tuf-home").mkdir()
    said = call(python, "-c", program, f"http://127.0.0.1:{server.server_port}/", work / "1.root.json", work / "tuf-home", NAME, digest).strip()
    server.shutdown()
    return said


@contextlib.contextmanager
def web_server(folder):
    """Python's own file server, which decodes %2F as web servers do; its URL."""
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


PYTHON_TUF_READS = """
import pathlib, sys
from tuf.ngclient import Updater
url, root, folder, name, digest = sys.argv[1:]
pathlib.Path(folder).mkdir()
u = Updater(folder, url + "metadata/", folder, url + "targets/", bootstrap=open(root, 'rb').read())
u.refresh()
for path in (name + ':v1', name + '@' + digest):
    info = u.get_targetinfo(path)
    assert info and info.hashes['sha256'] == digest.split(':')[1], (path, info)
    data = open(u.download_target(info), 'rb').read()
    assert len(data) == info.length
assert u.get_targetinfo(name + ':v2') is None
print('timestamp', u._trusted_set.timestamp.version)
"""

TUF_JS_READS = """
const { Updater } = require('tuf-js');
const fs = require('fs');
const [url, root, folder, name, digest] = process.argv.slice(2);
(async () => {
  fs.mkdirSync(folder);
  fs.copyFileSync(root, folder + '/root.json');
  const u = new Updater({ metadataDir: folder, targetDir: folder, metadataBaseUrl: url + 'metadata', targetBaseUrl: url + 'targets' });
  await u.refresh();
  for (const path of [name + ':v1', name + '@' + digest]) {
    const info = await u.getTargetInfo(path);
    if (!info || info.hashes.sha256 !== digest.split(':')[1]) throw new Error('not found: ' + path);
    const bytes = fs.readFileSync(await u.downloadTarget(info, folder + '/out'));
    if (bytes.length !== info.length) throw new Error('length of ' + path);
  }
  if (await u.getTargetInfo(name + ':v2')) throw new Error('found what is not there');
  console.log('tuf-js agrees');
})().catch((e) => { console.error(e); process.exit(1); });
"""


def exported(c):
    """A collection with a bundle, exported: its owner, the tree, and the bundle's digest."""
    origin = f"oci:{c.work}/origin"
    alice, _ = c.publisher(origin)
    c.publish(alice, "small", origin, "v1")
    said = alice.json("tuf", "export", origin, c.work / "tree")["result"]
    assert (said["status"], said["absent"], said["unnamed"]) == ("exported", [], []), said
    index = json.load(open(c.work / "origin/index.json"))
    digest = next(m["digest"] for m in index["manifests"] if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == "v1")
    return alice, origin, digest


def case_export(c):
    """python-tuf reads an exported collection from a plain web server: refresh, search through the delegation, download; again after a renewal."""
    python = python_tuf()
    alice, origin, digest = exported(c)
    with web_server(c.work / "tree") as url:
        first = call(python, "-c", PYTHON_TUF_READS, url, c.root, c.work / "cache-1", NAME, digest).strip()
        time.sleep(1.1)
        alice("renew", origin, "--role", "timestamp")
        said = alice.json("tuf", "export", origin, c.work / "tree")["result"]
        assert said["written"] == 2, said  # a snapshot of its own comes with each timestamp
        second = call(python, "-c", PYTHON_TUF_READS, url, c.root, c.work / "cache-2", NAME, digest).strip()
        assert int(second.split()[1]) > int(first.split()[1]), (first, second)
        print("python-tuf", first, "then", second)


def case_tuf_js(c):
    """tuf-js reads the same tree: refresh, search through the delegation, download."""
    node, modules = tuf_js()
    _, _, digest = exported(c)
    (c.work / "read.js").write_text(TUF_JS_READS)
    with web_server(c.work / "tree") as url:
        said = call(node, c.work / "read.js", url, c.root, c.work / "cache", NAME, digest, env={"NODE_PATH": modules}).strip()
    version = json.load(open(f"{modules}/tuf-js/package.json"))["version"]
    print(said, version)


def case_import(c):
    """A repository made by python-tuf becomes a collection: imported byte for byte, verified, renewed with its own key, exported, read by python-tuf."""
    python, layout = python_tuf(), c.layouts / "small"
    index = json.load(open(layout / "index.json"))
    bundle = next(m for m in index["manifests"] if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == "v1")
    facts = (NAME, bundle["digest"], bundle["size"], bundle["mediaType"])
    call(python, HERE / "make-tuf-repository.py", c.work / "repository", *facts)
    call(python, HERE / "make-tuf-repository.py", c.work / "plain", *facts, "--plain")
    c.root = c.work / "repository/metadata/1.root.json"
    carol, there = c.person("carol"), f"oci:{c.work}/there"
    c.trust(carol, NAME)
    with web_server(c.work / "repository") as url:
        for source, place in ((c.work / "repository", there), (url, f"oci:{c.work}/by-url")):
            said = carol.json("tuf", "import", source, place, "--as", NAME)["result"]
            assert (said["status"], said["timestamp"], said["metadata"]) == ("imported", 1, 5), said
    state = next(m for m in json.load(open(c.work / "there/index.json"))["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"].startswith("bulla."))
    blob = lambda digest: (c.work / "there/blobs" / digest.replace(":", "/")).read_bytes()
    for layer in json.loads(blob(state["digest"]))["layers"]:
        file = layer["annotations"]["tuf.io/filename"]
        assert blob(layer["digest"]) == (c.work / "repository/metadata" / file).read_bytes(), file
    carol("copy", f"oci:{layout}:v1", f"{there}:v1")
    carol("verify", f"{there}:v1", "--as", NAME)
    carol("key", "import", c.work / "repository/keys/online.pem", "online", "--dangerously-unencrypted")
    renewed = carol.json("renew", there, "--as", NAME, "--role", "timestamp")["result"]
    assert sorted(s["role"] for s in renewed["signed"]) == ["snapshot", "timestamp"], renewed
    carol("tuf", "export", there, c.work / "tree", "--as", NAME)
    with web_server(c.work / "tree") as url:
        said = call(python, "-c", PYTHON_TUF_READS, url, c.root, c.work / "cache", NAME, bundle["digest"]).strip()
        print("python-tuf reads what it made and bulla renewed:", said)
    # One whose roles name no collection is no collection: already its root is no anchor of one.
    dave = c.person("dave")
    refused = dave("trust", "add", NAME, "--root", c.work / "plain/metadata/1.root.json", "--collection", NAME, exits=1)
    print("a plain TUF repository:", refused.strip().splitlines()[0])


def case_keys(c):
    """Roots signed in every way by python-tuf's library: bulla takes what python-tuf takes, but for what is named."""
    c.publisher(f"oci:{c.work}/origin")
    (c.work / "roots").mkdir()
    verdicts = json.loads(call(python_tuf(), HERE / "key-differential.py", c.root, c.work / "roots"))
    wrong, stricter = [], []
    for name, v in verdicts.items():
        who = c.person(f"deployer-{pathlib.Path(v['file']).stem}")
        done = subprocess.run([c.program, "trust", "add", NAME, "--root", v["file"]], env={**os.environ, **who.env}, capture_output=True, text=True)
        if v["stricter"]:
            stricter.append(name)
            good = v["tuf"] and done.returncode in (1, 3)
        else:
            good = done.returncode == 0 if v["tuf"] else done.returncode in (1, 3)
        if not good:
            wrong.append(f"{name}: python-tuf {v['tuf']}, bulla exit {done.returncode} {done.stdout}{done.stderr}")
    assert not wrong, "\n".join(wrong)
    taken = sum(v["tuf"] for v in verdicts.values())
    print(f"{len(verdicts)} roots, {taken} taken by python-tuf, of which bulla refuses: {'; '.join(stricter)}")


def case_in_toto_differential(c):
    """Layouts and links: bulla and PyPI's in-toto agree, but for what docs/in-toto.md says."""
    (c.work / "cases").mkdir()
    print(call(python_tuf(), HERE / "intoto-differential.py", c.program, c.work / "cases").strip())


def case_in_toto_peers(c):
    """What bulla records passes in-toto-verify, what in-toto-run records passes bulla, classic and DSSE."""
    print(call(python_tuf(), HERE / "intoto-peers.py", c.program, c.work / "peers").strip().splitlines()[-1])


def case_tuf_cases(c):
    """The plain TUF client over bulla's core passes every case of scripts/tuf-cases.py."""
    python, program = python_tuf(), pathlib.Path(c.program).parent / "examples/tuf-conformance-client"
    if not program.exists():
        raise AssertionError(f"{program} is not built: cargo build --example tuf-conformance-client")
    said = call(python, HERE / "tuf-cases.py", program)
    print(said.strip().splitlines()[-1])


def case_no_network(c):
    """In a network namespace without any interface an OCI layout is verified with the same verdicts."""
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True)
    if probe.returncode:
        raise Skip("unshare -n is not allowed here")
    alice, bob = c.publisher(f"oci:{c.work}/origin")
    c.publish(alice, "small", f"oci:{c.work}/origin", "v1")
    c.trust(bob, NAME)
    for args, code in ((["verify", f"oci:{c.work}/origin:v1", "--as", NAME], 0), (["verify", f"oci:{c.work}/origin:v1", "--as", "other.example/app"], 1)):
        outside = bob(*args, exits=code)
        inside = call("unshare", "-n", c.program, *args, env=bob.env, exits=code)
        assert inside == outside, (inside, outside)


CASES = [case_rich_copy, case_oras_copy_alone, case_oras_layout, case_skopeo, case_access, case_python_tuf, case_export, case_tuf_js, case_import, case_keys, case_tuf_cases, case_in_toto_differential, case_in_toto_peers, case_no_network]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bulla", default=str(HERE.parent / "target/debug/bulla"))
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    passed, failed, skipped = 0, 0, []
    for case in CASES:
        name = case.__name__[5:]
        if args.only not in name:
            continue
        work = tempfile.mkdtemp(prefix=f"bulla-{name}-")
        started = time.time()
        try:
            case(Case(os.path.abspath(args.bulla), work))
            passed += 1
            print(f"ok      {name}  {time.time() - started:.1f} s: {case.__doc__.splitlines()[0]}", flush=True)
        except Skip as why:
            skipped.append(f"{name} ({why})")
            print(f"SKIPPED {name}: {why}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {name}", flush=True)
            traceback.print_exc()
        finally:
            if args.keep:
                print(f"        kept {work}")
            else:
                shutil.rmtree(work, ignore_errors=True)
    if skipped:
        print("skipped: " + "; ".join(skipped))
    print(f"interop: {passed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
