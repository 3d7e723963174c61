# Every command of the project; `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
# A recipe is one bash script, not a shell a line.
.ONESHELL:
# rustup's folder, which is not yet on the PATH of a shell opened before the installation.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
STATIC_BIN := $(TARGET_DIR)/static/tmesh-cli
STATIC_MAX_BYTES := 5242880
# Shown by --version; empty outside a checkout.
COMMIT = $(shell git rev-parse --short HEAD 2>/dev/null)

# The limits of `make fuzz` for each target, whichever comes first. The seed gives new cases in every run.
FUZZ_CASES ?= 10000000
FUZZ_SECONDS ?= 600
FUZZ_SEED ?= $(shell date +%s)00000000
# The targets to fuzz: a part of their paths, such as client::sse::fuzz.
FUZZ ?= fuzz::

# Requests of `make soak`.
SOAK ?= 10000000

.PHONY: help build static demo bench test fuzz faults recompute soak merge-day probe-sim verdict-sim lint layers check golden docs toolchain

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

build: toolchain ## build target/release/tmesh-cli for this machine
	TMESH_COMMIT=$(COMMIT) cargo build --release --locked

static: toolchain ## build target/static/tmesh-cli: one static file of at most 5 MiB
	@machine=$$(uname -m)
	case "$$machine" in
	  x86_64|aarch64) ;;
	  *) echo "make static: $$machine is not supported: want x86_64 or aarch64" >&2; exit 1 ;;
	esac
	target=$$machine-unknown-linux-musl
	musl_libs=$$(rustc --print target-libdir --target "$$target")
	if [ -d "$$musl_libs" ] && command -v musl-gcc >/dev/null; then
	  export "CC_$${target//-/_}=musl-gcc"
	else
	  target=$$(rustc -vV | sed -n 's/^host: //p')
	fi
	# Without --target the flag would also reach proc-macros, which cannot be static.
	export TMESH_COMMIT=$(COMMIT)
	# No relocation and no unwind tables: what a panic=abort program never reads. Those of std and libc, 0.35 MB,
	# go where the linker can leave them out: lld can, GNU ld cannot. Nor can that fold functions of equal code.
	# Functions marked #[inline] are inlined up to a cost of 50 instead of 325, and instructions that many functions
	# have in common become a function of their own if that saves 60 bytes: 0.2 MB less, for 0.7 % more instructions a
	# token and 1 % more a request (callgrind).
	flags='-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no'
	flags+=' -C llvm-args=-inlinehint-threshold=50 -C llvm-args=-enable-machine-outliner=always'
	flags+=' -C llvm-args=-outliner-benefit-threshold=60 -C link-arg=-Wl,--no-eh-frame-hdr'
	discard=" -C link-arg=-Wl,--icf=all -C link-arg=-Wl,-T,$(CURDIR)/.ci/no-unwind-tables.ld"
	mkdir -p "$(TARGET_DIR)"
	trial=$$(mktemp "$(TARGET_DIR)/trial.XXXXXX")
	# The linker of this machine, else the lld that comes with rustc.
	host=$$(rustc -vV | sed -n 's/^host: //p')
	own=" -C link-arg=-B$$(rustc --print sysroot)/lib/rustlib/$$host/bin/gcc-ld -C link-arg=-fuse-ld=lld"
	for lld in '' "$$own"; do
	  if rustc --target "$$target" $$flags $$lld $$discard -o "$$trial" - <<<'fn main() {}' 2>/dev/null; then
	    flags+=$$lld$$discard
	    break
	  fi
	done
	rm "$$trial"
	RUSTFLAGS=$$flags \
	  cargo build --release --locked --target "$$target"
	install -D "$(TARGET_DIR)/$$target/release/tmesh-cli" "$(STATIC_BIN)"
	linked=$$(LC_ALL=C ldd "$(STATIC_BIN)" 2>&1 || true)
	grep -qE 'statically linked|not a dynamic executable|Not a valid dynamic program' <<<"$$linked" ||
	  { echo "make static: $(STATIC_BIN) is not static: $$linked" >&2; exit 1; }
	bytes=$$(wc -c <"$(STATIC_BIN)")
	[ "$$bytes" -le $(STATIC_MAX_BYTES) ] ||
	  { echo "make static: $(STATIC_BIN) has $$bytes bytes: want at most $(STATIC_MAX_BYTES)" >&2; exit 1; }
	echo "$(STATIC_BIN): $$bytes bytes, static, libc $${target##*-}"

demo: toolchain ## the main job for 20 seconds against the embedded mock server
	# Not the file that is measured and shipped: a build that takes a quarter of the time.
	TMESH_COMMIT=$(COMMIT) cargo build --locked --profile demo
	$(TARGET_DIR)/demo/tmesh-cli benchmark --backend mock --duration 20s

bench: static ## how much time the client adds, compared with a bare reader: the table of `help bench`, in eight minutes
	cargo build --release --locked --example bench
	$(TARGET_DIR)/release/examples/bench table --client $(STATIC_BIN)

test: toolchain ## all tests except that of the static binary
	# Unit tests compute, most of the others wait for a server.
	RUST_TEST_THREADS=$$(( 2 * $$(nproc) )) cargo test --locked --bin tmesh-cli --example bench
	RUST_TEST_THREADS=$$(( 3 * $$(nproc) )) cargo test --locked --test main --test timing

fuzz: toolchain ## broken input for every parser, 10 minutes or 10 million cases each, in about three hours
	FUZZ_CASES=$(FUZZ_CASES) FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_SEED=$(FUZZ_SEED) \
	  cargo test --locked --profile fuzz --bin tmesh-cli -- --nocapture $(FUZZ)

faults: static ## every fault through every command that sends, and 200 kills of each, in about two minutes
	TMESH_FAULTS=1 TMESH_KILLS=200 cargo test --locked --test main -- hostile:: kills::

recompute: static ## compute every figure of every command again, from the samples, in Python
	python3 tests/recompute.py $(STATIC_BIN)

soak: static ## ten million requests, one in a thousand with each fault: counts and memory, in about an hour
	TMESH_SOAK=$(SOAK) TMESH_STATIC_BIN=$(STATIC_BIN) \
	  cargo test --locked --test main a_long_run -- --ignored --nocapture

merge-day: static ## the samples of a day of 64 machines, merged: time and memory, in ten minutes and 30 GB of disk
	TMESH_STATIC_BIN=$(STATIC_BIN) \
	  cargo test --locked --test main a_day_of -- --ignored --nocapture

probe-sim: toolchain ## how exact the answers of a probe are: simulated caches of hundreds of seeds, in three minutes
	cargo test --locked --bin tmesh-cli -- --ignored --nocapture probe_sim

verdict-sim: toolchain ## how often compare and find-rate are right: simulated servers of 240 seeds
	cargo test --locked --bin tmesh-cli -- --ignored --nocapture --test-threads 1 verdict_sim

lint: toolchain ## formatting, clippy with warnings denied, licences and sources of dependencies
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	.ci/dependencies

layers: ## the imports in src: only those that the table of layers allows, and no circles of files
	.ci/layers src

check: export TMESH_STATIC_BIN = $(STATIC_BIN)
check: lint layers static test ## lint, layers and all tests, including that of the static binary: green at every commit

golden: toolchain ## rewrite the golden files; read the diff before committing
	UPDATE_GOLDEN=1 cargo test --locked --bin tmesh-cli golden

docs: toolchain ## rewrite the help topics that are made from tables: options and metrics
	UPDATE_DOCS=1 cargo test --locked --bin tmesh-cli cli::topics

# Each of these fails with one line that says what to install.
toolchain:
	@say() { echo "$$*" >&2; exit 1; }
	command -v cargo >/dev/null && command -v rustc >/dev/null ||
	  say "cargo not found: install Rust with: curl -sSf https://sh.rustup.rs | sh -s -- -y"
	command -v cc >/dev/null ||
	  say "C compiler (cc) not found: install it with: apt-get install gcc libc6-dev (Debian, Ubuntu) or: dnf install gcc (Fedora, RHEL)"
	have=$$(rustc --version 2>/dev/null | cut -d ' ' -f 2) ||
	  say "rustc does not run: choose a toolchain with: rustup default stable"
	want=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
	[ "$$(printf '%s\n' "$$want" "$$have" | sort -V | head -n 1)" = "$$want" ] ||
	  say "rustc $$have is too old: want at least $$want; update with: rustup update stable"
