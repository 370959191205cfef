#!/usr/bin/env bash
# Unpacks Debian's InfluxDB 1.6 and VictoriaMetrics into var/tools (or the folder named), without root and without
# starting anything: the tests of the time series start them themselves, on loopback. With npm there is also InfluxData's
# own Flux front end, which checks the text of our queries.
set -euo pipefail
target="${1:-$(dirname "$0")/../../var/tools}"
mkdir -p "$target"
cd "$target"
download="$(mktemp -d)"
trap 'rm -rf "$download"' EXIT
for package in influxdb victoria-metrics; do
    [ -d "$package" ] && continue
    (cd "$download" && { apt-get download -qq "$package" || { apt-get update -qq && apt-get download -qq "$package"; }; }) >/dev/null
    dpkg -x "$download/$package"_*.deb "$package.part"
    mv "$package.part" "$package"
done
if command -v npm >/dev/null && [ ! -d flux ]; then
    npm install --silent --no-audit --no-fund --prefix flux.part @influxdata/flux-lsp-node@0.8.40
    mv flux.part flux
fi
