// Whole runs at toy size: `segment` and `quantize` without the command line.
import Container
import Quantization
import Segmentation
import System
import Toys

#if canImport(Glibc)
  import Glibc
#endif

/// Edits of the toy model, options, a phrase, and the photo's bytes, or none for a good photo.
func fuzzSegment(_ bytes: UnsafeBufferPointer<UInt8>) {
  var input = Input(bytes)
  let model = editedModel(&input)
  var options = smallOptions
  let choices = input.byte()
  options.usesDINO = choices & 2 == 0
  options.paradigm = choices & 4 == 0 ? .splice : .window
  options.precision = choices & 8 == 0 ? .int8 : .float32
  options.affinity = AffinityChoice.allCases[Int(choices >> 4) % AffinityChoice.allCases.count]
  options.halves = choices & 0xC0 == 0xC0
  let length = Int(input.byte())
  options.refinement = choices & 1 == 0 ? [.sam, .pamr, .crf, .sam][length >> 5 & 3] : .none
  let words = String(decoding: input.bytes(length & 31), as: UTF8.self)
  segmentToy(
    model: model, options: options, words: ["in", words],
    photo: input.rest.isEmpty ? toyPhoto : Array(input.rest))
}

/// Edits of the three toy checkpoints. What `quantize` accepts, `verify` accepts.
func fuzzQuantize(_ bytes: UnsafeBufferPointer<UInt8>) {
  var input = Input(bytes)
  var files = toyCheckpoints
  input.edit(&files[0], focus: 6_000)
  input.edit(&files[1], focus: 4_000)
  input.edit(&files[2], focus: 14_000)
  withFiles(files + [toyMerges]) { try? quantize($0, output: scratch + "/fuzzed.gguf") }
}

/// The smallest sizes that the toys allow.
private let smallOptions: SegmentOptions = {
  var options = SegmentOptions()
  (options.shortSide, options.window, options.stride) = (24, 16, 8)
  options.minimalArea = 4
  return options
}()

/// Segments one photo within 64 MiB more than the process has.
private func segmentToy(model: [UInt8], options: SegmentOptions, words: [String], photo: [UInt8]) {
  withFiles([model, photo]) { segmentFiles(model: $0[0], photo: $0[1], options, words) }
}

private func segmentFiles(model: String, photo: String, _ options: SegmentOptions, _ words: [String]) {
  var decoding = MappedModel.DecodeOptions()
  decoding.ignoreChecksums = true
  guard let photo = try? PhotoFile(path: photo), photo.width * photo.height <= 1 << 16,
    let mapped = try? MappedModel(path: model, options: decoding)
  else { return }
  var runtime = RuntimeOptions()
  runtime.threads = 1
  runtime.memoryLimit = ProcessMemory.now().anonymous + (64 << 20)
  do {
    let session = try Session(model: mapped, runtime: runtime)
    let classes = try ClassList(arguments: words, background: false)
    let source = PromptSource(phrases: classes.phrases, tokenizer: try session.makeTokenizer())
    let wording = Wording(source: .prompts(source), phraseClass: classes.classIndex.map { Int($0) })
    let plan = try session.plan(photo, wording, options)
    var rows = 0
    let sinks = RunSinks { _, labels in
      for x in 0..<photo.width { precondition(Int(labels[x]) < classes.count, "a label without a class") }
      rows += 1
      return true
    }
    _ = try session.run(photo, wording, options, plan: plan, measures: false, sinks)
    precondition(rows == photo.height, "rows are missing")
  } catch {
    // A refusal says why in one line.
    precondition(!"\(error)".isEmpty)
  }
}

/// - Parameter sources: CLIP, DINO, SAM and the vocabulary.
private func quantize(_ sources: [String], output: String) throws {
  var request = QuantizationRequest(clip: sources[0], dino: sources[1], sam: sources[2], output: output)
  request.vocabulary = sources[3]
  request.activation = .quickgelu
  request.clipHeadWidth = 24
  request.overwrite = true
  unlink(output)
  do {
    _ = try ModelQuantizer(request) { _ in }.run()
  } catch {
    var temporaries = glob_t()
    let isClean = glob(scratch + "/.trident-*", 0, nil, &temporaries) == GLOB_NOMATCH
    precondition(isClean && access(output, F_OK) != 0, "a refusal leaves a file")
    throw error
  }
  try! MappedModel(path: output).verify { _, _ in }
}

/// A folder of this process; whoever starts it removes `TMPDIR`, as a fuzzer may end anywhere.
let scratch: String = {
  let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
  var template = Array((base + "/fuzz-XXXXXX").utf8CString)
  precondition(mkdtemp(&template) != nil, "no folder for scratch files")
  return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}()

// DINOv2, which has everything that DINO has, and more.
private let toyCheckpoints: [[UInt8]] = [
  ToyCheckpoint.clip(), .dinov2(registers: 2, gated: true), .sam(),
].map { Array($0.safetensors()) }

private let toyMerges = Array("#version: 0.2\ni n\nt h\na n\n".utf8)

/// The three toys, quantized, and where the values of the configuration are.
private let toy: (model: [UInt8], places: [Int]) = {
  let path = scratch + "/toy.gguf"
  withFiles(toyCheckpoints + [toyMerges]) { try! quantize($0, output: path) }
  let model = try! MappedModel(path: path)
  let numbers = model.header.entries.filter { $0.key.hasPrefix("trident.") && $0.type != .string }
  return withExtendedLifetime(model) { (Array(model.fileBytes), numbers.map(\.offset)) }
}()

/// The toy model with edits.
private func editedModel(_ input: inout Input) -> [UInt8] {
  var model = toy.model
  input.edit(&model, focus: 32_768, places: toy.places)
  return model
}

/// 24 x 20 pixels of a gradient, as PPM.
private let toyPhoto: [UInt8] =
  Array("P6\n24 20\n255\n".utf8) + (0..<(24 * 20 * 3)).map { UInt8(truncatingIfNeeded: $0 * 7) }
