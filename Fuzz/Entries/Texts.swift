// Class lists, vocabulary files and presets.
import Segmentation
import System

/// A class list, its prompts and their tokens.
func fuzzClasses(_ bytes: UnsafeBufferPointer<UInt8>) {
  for background in [false, true] {
    guard let list = try? ClassList(bytes: Array(bytes), background: background) else { continue }
    for phrase in list.phrases { precondition(tokenizer.tokens(phrase).count <= tokenizer.contextLength) }
    // Eighty prompts each: what one phrase does to them, two do as well.
    guard !background else { continue }
    _ = PromptSource(phrases: Array(list.phrases.prefix(2)), tokenizer: tokenizer).groups(nodeLimit: 1024)
  }
}

/// A preset: what can be read can be set, written, and reads the same again.
func fuzzPreset(_ bytes: UnsafeBufferPointer<UInt8>) {
  guard let preset = try? PresetFile(Array(bytes)) else { return }
  precondition(preset.remark.utf8.count < 4096)
  for method in MethodName.allCases {
    guard let options = try? preset.options(method, depth: 12) else { continue }
    let written = PresetFile(of: options, over: preset.base, depth: 12, provenance: preset.provenance)
    guard let again = try? PresetFile(Array(written.text.utf8)),
      let same = try? again.options(method, depth: 12)
    else { preconditionFailure("a preset that was written cannot be read") }
    precondition(same.named.map(\.value) == options.named.map(\.value), "a preset changes by writing")
  }
}

/// A `.tvoc` file, with its checksum put right.
func fuzzVocabulary(_ bytes: UnsafeBufferPointer<UInt8>) {
  var file = Array(bytes)
  let place = 68..<72
  if file.count >= place.upperBound {
    file.replaceSubrange(place, with: [0, 0, 0, 0])
    let crc = file.withUnsafeBytes { CRC32.of($0) }
    for (index, at) in place.enumerated() { file[at] = UInt8(truncatingIfNeeded: crc >> UInt32(8 * index)) }
  }
  readVocabulary(file)
}

/// An `.npz` file, with its checksums put right.
func fuzzArchive(_ bytes: UnsafeBufferPointer<UInt8>) {
  var file = Array(bytes)
  repairChecksums(&file)
  readVocabulary(file)
}

/// What can be read can be written, and reads the same again; means that nobody divided by their lengths are
/// only read.
private func readVocabulary(_ bytes: [UInt8]) {
  guard let vocabulary = try? VocabularyFile.decode(bytes) else { return }
  let rows = stride(from: 0, to: vocabulary.vectors.count, by: vocabulary.width).map {
    vocabulary.vectors[$0..<$0 + vocabulary.width].reduce(Float(0)) { $0 + $1 * $1 }.squareRoot()
  }
  if rows.contains(where: { abs($0 - 1) > 0.99e-3 }) { return }
  let again = try? VocabularyFile.decode(VocabularyFile.encode(vocabulary))
  precondition(again == vocabulary, "a vocabulary changes when it is written and read")
}

private let tokenizer: BytePairTokenizer = {
  let merges = ["i n", "t h", "a n", "th e</w>", "o u"]
  return try! BytePairTokenizer(mergeCount: merges.count, contextLength: 77) { body in
    for (rank, line) in merges.enumerated() {
      Array(line.utf8).withUnsafeBufferPointer { body(rank, $0) }
    }
  }
}()
