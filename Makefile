# Thin names. What they do is in xtask/src/main.rs.

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# A tool that runs for two seconds need not be optimised: 1.5 minutes to build instead of 6.
QUICKLY := CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256

# $(call need,COMMAND,PACKAGES): installs Debian packages where a command is missing.
need = command -v $(1) >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $(2); }

.PHONY: test test-peers bench demo install deny tools ssh dufs

# Formatting, lints, dependencies, tests: all that a change has to pass.
test: tools
	cargo x ci

# The long ones: the text's own programs in Python, everybody's on terminals and tus-js-client, links that are
# cut at every byte, and a thousand kills at any moment.
test-peers: tools
	cargo x test-peers

# Measurements beside ssh, scp, rsync, nginx and cp.
bench: tools ssh dufs
	@PATH=$$PATH:/usr/sbin; $(call need,nginx,nginx-light)
	@$(call need,curl,curl)
	cargo x bench

# Two throw-away machines on this one: invite, join, run, put, cut, get.
demo:
	cargo x demo

install:
	@if command -v npm >/dev/null; then cargo x web-build; else echo "npm is missing: tow will have no page"; fi
	cargo install --locked --path crates/towline

deny: tools
	cargo x deny

tools:
	@$(call need,cc,gcc libc6-dev)
	@$(call need,python3,python3)
	@$(call need,expect,expect)
	@$(call need,bash,bash)
	@$(call need,zsh,zsh)
	@$(call need,dash,dash)
	@$(call need,fish,fish)
	@$(call need,tmux,tmux)
	@$(call need,vim,vim)
	@$(call need,less,less)
	@$(call need,htop,htop)
	@$(call need,rsync,rsync)
	@$(call need,npm,nodejs npm)
	@$(call need,chromium,chromium)
	@$(call need,strace,strace)
	@$(call need,curl,curl)
	@$(call need,litmus,litmus)
	@$(call need,cadaver,cadaver)
	@$(call need,rclone,rclone)
	@$(call need,unzip,unzip)
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
	@cargo deny --version >/dev/null 2>&1 || $(QUICKLY) cargo install --locked cargo-deny@0.20.2

# A peer of the browser's door; a few minutes to build.
dufs:
	@$(call need,wrk,wrk)
	@command -v dufs >/dev/null || cargo install --locked dufs@0.47.0

ssh:
	@$(call need,ssh,openssh-client)
	@PATH=$$PATH:/usr/sbin; $(call need,sshd,openssh-server)
