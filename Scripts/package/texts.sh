# Read by the scripts that install: the manual and the shells' completions, written by the programs themselves; the
# demo model; the library's description.
# shellcheck shell=sh

# texts PROGRAM VERSION PREFIX SHARE ZSH COMMAND...: what PROGRAM, run as COMMAND, says of itself, under PREFIX. SHARE is
# where the manual says the demo model is, ZSH the folder of zsh's completions (packages and local installations have one
# each). Needs SOURCE_DATE_EPOCH for the date of the pages.
texts() {
  program=$1 version=$2 prefix=$3 share=$4 zsh=$5
  shift 5
  mkdir -p "$prefix/share/man/man1" "$prefix/share/bash-completion/completions" "$prefix/share/zsh/$zsh" \
    "$prefix/share/fish/vendor_completions.d"
  pages=$(mktemp -d)
  "$@" --experimental-dump-help | python3 Scripts/package/manual.py "$version" "$share" "$pages"
  gzip -9n "$pages"/*.1
  install -m644 "$pages"/*.gz "$prefix/share/man/man1/"
  rm -r "$pages"
  for pair in "bash bash-completion/completions/$program" "zsh zsh/$zsh/_$program" \
    "fish fish/vendor_completions.d/$program.fish"; do
    "$@" --generate-completion-script "${pair%% *}" | sed '1{/^#!/d}' >"$prefix/share/${pair#* }"
  done
}

# examples PREFIX: the demo model, its words and a scene, where the manual says they are.
examples() {
  mkdir -p "$1/share/trident"
  install -m644 models/demo/demo.gguf models/demo/scenes/classes.txt "$1/share/trident/"
  install -m644 models/demo/scenes/images/beach.jpg "$1/share/trident/demo.jpg"
}

# pc VERSION PREFIX LIBRARIES: the library's description for pkg-config.
pc() {
  cat <<END
prefix=$2
libdir=$3
includedir=\${prefix}/include

Name: trident
Description: Which of your words does each pixel of a photo belong to?
Version: $1
Libs: -L\${libdir} -ltrident
Cflags: -I\${includedir}
END
}
