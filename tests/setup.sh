#!/usr/bin/env bash
# Installs what the suites in other languages need: the OpenAI libraries for Python
# and Node, the first one's own tests, the LiteLLM proxy, and the servers behind the
# stores. Everything goes into one folder outside the source tree, HEADRACE_TOOLS
# (default: headrace-test in the user's cache), and is left alone where it is there
# already. Several calls at a time wait for each other.
#
#     tests/setup.sh                 everything
#     tests/setup.sh python vendor   only these
#     tests/setup.sh litellm models  the proxy, and a real embedder
#     tests/setup.sh qdrant neo4j    the engines behind the stores (neo4j: JDK 17 and Maven)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${HEADRACE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/headrace-test}
mkdir -p "$tools"

# venv NAME REQUIREMENTS makes a virtual environment, whole or not at all: the copy of
# the requirements, written last, says that it is complete.
venv() {
	local dir=$tools/$1 want=$2
	if cmp -s "$want" "$dir/installed.txt"; then return; fi
	echo "installing $(basename "$(dirname "$want")") into $dir"
	rm -rf "$dir"
	"${PYTHON:-python3}" -m venv "$dir"
	"$dir/bin/pip" install --quiet --disable-pip-version-check --no-input --requirement "$want"
	cp "$want" "$dir/installed.txt"
}

python() { venv python "$here/sdk/python/requirements.txt"; }
# The tests of the OpenAI library for Python itself, in the version that is installed.
vendor() {
	local dir=$tools/vendor want
	want=$(grep '^openai==' "$here/sdk/python/requirements.txt")
	if [ "$(cat "$dir/installed.txt" 2>/dev/null)" = "$want" ]; then return; fi
	echo "unpacking the tests of $want into $dir"
	rm -rf "$dir"
	mkdir -p "$dir"
	"${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-input --no-deps --no-binary openai --dest "$dir" "$want"
	tar -xzf "$dir"/openai-*.tar.gz -C "$dir" --strip-components=1
	rm -rf "$dir"/openai-*.tar.gz "$dir/src"
	printf '%s' "$want" >"$dir/installed.txt"
}
litellm() { venv litellm "$here/litellm/requirements.txt"; }
models() { venv models "$here/models/requirements.txt"; }
qdrant() { venv qdrant "$here/stores/engine/requirements.txt"; }
# A machine without Java or Maven goes without: its tests are skipped, or fail where
# HEADRACE_SUITES is "all".
neo4j() {
	if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
		echo "no JDK or no Maven here: neo4j is left out" >&2
		return
	fi
	"$here/stores/neo4j/start.sh" install "$tools/neo4j"
}
node() {
	local dir=$tools/node
	if cmp -s "$here/sdk/node/package-lock.json" "$dir/installed.json"; then return; fi
	echo "installing node packages into $dir"
	rm -rf "$dir"
	mkdir -p "$dir"
	cp "$here/sdk/node/package.json" "$here/sdk/node/package-lock.json" "$dir"
	(cd "$dir" && npm ci --silent --no-audit --no-fund --ignore-scripts)
	cp "$here/sdk/node/package-lock.json" "$dir/installed.json"
}

[ $# -gt 0 ] || set -- python vendor node litellm models qdrant neo4j
for part; do
	case $part in
	python | vendor | node | litellm | models | qdrant | neo4j) ;;
	*) echo "unknown part $part; known: python, vendor, node, litellm, models, qdrant, neo4j" >&2; exit 2 ;;
	esac
	# One lock for each part, held by whoever installs it; released with the process.
	(
		if command -v flock >/dev/null; then
			exec 9>"$tools/$part.lock"
			flock 9
		fi
		"$part"
	)
done
