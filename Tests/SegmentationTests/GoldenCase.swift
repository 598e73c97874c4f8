// Golden cases on disk: settings, what the reference stored, and toy models made from their checkpoints.
import CZlib
import Foundation
import Quantization
import Raster
import Segmentation
import Synchronization

/// One folder of Tests/Fixtures/golden, or of golden-scclip.
///
/// - Source: Tests/Reference/make_taps.py and make_scclip.py write them.
struct GoldenCase: CustomStringConvertible, Sendable {
  static let names = [
    "toy-b", "toy-b-odd", "toy-b-halves", "toy-b-window", "toy-b-cosine", "toy-b-attention", "toy-b-none",
    "toy-b-no-dino", "toy-b-neighbour", "toy-h", "toy-l", "toy-dino8", "toy-dinov2", "toy-dinov2-reg",
    "toy-dinov2-wide",
    "toy-dinov2-hf", "toy-dinov2-g",
  ]

  private static let fixtures: String = {
    let file: String = #filePath
    let tests = file.split(separator: "/", omittingEmptySubsequences: false).dropLast(2)
    return tests.joined(separator: "/") + "/Fixtures/"
  }()

  /// Where Trident's cases lie.
  static let folder = fixtures + "golden/"

  let name: String
  /// Where cases of this kind lie; their files are named from here.
  let folder: String
  private let settings: [String: String]
  let classLines: [String]
  var description: String { name }

  init(_ name: String, in set: String) throws { try self.init(name, folder: Self.fixtures + set + "/") }

  init(_ name: String, folder: String = GoldenCase.folder) throws {
    self.name = name
    self.folder = folder
    var settings: [String: String] = [:]
    var classes: [String] = []
    for line in try String(contentsOfFile: folder + name + "/case.txt", encoding: .utf8).split(
      separator: "\n")
    {
      let parts = line.split(separator: " ", maxSplits: 1).map(String.init)
      // `dino` stands twice: first the checkpoint, then whether it is used.
      let key = settings[parts[0]] == nil ? parts[0] : "uses_" + parts[0]
      if parts[0] == "class" { classes.append(parts[1]) } else { settings[key] = parts[1] }
    }
    self.settings = settings
    classLines = classes
  }

  func text(_ key: String) throws -> String {
    guard let value = settings[key] else { throw GoldenProblem("\(name)/case.txt lacks \(key)") }
    return value
  }

  /// Checkpoints and, last, the vocabulary.
  var sources: [String] {
    get throws {
      try ["clip", "dino", "sam", "vocab"].filter { $0 == "clip" || settings[$0] != nil }.map { try text($0) }
    }
  }

  func float(_ key: String) throws -> Float {
    guard let value = Float(try text(key)) else { throw GoldenProblem("\(name): \(key) is no number") }
    return value
  }

  func int(_ key: String) throws -> Int { Int(try float(key)) }
  private func flag(_ key: String) throws -> Bool { try text(key) == "true" }

  var photoPath: String { get throws { folder + (try text("photo")) } }
  var refines: Bool { get throws { try flag("refine") } }

  func options(_ precision: PrecisionChoice) throws -> SegmentOptions {
    if settings["method"] == MethodName.scCLIP.rawValue { return try calibratedOptions(precision) }
    var options = SegmentOptions()
    options.precision = precision
    (options.shortSide, options.window, options.stride) = (
      try int("short_side"), try int("window"), try int("stride")
    )
    (options.logitScale, options.beta, options.gamma) = (
      try float("logit_scale"), try float("beta"), try float("gamma")
    )
    options.cosFactor = try float("cos_factor")
    options.keepsNegativeThresholds = try flag("refine_negative_cosine")
    options.probabilityThreshold = try float("probability_threshold")
    options.coarseThreshold = try float("coarse_threshold")
    options.minimalArea = try int("minimal_area")
    options.iouThreshold = try float("iou_threshold")
    options.maskAlpha = try float("mask_alpha")
    options.affinity = AffinityChoice(rawValue: try text("affinity"))!
    options.paradigm = Paradigm(rawValue: try text("paradigm"))!
    options.usesDINO = try flag("uses_dino")
    options.halves = try flag("halves")
    options.refinement = try flag("refine") ? .sam : .none
    readLastBlock(into: &options)
    return options
  }

  private func calibratedOptions(_ precision: PrecisionChoice) throws -> SegmentOptions {
    var options = SegmentOptions(method: .scCLIP)
    options.precision = precision
    (options.shortSide, options.window, options.stride) = (
      try int("short_side"), try int("window"), try int("stride")
    )
    options.logitScale = try float("logit_scale")
    options.probabilityThreshold = try float("probability_threshold")
    (options.lowBlock, options.midBlock) = (try int("low"), try int("mid"))
    options.levels = BlockRange(try int("level_first"), try int("level_last"))
    options.classWeight = try float("class_weight")
    options.areaThreshold = try float("area_threshold")
    readLastBlock(into: &options)
    return options
  }

  /// Whether the last block's MLP is asked for.
  var mixesClassToken: Bool { settings["class_mix"].flatMap { Float($0) } ?? 0 > 0 }

  /// What stands in CLIP's last block; older cases say nothing of it.
  private func readLastBlock(into options: inout SegmentOptions) {
    for key in ["clip_attention", "class_mix", "class_mix_of"] {
      if let value = settings[key] { try? OptionTable[key]?.set(&options, value) }
    }
    if let first = settings["global_first"].flatMap({ Int($0) }),
      let last = settings["global_last"].flatMap({ Int($0) }), options.clipAttention == .global
    {
      options.globalBlocks = BlockRange(first, last)
    }
  }

  func reference() throws -> ReferenceTaps { try ReferenceTaps(path: folder + name + "/reference.taps") }

  /// A stored label map: "coarse" or "final".
  func labels(_ which: String) throws -> [UInt16] {
    let photo = try PhotoDecoder(path: folder + name + "/\(which).png")
    var pixels = [UInt8](repeating: 0, count: photo.width * photo.height * 3)
    try pixels.withUnsafeMutableBufferPointer {
      let same = PhotoCopy.Stage.bilinear(width: photo.width, height: photo.height)
      let copies = [PhotoCopy(stages: [same], destination: $0.baseAddress!)]
      try PhotoCopies(photo, copies).run(allowWholeImage: true)
    }
    return (0..<photo.width * photo.height).map { UInt16(pixels[3 * $0]) }
  }

  /// The case's model, quantized once in a process.
  func model() throws -> String { try GoldenModels.path(of: self) }
}

struct GoldenProblem: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Toy models of this process, in a temporary folder that goes when the process ends.
enum GoldenModels {
  private static let made = Mutex<[String: String]>([:])
  static let scratch: String = {
    var template = Array((FileManager.default.temporaryDirectory.path + "/trident-golden-XXXXXX").utf8CString)
    precondition(mkdtemp(&template) != nil)
    let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    atexit { try? FileManager.default.removeItem(atPath: GoldenModels.scratch) }
    return path
  }()

  static func path(of golden: GoldenCase) throws -> String {
    let sources = try golden.sources
    let kind = golden.mixesClassToken ? "whole " : ""
    return try path(kind + golden.folder + sources.joined(separator: "+")) {
      try quantize(golden, sources, to: $0)
    }
  }

  /// A model of some sources, made once in a process.
  static func path(_ key: String, _ make: (_ path: String) throws -> Void) throws -> String {
    try made.withLock { made in
      if let path = made[key] { return path }
      let path = "\(scratch)/model\(made.count).gguf"
      try make(path)
      made[key] = path
      return path
    }
  }

  /// A model with one of CLIP's towers, of the golden case's checkpoints.
  static func half(_ golden: GoldenCase, _ towers: QuantizationRequest.Towers) throws -> String {
    let sources = try golden.sources
    return try path("\(towers) of \(golden.folder + sources.joined(separator: "+"))") {
      try quantize(golden, sources, towers, to: $0)
    }
  }

  private static func quantize(
    _ golden: GoldenCase, _ sources: [String], _ towers: QuantizationRequest.Towers = .both, to path: String
  ) throws {
    let files = try sources.dropLast().map { try unpack($0, in: golden.folder) }
    var request = QuantizationRequest(clip: files[0], output: path)
    request.towers = towers
    request.keepsLastMLP = golden.mixesClassToken
    if files.count == 3, towers != .text { (request.dino, request.sam) = (files[1], files[2]) }
    request.vocabulary = golden.folder + sources.last!
    // OpenAI's archive form says its activation itself.
    if !sources[0].hasSuffix("/clip.pt.gz") {
      request.activation = CLIPActivation(rawValue: try golden.text("activation"))
    }
    _ = try ModelQuantizer(request) { _ in }.run()
  }

  /// Unpacks a gzip file of the fixtures.
  static func unpack(_ name: String, in folder: String = GoldenCase.folder) throws -> String {
    let target = scratch + "/" + name.dropLast(3).replacing("/", with: "-")
    guard let packed = gzopen(folder + name, "rb") else {
      throw GoldenProblem("cannot open \(name)")
    }
    defer { gzclose(packed) }
    var (whole, part) = (Data(), [UInt8](repeating: 0, count: 1 << 20))
    while case let count = gzread(packed, &part, UInt32(part.count)), count != 0 {
      guard count > 0 else { throw GoldenProblem("zlib could not unpack \(name)") }
      whole.append(contentsOf: part[..<Int(count)])
    }
    try whole.write(to: URL(fileURLWithPath: target))
    return target
  }
}

/// Arrays that the reference stored; large ones keep every `step`-th row.
///
/// - Source: Tests/Reference/taps.py describes the format.
struct ReferenceTaps {
  struct Array {
    var shape: [Int]
    var step: Int
    var values: [Float]
    var width: Int { shape.last ?? 1 }
    /// Rows that are stored, by their number in the whole array.
    var rows: [Int] { (0..<values.count / width).map { $0 * step } }
    func row(_ index: Int) -> ArraySlice<Float> { values[index * width..<(index + 1) * width] }
  }

  /// In the order in which the reference computed them.
  let names: [String]
  private let arrays: [String: Array]
  subscript(name: String) -> Array? { arrays[name] }

  init(path: String) throws {
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    guard let end = (0..<bytes.count - 1).first(where: { bytes[$0] == 10 && bytes[$0 + 1] == 10 }) else {
      throw GoldenProblem("\(path): no end of the header")
    }
    var names: [String] = []
    var arrays: [String: Array] = [:]
    for line in String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\n").dropFirst() {
      let parts = line.split(separator: " ").map(String.init)
      let count = Int(parts[2])!
      let shape = parts[3..<3 + count].map { Int($0)! }
      let (offset, step) = (end + 2 + Int(parts[3 + count])!, Int(parts[4 + count])!)
      let rows = shape.dropLast().reduce(1, *)
      let stored = (rows + step - 1) / step * shape.last!
      names.append(parts[0])
      arrays[parts[0]] = Array(
        shape: shape, step: step, values: Self.floats(bytes, parts[1], offset: offset, count: stored))
    }
    self.names = names
    self.arrays = arrays
  }

  private static func floats(_ bytes: [UInt8], _ kind: String, offset: Int, count: Int) -> [Float] {
    bytes.withUnsafeBytes { raw in
      (0..<count).map { index in
        switch kind {
        case "u8": Float(raw[offset + index])
        case "i32": Float(raw.loadUnaligned(fromByteOffset: offset + 4 * index, as: Int32.self))
        default: raw.loadUnaligned(fromByteOffset: offset + 4 * index, as: Float.self)
        }
      }
    }
  }
}
