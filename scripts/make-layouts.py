#!/usr/bin/env python3
"""Write OCI layout directories to sign, copy and measure with.

Python's standard library only, and deterministic: the same arguments give the same bytes on every machine (own tar
headers, gzip with stored blocks, seeded content, fixed times).

  make-layouts.py OUT image [--layers 20] [--layer-size 50M] [--files 1] [--archs amd64,arm64]
  make-layouts.py OUT helm | cnab | blob [--layer-size 64K]
  make-layouts.py OUT tree [--referrers 100] [--depth 1] [--fallback]
  make-layouts.py OUT preset small|large|many|helm|cnab|tree|all      each in OUT/<preset>
  make-layouts.py OUT check                                           the small presets, against their known digests

One line is printed for each layout: directory, tag, digest of what is tagged, number of blobs, bytes.
OUT is made afresh: it must not exist, or be an OCI layout.
"""
import argparse
import hashlib
import json
import os
import random
import shutil
import struct
import sys
import zlib

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
WHEN = "2024-01-01T00:00:00Z"

PRESETS = {
    "small": ("image", {"layers": 2, "layer_size": "1700K", "files": 20}),
    "large": ("image", {"layers": 20, "layer_size": "51M", "archs": "amd64"}),
    "many": ("image", {"layers": 500, "layer_size": "8K", "files": 4, "archs": "amd64"}),
    "helm": ("helm", {}),
    "cnab": ("cnab", {"layer_size": "400K"}),
    "tree": ("tree", {"referrers": 100, "depth": 1, "fallback": True}),
}

# First 12 hex digits of the digest of v1, which do not depend on the Python version.
KNOWN = {
    "small": "c1f2c58ea644",
    "large": "3e56315202ec",
    "many": "22cc6cf32895",
    "helm": "8e3519271b26",
    "cnab": "e00eed44bfb9",
    "tree": "98b5ee49cf6e",
}


def canonical(document):
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def in_bytes(text):
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1].upper())
    return int(float(text[:-1]) * factor) if factor else int(text)


class Layout:
    def __init__(self, folder):
        if os.path.exists(folder):
            if not os.path.exists(os.path.join(folder, "oci-layout")):
                sys.exit(f"{folder} exists and is no OCI layout")
            shutil.rmtree(folder)
        self.folder, self.entries, self.blobs, self.bytes = folder, [], 0, 0
        os.makedirs(os.path.join(folder, "blobs/sha256"))

    def path(self, digest):
        return os.path.join(self.folder, "blobs", *digest.split(":"))

    def blob(self, content, media_type, **more):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if not os.path.exists(self.path(digest)):
            with open(self.path(digest), "wb") as f:
                f.write(content)
            self.blobs += 1
            self.bytes += len(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content), **more}

    def manifest(self, config, layers, **more):
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **more}
        return self.blob(canonical(document), MANIFEST)

    def index(self, manifests, **more):
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, **more}
        return self.blob(canonical(document), INDEX)

    def list(self, descriptor, name=None):
        entry = dict(descriptor)
        if name:
            notes = entry.get("annotations", {})
            entry["annotations"] = {**notes, "org.opencontainers.image.ref.name": name}
        self.entries.append(entry)

    def close(self):
        with open(os.path.join(self.folder, "oci-layout"), "wb") as f:
            f.write(canonical({"imageLayoutVersion": "1.0.0"}))
        with open(os.path.join(self.folder, "index.json"), "wb") as f:
            f.write(canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}))


class Gzip:
    """gzip with stored blocks: the same bytes whatever zlib is installed. Hashes both sides while it writes."""

    BLOCK = 65535

    def __init__(self, file):
        self.file, self.pending = file, b""
        self.crc, self.raw_size, self.size = 0, 0, 0
        self.digest, self.diff_id = hashlib.sha256(), hashlib.sha256()
        self._out(b"\x1f\x8b\x08\x00\0\0\0\0\x00\xff")

    def _out(self, data):
        self.file.write(data)
        self.digest.update(data)
        self.size += len(data)

    def write(self, data):
        self.crc = zlib.crc32(data, self.crc)
        self.raw_size += len(data)
        self.diff_id.update(data)
        data = self.pending + data
        whole = len(data) // self.BLOCK * self.BLOCK
        view = memoryview(data)
        for at in range(0, whole, self.BLOCK):
            self._out(b"\x00\xff\xff\x00\x00")
            self._out(view[at : at + self.BLOCK])
        self.pending = data[whole:]

    def close(self):
        n = len(self.pending)
        self._out(struct.pack("<BHH", 1, n, n ^ 0xFFFF) + self.pending)
        self._out(struct.pack("<II", self.crc, self.raw_size & 0xFFFFFFFF))


def tar_header(name, size, kind=b"0"):
    fields = (
        name.encode(),
        b"0000755" if kind == b"5" else b"0000644",
        b"0000000",
        b"0000000",
        b"%011o" % size,
        b"%011o" % 0,
        b" " * 8,
        kind,
        b"",
        b"ustar\0",
        b"00",
    )
    header = bytearray(struct.pack("100s8s8s8s12s12s8sc100s6s2s", *fields).ljust(512, b"\0"))
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def layer(layout, key, total, files):
    """A tar+gzip layer of `files` files with `total` bytes of content seeded by `key`: (descriptor, diff_id)."""
    rng = random.Random(key)
    part = os.path.join(layout.folder, "blobs", ".part")
    top = "opt/" + hashlib.sha256(key.encode()).hexdigest()[:12]
    with open(part, "wb") as f:
        gz = Gzip(f)
        gz.write(tar_header("opt/", 0, b"5") + tar_header(top + "/", 0, b"5"))
        for i in range(files):
            size = total // files + (total % files if i == 0 else 0)
            gz.write(tar_header(f"{top}/f{i:05d}", size))
            left = size
            while left:
                chunk = min(left, 1 << 20)
                gz.write(rng.randbytes(chunk))
                left -= chunk
            gz.write(b"\0" * (-size % 512))
        gz.write(b"\0" * 1024)
        gz.close()
    digest = "sha256:" + gz.digest.hexdigest()
    os.replace(part, layout.path(digest))
    layout.blobs += 1
    layout.bytes += gz.size
    return {"mediaType": LAYER, "digest": digest, "size": gz.size}, "sha256:" + gz.diff_id.hexdigest()


def image(layout, seed, archs, layers, layer_size, files):
    """One manifest, or an index of one for each architecture; these share every second layer."""
    made, manifests = {}, []
    for arch in archs.split(","):
        for i in range(layers):
            key = f"{seed}/{'all' if i % 2 and layers > 1 else arch}/{i}"
            if key not in made:
                made[key] = layer(layout, key, in_bytes(layer_size), files)
        keys = [f"{seed}/{'all' if i % 2 and layers > 1 else arch}/{i}" for i in range(layers)]
        config = {
            "created": WHEN,
            "architecture": arch,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [made[k][1] for k in keys]},
            "history": [{"created": WHEN, "created_by": f"layer {i}"} for i in range(layers)],
        }
        descriptor = layout.manifest(layout.blob(canonical(config), CONFIG), [made[k][0] for k in keys])
        manifests.append({**descriptor, "platform": {"architecture": arch, "os": "linux"}})
    return manifests[0] if len(manifests) == 1 else layout.index(manifests)


def helm(layout, seed, layer_size):
    chart = {"apiVersion": "v2", "name": "bench", "version": "1.0.0", "description": "bench chart", "type": "application"}
    config = layout.blob(canonical(chart), "application/vnd.cncf.helm.config.v1+json")
    content, _ = layer(layout, seed + "/chart", in_bytes(layer_size), 8)
    content["mediaType"] = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    notes = {"org.opencontainers.image.title": "bench", "org.opencontainers.image.version": "1.0.0"}
    return layout.manifest(config, [content], annotations=notes)


def cnab(layout, seed, layer_size):
    """A CNAB bundle as cnab-spec 201 puts it on a registry; its component is an index itself."""
    invocation = image(layout, seed + "/inv", "amd64", 2, layer_size, 1)
    component = image(layout, seed + "/comp", "amd64,arm64", 2, layer_size, 1)

    def listed(descriptor, name):
        return {
            "imageType": "oci",
            "image": f"bench/{name}:1.0.0",
            "size": descriptor["size"],
            "contentDigest": descriptor["digest"],
            "mediaType": descriptor["mediaType"],
        }

    bundle = {
        "schemaVersion": "v1.0.0",
        "name": "bench",
        "version": "1.0.0",
        "description": "bench bundle",
        "keywords": ["bench"],
        "invocationImages": [listed(invocation, "inv")],
        "images": {"web": listed(component, "web")},
    }
    config = layout.blob(canonical(bundle), "application/vnd.cnab.config.v1+json")
    manifests = [
        {**layout.manifest(config, [config]), "annotations": {"io.cnab.manifest.type": "config"}},
        {**invocation, "annotations": {"io.cnab.manifest.type": "invocation"}},
        {**component, "annotations": {"io.cnab.manifest.type": "component", "io.cnab.component.name": "web"}},
    ]
    notes = {
        "io.cnab.keywords": '["bench"]',
        "io.cnab.runtime_version": "v1.0.0",
        "org.opencontainers.artifactType": "application/vnd.cnab.manifest.v1",
        "org.opencontainers.image.title": "bench",
        "org.opencontainers.image.version": "1.0.0",
    }
    return layout.index(manifests, annotations=notes)


def blob(layout, seed, layer_size):
    notes = {"org.opencontainers.image.title": "artifact.bin"}
    content = layout.blob(random.Random(seed).randbytes(in_bytes(layer_size)), "application/octet-stream", annotations=notes)
    return layout.manifest(layout.blob(b"{}", EMPTY), [content], artifactType="application/vnd.bench.file.v1")


def tree(layout, seed, layer_size, referrers, depth, fallback):
    """A two-architecture image with `referrers` referrers, each the head of a chain of `depth`."""
    root = image(layout, seed, "amd64,arm64", 2, layer_size, 1)
    types = [f"application/vnd.bench.{what}.v1" for what in ("signature", "sbom", "attestation")]
    empty = layout.blob(b"{}", EMPTY)
    listed = {}
    for i in range(referrers):
        subject = root
        for level in range(depth):
            kind = types[(i + level) % 3]
            body = layout.blob(canonical({"n": i, "depth": level, "seed": seed}), kind + "+json")
            notes = {"org.opencontainers.image.created": WHEN, "bench.n": str(i)}
            plain = {k: subject[k] for k in ("mediaType", "digest", "size")}
            manifest = layout.manifest(empty, [body], artifactType=kind, subject=plain, annotations=notes)
            entry = {**manifest, "artifactType": kind}
            listed.setdefault(subject["digest"], []).append({**entry, "annotations": notes})
            layout.list(entry)
            subject = entry
    if fallback:
        for digest, entries in listed.items():
            layout.list(layout.index(entries), digest.replace(":", "-"))
    return root


def make(folder, kind, a):
    layout = Layout(folder)
    if kind == "image":
        top = image(layout, a.seed, a.archs, a.layers, a.layer_size, a.files)
    elif kind == "tree":
        top = tree(layout, a.seed, a.layer_size, a.referrers, a.depth, a.fallback)
    else:
        top = {"helm": helm, "cnab": cnab, "blob": blob}[kind](layout, a.seed, a.layer_size)
    layout.list(top, a.tag)
    layout.close()
    print(f"{folder} {a.tag} {top['digest']} blobs={layout.blobs} bytes={layout.bytes}")
    return top["digest"]


def preset(folder, name, a):
    kind, settings = PRESETS[name]
    return make(os.path.join(folder, name), kind, argparse.Namespace(**{**vars(a), **settings}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("kind", choices=["image", "helm", "cnab", "blob", "tree", "preset", "check"])
    p.add_argument("name", nargs="?", choices=[*PRESETS, "all"])
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--layer-size", default="64K")
    p.add_argument("--files", type=int, default=1)
    p.add_argument("--archs", default="amd64,arm64")
    p.add_argument("--referrers", type=int, default=100)
    p.add_argument("--depth", type=int, default=1)
    p.add_argument("--fallback", action="store_true")
    p.add_argument("--tag", default="v1")
    p.add_argument("--seed", default="bench")
    a = p.parse_args()
    if a.kind == "check":
        names = ["small", "helm", "cnab", "tree"]
        wrong = [n for n in names if not preset(a.out, n, a).startswith("sha256:" + KNOWN[n])]
        sys.exit(f"other digests than known: {', '.join(wrong)}" if wrong else 0)
    if a.kind != "preset":
        make(a.out, a.kind, a)
    elif not a.name:
        p.error("preset needs a name")
    else:
        for name in PRESETS if a.name == "all" else [a.name]:
            preset(a.out, name, a)


if __name__ == "__main__":
    main()
