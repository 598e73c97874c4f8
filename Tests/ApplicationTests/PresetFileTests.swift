// Preset files: what they set, what they say, what is refused.
import Application
import Segmentation
import System
import TestSupport
import Testing
import trident

@Suite("preset files")
struct PresetFileTests {
  private func preset(_ text: String) throws -> PresetFile { try PresetFile(Array(text.utf8)) }

  @Test func setsOptionsOverItsMethod() throws {
    let file = try preset(
      #"{"trident_preset": 1, "method": "sc-clip", "base": "voc21", "options": "#
        + #"{"logit-scale": 45, "probability_threshold": "0.2", "refine": "pamr"}}"#)
    var wanted = SegmentOptions(preset: .voc21, method: .scCLIP)
    (wanted.logitScale, wanted.probabilityThreshold, wanted.refinement) = (45, 0.2, .pamr)
    let options = try file.options(.trident, depth: 12)
    #expect(options == wanted)
    #expect(file.base == .voc21 && file.provenance == nil && file.digest.count == 64)
  }

  @Test func whatIsWrittenReadsBack() throws {
    for method in MethodName.allCases {
      var options = SegmentOptions(method: method)
      options.precision = .float32
      options.logitScale = 33.5
      let provenance = JSON.object([("tool", .string("a \"test\"")), ("seed", .int(3))])
      let made = PresetFile(of: options, over: nil, depth: 12, provenance: provenance)
      let read = try preset(made.text)
      let again = try read.options(.trident, depth: 12)
      #expect(again == options, "\(method)")
      #expect(read.text == made.text)
      #expect(read.remark.contains("seed 3"))
      #expect(made.options.map(\.key).sorted() == ["logit_scale", "precision"])
    }
    let published = PresetFile(of: SegmentOptions(preset: .ade), over: .ade, depth: 12)
    #expect(published.options.isEmpty)
    let same = try preset(published.text).options(.radseg, depth: 12)
    #expect(same == SegmentOptions(preset: .ade))
  }

  static let mistakes: [(text: String, problem: String)] = [
    ("", "is no JSON"), ("[", "is no JSON"), ("[1]", "is no preset"), ("{}", "is no preset"),
    (#"{"trident_preset": 2}"#, "is no preset"), (#"{"trident_preset": 1.5}"#, "is no preset"),
    (#"{"trident_preset": 1, "trident_preset": 1}"#, "is no JSON"),
    (#"{"trident_preset": 1, "option": {}}"#, "option: there is no such member"),
    (#"{"trident_preset": 1, "options": []}"#, "options: takes an object"),
    (#"{"trident_preset": 1, "method": "clip"}"#, "method: takes one of trident, radseg"),
    (#"{"trident_preset": 1, "method": 1}"#, "method: takes one of"),
    (#"{"trident_preset": 1, "base": "voc22"}"#, "base: takes one of voc21"),
    (#"{"trident_preset": 1, "provenance": "me"}"#, "provenance: takes an object"),
    (#"{"trident_preset": 1, "options": {"bta": 1}}"#, "options.bta: there is no such option"),
    (#"{"trident_preset": 1, "options": {"method": "radseg"}}"#, "options.method: there is no such"),
    (#"{"trident_preset": 1, "options": {"beta": null}}"#, "options.beta: takes a string"),
    (#"{"trident_preset": 1, "options": {"beta": [1]}}"#, "options.beta: takes a string"),
    (#"{"trident_preset": 1, "options": {"beta": "much"}}"#, "options.beta: --beta takes"),
    (#"{"trident_preset": 1, "options": {"beta": 1e9}}"#, "options.beta: --beta"),
    (#"{"trident_preset": 1, "options": {"window": 1.5}}"#, "options.window: --window takes"),
    (#"{"trident_preset": 1, "options": {"beta": 1, "b\u0065ta": 2}}"#, "is no JSON"),
    (#"{"trident_preset": 1, "options": {"low_block": 1, "low-block": 2}}"#, "options.low-block: stands"),
    (#"{"trident_preset": 1, "method": "sc-clip", "options": {"beta": 1}}"#, "options.beta: --beta means"),
  ]

  @Test(arguments: mistakes)
  func refuses(_ mistake: (text: String, problem: String)) {
    let error = thrownError(SegmentationError.self) { try self.preset(mistake.text) }
    #expect(error?.exitCode == 2, "\(mistake.text)")
    #expect(
      error?.description.hasPrefix(mistake.problem) == true,
      "\(mistake.text): \(error?.description ?? "nothing")")
  }

  @Test func sizesAreBounded() throws {
    let folder = Folder()
    let long = String(repeating: "x", count: 300 << 10)
    let path = try folder.write("long.json", #"{"trident_preset": 1, "method": "\#(long)"}"#)
    let error = thrownError(SegmentationError.self) { try PresetFile(path: path) }
    #expect(error?.path == path && error?.exitCode == 2)
    let many = String(repeating: "x", count: 17 << 10)
    let large = thrownError(SegmentationError.self) {
      try self.preset(#"{"trident_preset": 1, "provenance": {"a": "\#(many)"}}"#)
    }
    #expect(large?.description.contains("at most 16384 are kept") == true)
    let deep = String(repeating: "[", count: 100_000)
    let lost = thrownError(SegmentationError.self) {
      try self.preset(#"{"trident_preset": 1, "provenance": \#(deep)"#)
    }
    #expect(lost?.exitCode == 2)
  }

  /// Any damage of a file is an error or another preset, never a trap.
  @Test func damagedFilesAreRefused() throws {
    let whole = PresetFile(
      of: SegmentOptions(preset: .city), over: nil, depth: 12, provenance: .object([("a", .string("é"))]))
    let bytes = Array(whole.text.utf8)
    for count in 0..<bytes.count - 2 {
      let error = thrownError(SegmentationError.self) { try PresetFile(Array(bytes.prefix(count))) }
      #expect(error?.exitCode == 2, "\(count)")
    }
    for index in bytes.indices {
      var other = bytes
      other[index] ^= 1 << UInt8(index % 8)
      _ = try? PresetFile(other).options(.trident, depth: 12)
    }
  }

  @Test func flagsComeAfterTheFile() throws {
    let folder = Folder()
    let path = try folder.write(
      "mine.json", #"{"trident_preset": 1, "method": "trident", "options": {"logit_scale": 45, "gamma": 4}}"#)
    let options = try MethodFlags.parse(["--preset", path, "--gamma", "5"]).options(.scCLIP)
    var wanted = SegmentOptions()
    (wanted.logitScale, wanted.gamma) = (45, 5)
    #expect(options == wanted)
    let other = try MethodFlags.parse(["--preset", path, "--method", "radseg"])
    let conflict = thrownError(SegmentationError.self) { try other.options(.trident) }
    #expect(conflict?.description == "\(path): is for method trident; leave out --method radseg")
    let none = try MethodFlags.parse(["--preset", folder.path + "/none.json"])
    let missing = thrownError(SegmentationError.self) { try none.options(.trident) }
    #expect(missing?.exitCode == 2 && missing?.description.contains("presets: voc21") == true)
  }
}
