#!/bin/bash
# setup.sh [ROOT]: fills the folder ROOT with Debian 13 and its packaged Swift, able to build for this machine and
# for 64-bit ARM. Needs root, a Debian or Ubuntu x86-64 machine, 3.5 GB of disk and a minute or two. Runs once.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ -e "$root/complete" ] && exit 0
need mmdebstrap qemu-user-static git
rm -rf "$root"

# The archive that this machine uses, so that a mirror or proxy set up by its owner is respected.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
native="swiftlang git dpkg-dev pkgconf binutils gcc libc6-dev libstdc++-14-dev libpng-dev libjpeg62-turbo-dev zlib1g-dev"
foreign=""
for package in libc6-dev libstdc++-14-dev libpng-dev libjpeg62-turbo-dev zlib1g-dev libopenblas0-pthread \
  libcurl4t64 libxml2; do foreign="$foreign $package:arm64"; done

# Swift's packages cannot be installed for two architectures at once, so ARM's libraries are only unpacked.
unpack='cd /tmp && apt-get -qq download swiftlang:arm64 libswiftlang:arm64 && mkdir -p /opt/swift-arm64 &&
  for deb in *.deb; do dpkg-deb --fsys-tarfile $deb | tar -x -C /opt/swift-arm64 --exclude="*/embedded/*" \
    --exclude="*/host/*" --wildcards "./usr/libexec/swift/lib/swift*"; done; rm -f *.deb'
mmdebstrap --quiet --architectures=amd64,arm64 --variant=apt --include="$(echo "$native $foreign" | tr -s ' ' ,)" \
  --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
  --aptopt='APT::Install-Recommends "false"' --customize-hook='chroot "$1" sh -c '"'$unpack'" \
  trixie "$root" "$mirror"

# A Swift SDK for ARM: the same root serves as its sysroot, because Debian keeps the architectures apart.
swift=/opt/swift-arm64/usr/libexec/swift/lib
mkdir -p "$root$swift/clang" "$root/opt/sdks/arm64.artifactbundle/arm64"
ln -sfn /usr/libexec/swift/lib/clang/17 "$root$swift/clang/17"
ln -sfn / "$root/opt/arm64-sysroot"
cd "$root/opt/sdks/arm64.artifactbundle"
cat > info.json <<'JSON'
{"schemaVersion": "1.0", "artifacts": {"arm64": {"type": "swiftSDK", "version": "1.0", "variants": [{"path": "arm64"}]}}}
JSON
cat > arm64/swift-sdk.json <<JSON
{"schemaVersion": "4.0", "targetTriples": {"aarch64-unknown-linux-gnu": {
  "sdkRootPath": "/opt/arm64-sysroot", "swiftResourcesPath": "$swift/swift",
  "swiftStaticResourcesPath": "$swift/swift_static", "toolsetPaths": ["toolset.json"]}}}
JSON
cat > arm64/toolset.json <<'JSON'
{"schemaVersion": "1.0", "rootPath": "/usr/libexec/swift/bin", "swiftCompiler": {"extraCLIOptions": ["-use-ld=lld"]}}
JSON
cp "$(command -v qemu-aarch64-static)" "$root/usr/bin/"

# Dependencies are cloned here, with this machine's git settings; the root needs no network.
grep -o 'https://github.com/[^"]*' "$project/Package.swift" | while read -r url; do
  git clone -q --mirror "$url" "$root/opt/dependencies/${url#https://github.com/}"
done
printf '[url "/opt/dependencies/"]\n\tinsteadOf = https://github.com/\n[safe]\n\tdirectory = *\n' > "$root/etc/gitconfig"
mkdir -p "$root/src" "$root/build"
touch "$root/complete"
