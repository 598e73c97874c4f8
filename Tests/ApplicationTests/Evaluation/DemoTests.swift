import Application
// The demo models end to end: stored labels of the shipped scenes on every CPU path, and float32 beside INT8.
import Compute
import Foundation
import Raster
import Segmentation
import TestSupport
import Testing

// Each test uses all cores.
@Suite(.serialized) struct DemoTests {
  // Where a processor is emulated, its best path on one scene: its other paths are the best ones of other
  // processors.
  static let scenes = Effort.isEmulated ? ["farm"] : ["beach", "farm", "music", "street", "table", "winter"]
  static let paths = CPUPath.all.filter(\.isSupported).map(\.name).suffix(Effort.isEmulated ? 1 : .max)
  private static let model = repository + "/models/demo/demo.gguf"

  /// Labels of a scene: [height * width].
  private func labels(_ scenes: [String], path: String?, _ precision: PrecisionChoice) throws -> [[UInt16]] {
    var runtime = RuntimeOptions()
    runtime.cpuPath = path
    let session = try Session(modelPath: Self.model, runtime: runtime)
    var options = SegmentOptions()
    options.precision = precision
    let classes = try ClassList(path: repository + "/models/demo/scenes/classes.txt", background: false)
    // The scalar path is slow; its text vectors are those of the others.
    let writer = path == "scalar" ? try Session(modelPath: Self.model, runtime: RuntimeOptions()) : session
    let source = PromptSource(phrases: classes.phrases, tokenizer: try session.makeTokenizer())
    let text = try writer.encodeText(
      source, precision, plan: writer.planText(source, precision), measures: false)
    let wording = Wording(source: .vectors(text.vectors), phraseClass: classes.classIndex.map { Int($0) })
    return try labels(scenes, session, wording, options)
  }

  /// Labels of a scene by RADSeg's network, the vocabulary's 84 words at once.
  private func radsegLabels(
    _ scenes: [String], path: String?, _ precision: PrecisionChoice
  ) throws -> [[UInt16]] {
    var runtime = RuntimeOptions()
    runtime.cpuPath = path
    let session = try Session(modelPath: repository + "/models/demo/radseg.gguf", runtime: runtime)
    var options = SegmentOptions(method: .radseg)
    options.precision = precision
    let words = try VocabularyFile.read(path: repository + "/models/demo/words.tvoc")
    try words.check(modelID: session.textIdentity, width: session.embedWidth)
    let wording = Wording(
      source: .vectors(words.vectors), phraseClass: words.classes.classIndex.map { Int($0) })
    return try labels(scenes, session, wording, options)
  }

  /// Labels of a scene by PnP-OVSS's network with the options of its preset; it is told what the scene shows.
  private func pnpLabels(
    _ scenes: [String], path: String?, _ precision: PrecisionChoice
  ) throws -> [[UInt16]] {
    var runtime = RuntimeOptions()
    runtime.cpuPath = path
    let (demo, folder) = (repository + "/models/demo/", repository + "/models/demo/scenes/")
    let session = try Session(modelPath: demo + "blip.gguf", runtime: runtime)
    var options = try PresetFile(path: demo + "blip.json").options(.pnpOVSS, depth: 0)
    options.precision = precision
    let classes = try ClassList(path: folder + "classes.txt", background: false)
    let lists = try String(contentsOfFile: folder + "present.txt", encoding: .utf8).split(separator: "\n")
    return try scenes.flatMap { scene in
      let list = try #require(lists.first { $0.hasPrefix(scene + ".jpg: ") })
      let shown = list.dropFirst(scene.count + 6).split(separator: ",").map { $0.drop { $0 == " " } }
      let present = try shown.map { name in try #require(classes.names.firstIndex(of: String(name))) }
      let wording = Wording(
        source: .unused, phraseClass: classes.classIndex.map { Int($0) }, background: false,
        phrases: classes.phrases, present: present.sorted())
      return try labels([scene], session, wording, options)
    }
  }

  private func labels(
    _ scenes: [String], _ session: Session, _ wording: Wording, _ options: SegmentOptions
  ) throws -> [[UInt16]] {
    try scenes.map { scene in
      let photo = try PhotoFile(path: repository + "/models/demo/scenes/images/\(scene).jpg")
      var labels: [UInt16] = []
      let sinks = RunSinks { _, row in
        labels.append(contentsOf: UnsafeBufferPointer(start: row, count: photo.width))
        return true
      }
      let plan = try session.plan(photo, wording, options)
      _ = try session.run(photo, wording, options, plan: plan, measures: false, sinks)
      return labels
    }
  }

  /// Made by Scripts/store-labels.sh.
  private func stored(_ scene: String) throws -> [UInt16] {
    let decoder = try NumberDecoder(path: repository + "/Tests/Fixtures/scene-labels/\(scene).png")
    var row = [UInt16](repeating: 0, count: decoder.width)
    var labels: [UInt16] = []
    for _ in 0..<decoder.height {
      try decoder.readRow(into: &row)
      labels += row
    }
    return labels
  }

  private func expectStored(_ found: [[UInt16]], _ scenes: [String], in folder: String = "", on path: String)
    throws
  {
    for (scene, found) in zip(scenes, found) {
      let wanted = try stored(folder + scene)
      #expect(found.count == wanted.count)
      let different = zip(found, wanted).count { $0 != $1 }
      #expect(different == 0, "\(scene) on \(path); if meant, run Scripts/store-labels.sh")
    }
  }

  /// Float32 agrees with the stored INT8 labels but for borders and doubtful regions.
  private func expectAlike(
    _ found: [[UInt16]], _ scenes: [String], in folder: String = "", above least: Double
  ) throws {
    for (scene, found) in zip(scenes, found) {
      let wanted = try stored(folder + scene)
      let same = Double(zip(found, wanted).count { $0 == $1 }) / Double(wanted.count)
      #expect(same > least, "\(scene): \(same)")
    }
  }

  /// Kernels without vectors are slow; where every access is checked one photo a path is enough.
  private static func scenes(on path: String) -> [String] {
    path == "scalar" || Effort.isSanitized ? ["farm"] : scenes
  }
  private static let floatScenes = Effort.isSanitized ? ["farm"] : ["farm", "winter"]

  @Test(arguments: paths) func storedLabels(_ path: String) throws {
    let scenes = Self.scenes(on: path)
    try expectStored(labels(scenes, path: path, .int8), scenes, on: path)
  }

  @Test(arguments: paths) func storedRADSegLabels(_ path: String) throws {
    let scenes = Self.scenes(on: path)
    try expectStored(radsegLabels(scenes, path: path, .int8), scenes, in: "radseg/", on: path)
  }

  @Test(arguments: paths) func storedPnPLabels(_ path: String) throws {
    let scenes = Self.scenes(on: path)
    try expectStored(pnpLabels(scenes, path: path, .int8), scenes, in: "pnp/", on: path)
  }

  // The golden cases run float32 under emulation; there these would take minutes of OpenBLAS.
  @Test(.needsOpenBLAS, .disabled(if: Effort.isEmulated, "minutes of OpenBLAS under emulation"))
  func float32Labels() throws {
    let scenes = Self.floatScenes
    try expectAlike(labels(scenes, path: nil, .float32), scenes, above: 0.998)
  }

  @Test(.needsOpenBLAS, .disabled(if: Effort.isEmulated, "minutes of OpenBLAS under emulation"))
  func float32RADSegLabels() throws {
    let scenes = Self.floatScenes
    try expectAlike(radsegLabels(scenes, path: nil, .float32), scenes, in: "radseg/", above: 0.99)
  }

  @Test(.needsOpenBLAS, .disabled(if: Effort.isEmulated, "minutes of OpenBLAS under emulation"))
  func float32PnPLabels() throws {
    let scenes = Self.floatScenes
    try expectAlike(pnpLabels(scenes, path: nil, .float32), scenes, in: "pnp/", above: 0.98)
  }
}
