// One program with all fuzz targets: `fuzz TARGET [libFuzzer options] [corpus folders]`.
import CFuzzer

#if canImport(Glibc)
  import Glibc
#endif

/// What an input of a target is, and what is done with it; what reads strangers' files comes first. A refusal
/// is fine; a trap, a sanitizer report, too much memory or too much time is a finding.
let targets: [(name: String, body: (UnsafeBufferPointer<UInt8>) -> Void)] = [
  ("pickle", fuzzPickle), ("zip", fuzzZip), ("checkpoint", fuzzCheckpoint), ("script", fuzzScript),
  ("gguf", fuzzGGUF), ("jpeg", fuzzJPEG), ("png", fuzzPNG), ("tiff", fuzzTIFF),
  ("webp", fuzzWebP), ("quantize", fuzzQuantize),
  ("segment", fuzzSegment), ("merges", fuzzMerges), ("classes", fuzzClasses), ("vocabulary", fuzzVocabulary),
  ("npz", fuzzArchive), ("ppm", fuzzPPM), ("pieces", fuzzPieces), ("words", fuzzWords),
  ("tokens", fuzzTokens), ("tower", fuzzTower), ("shards", fuzzShards), ("tar", fuzzTar),
  ("frames", fuzzFrames), ("preset", fuzzPreset),
]

guard CommandLine.arguments.count > 1 else {
  print(targets.map(\.name).joined(separator: "\n"))
  exit(0)
}
let chosen = targets.first { $0.name == CommandLine.arguments[1] }?.body
if chosen == nil {
  print("no target \(CommandLine.arguments[1])")
  exit(2)
}

// libFuzzer sees its own name, then everything behind the target's.
var argumentCount = CommandLine.argc - 1
CommandLine.unsafeArgv[1] = CommandLine.unsafeArgv[0]
var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv + 1
exit(
  LLVMFuzzerRunDriver(&argumentCount, &arguments) { start, count in
    chosen?(UnsafeBufferPointer(start: start, count: count))
    return 0
  })
