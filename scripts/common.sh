# Sourced by the scripts beside it. Everything they say goes to stderr; stdout is for results.
# shellcheck shell=bash

project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache_dir=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME: the folder for what is downloaded}/.cache}/cascade
export project_root cache_dir

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command up to three times: package mirrors fail now and then.
retry() {
    local attempt
    for attempt in 1 2 3; do
        "$@" && return 0
        [ "$attempt" = 3 ] || {
            say "failed, trying again in $((attempt * 5)) s: $*"
            sleep $((attempt * 5))
        }
    done
    return 1
}

# Rows of cmake/dependencies.txt: "PACKAGE VERSION" of one kind (apt, pypi).
dependencies() { awk -v kind="$1" '$1 == kind { print $2, $3 }' "$project_root/cmake/dependencies.txt"; }

# The version of a PyPI package in cmake/dependencies.txt.
pypi_version() { dependencies pypi | awk -v name="$1" '$1 == name { print $2 }'; }

# pypi_download PACKAGE FOLDER [pip options]: its file, in the version of cmake/dependencies.txt.
pypi_download() {
    local package=$1 folder=$2
    shift 2
    retry python3 -m pip --disable-pip-version-check download --quiet --no-deps --dest "$folder" "$@" \
        "$package==$(pypi_version "$package")" >&2
}
