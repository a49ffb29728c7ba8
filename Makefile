# Thin lines to cargo and scripts/. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help build static demo demo-ceremony demo-personas demo-provenance test soak fuzz lint interop bench bench-verify clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

build: ## the program, optimised: target/release/bulla
	cargo build --release --locked

# gcc serves where Debian's musl-tools are not installed: the C parts need no libc headers that differ.
static: export CC_x86_64_unknown_linux_musl ?= $(or $(shell command -v musl-gcc),gcc)
static: ## a program without any library, for every x86-64 Linux: target/x86_64-unknown-linux-musl/release/bulla
	@rustc --print target-libdir --target x86_64-unknown-linux-musl | xargs ls >/dev/null 2>&1 || { echo "static: install the target first: rustup target add x86_64-unknown-linux-musl" >&2; exit 2; }
	cargo build --release --locked --target x86_64-unknown-linux-musl

demo: ## publish, copy, verify offline, and attacks refused; the same on docker-registry where it is installed
	cargo build --locked
	scripts/demo.sh

demo-ceremony: ## two-of-three root over three homes with a directory between them, a lying proposal, a rotation, three recoveries
	cargo build --locked --bin bulla --example thief
	scripts/demo-ceremony

demo-personas: ## a release in the hands of a publisher's administrator, builder and signer, a deployer's administrator and operator, and a repository owner
	cargo build --locked --bin bulla --example registry
	scripts/demo-personas

demo-provenance: ## links and layouts of three people, the presets, and what each of them refuses
	cargo build --locked --bin bulla
	scripts/demo-provenance

# One seed, so that a run says the same twice; `make soak` draws others.
test: export PROPTEST_RNG_SEED ?= 20261121
test: ## all tests that need nothing but Rust and a C compiler
	cargo test --locked

soak: ## the long rounds: every fault and kill at every request, 200 SIGKILLs, 20 rounds of races, 3,000 schedules, random inputs; prints what was counted
	for i in 1 2 3 4 5 6 7 8; do PROPTEST_CASES=2048 cargo test --locked --lib || exit 1; done
	BULLA_SOAK=1 cargo test --locked --test e2e -- --nocapture --test-threads=2 faults:: crashes:: kills:: races:: interleavings:: mutations::

fuzz: ## a minute of every fuzz target (needs a nightly toolchain and cargo-fuzz)
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { echo "fuzz: install them first: rustup toolchain install nightly && cargo install cargo-fuzz" >&2; exit 2; }
	for t in certificate changes cnab installed intoto_document intoto_rule json keyless keys kms_answer manifest metadata proposal reference request revocations root_pack signature trust_document trust_file; do cargo +nightly fuzz run $$t -- -max_total_time=60 || exit 1; done

lint: ## format, clippy, documentation, crates and licences, test layouts, the publishing model
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@# Only checked: libFuzzer itself is not built, which would need C++ and a nightly toolchain.
	CUSTOM_LIBFUZZER_PATH=/dev/null cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir "$${CARGO_TARGET_DIR:-target}"
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	scripts/check-crates.py
	scripts/check-layouts.sh
	python3 scripts/publish-sim.py --self-test

interop: ## against other people's registries, copiers and TUF clients (Debian's docker-registry, skopeo, apache2-utils, jq)
	cargo test --locked --no-run
	scripts/interop.py
	cargo test --locked --manifest-path tests/differential/Cargo.toml --target-dir target/differential
	scripts/copy-matrix.py
	scripts/recipes.py
	scripts/signature-peers.py
	scripts/signature-cells.py
	scripts/attestation-cells.py
	PATH="$${BULLA_INTEROP_CACHE:-$$HOME/.cache/bulla-interop}/ferro/bin:$$PATH" scripts/interop-registry

bench: build ## copies against oras and skopeo on docker-registry; half an hour, on a quiet machine
	scripts/bench-copy

bench-verify: build ## signatures: verify beside cosign and notation, with and without latency; ten minutes, on a quiet machine
	scripts/bench-verify

clean: ## remove what was built
	cargo clean
