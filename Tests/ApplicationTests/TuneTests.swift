// Searching without labels: which settings are tried, what they earn, and whole searches.
import Application
import Segmentation
import System
import TestSupport
import Testing

@Suite(.serialized) struct TuneTests {
  private let temporaryFiles = TemporaryFiles()

  private func space(
    _ method: MethodName, background: Bool = true, depth: Int = 12, keys: [String]? = nil
  ) throws -> SearchSpace {
    var shape = SearchSpace.Shape()
    (shape.hasBackground, shape.depth) = (background, depth)
    return try SearchSpace(SegmentOptions(method: method), shape, keys: keys)
  }

  @Test func gridsOfTheMethods() throws {
    let pnp = try space(.pnpOVSS)
    #expect(pnp.axes.map(\.key) == ["attention_layer", "attention_head", "map_threshold", "blur"])
    #expect(pnp.count == 12 * 12 * 5 * 5)
    #expect(pnp.axes[2].values == ["0.05", "0.15", "0.25", "0.35", "0.45"])
    #expect(
      try space(.trident).axes.map(\.key) == [
        "probability_threshold", "coarse_threshold", "logit_scale", "cos_factor",
      ])
    #expect(try space(.trident, background: false).axes.count == 3)
    #expect(try space(.scCLIP).axes.map(\.key) == ["probability_threshold", "logit_scale", "area_threshold"])
    // Without a background the scale alone changes no label.
    #expect(try space(.scCLIP, background: false).axes.map(\.key) == ["levels", "class_weight"])
    #expect(try space(.scCLIP, background: false, depth: 6).axes.map(\.key) == ["class_weight"])
    #expect(try space(.scCLIP, background: false, depth: 24).axes[0].values == ["0-0", "5-19", "13-19"])
    var soft = SegmentOptions(method: .scCLIP)
    soft.refinement = .pamr
    #expect(try SearchSpace(soft, SearchSpace.Shape()).axes.map(\.key).first == "logit_scale")
    soft.clipAttention = .neighbour
    #expect(try SearchSpace(soft, SearchSpace.Shape()).axes.map(\.key) == ["logit_scale", "clip_attention"])
    #expect(try space(.radseg).axes.map(\.key) == ["class_gate", "logit_scale"])
    #expect(try space(.trident, keys: ["logit-scale"]).count == 7)
    let other = thrownError(SegmentationError.self) { try self.space(.radseg, keys: ["beta"]) }
    #expect(other?.exitCode == 2 && other?.description.contains("class_gate, logit_scale") == true)
  }

  @Test func pointsAreDrawnOnce() throws {
    for method in MethodName.allCases {
      let (space, start) = (try space(method), SegmentOptions(method: method))
      let trials = try space.trials(start, limit: 34, seed: 7)
      #expect(trials.count == 34 && trials[0] == start)
      #expect(Set(trials.map { $0.json.text(indent: -1) }).count == 34, "\(method)")
      let first = try space.trials(start, limit: 9, seed: 7)
      let others = try space.trials(start, limit: 34, seed: 8)
      #expect(Array(trials.prefix(9)) == first && trials != others)
    }
    let small = try space(.trident, keys: ["cos_factor"])
    let all = try small.trials(SegmentOptions(), limit: 34, seed: 0)
    #expect(all.map(\.cosFactor).sorted() == [0, 1.2, 2, 3])
  }

  @Test func softmaxOfBothForms() {
    // Cosines of the three classes: 0.03 (the better of two phrases), 0.01, 0.
    let text: [Float] = [0.02, 0, 0.03, 0, 0.01, 0, 0, 1]
    let classes = [0, 0, 1, 2]
    let vector: [Float] = [1, 0]
    func probabilities(_ rule: RewardRule, _ shown: [Int]) -> [Double] {
      RewardScale(rule, text: text, phraseClass: classes).probabilities(of: shown, vector[...])
    }
    func near(_ a: Double, _ b: Double) -> Bool { abs(a - b) < 1e-6 }
    // e^3, e^1, e^0 and their sums.
    let (three, one) = (20.085_536_9, 2.718_281_8)
    let all = probabilities(.repaired, [0, 1])
    #expect(near(all[0], three / (three + one + 1)) && near(all[1], one / (three + one + 1)))
    let own = probabilities(.published, [0, 1])
    #expect(near(own[0], three / (three + one)) && near(own[1], one / (three + one)))
    #expect(probabilities(.published, [2]) == [1], "one class is always certain")
  }

  @Test func ordersByWinsThenMargin() {
    #expect(Reward(wins: 1, margin: 9) < Reward(wins: 2, margin: -9))
    #expect(Reward(wins: 2, margin: 1) < Reward(wins: 2, margin: 2))
    #expect(Reward(wins: 1, margin: 1) + Reward(wins: 2, margin: 3) == Reward(wins: 3, margin: 4))
  }

  /// A folder with one scene of the demo.
  private func photos() throws -> (folder: Folder, request: TuneRequest) {
    let folder = Folder()
    try folder.copy(Demo.farm, "photos/farm.jpg")
    let present = try folder.write("present.txt", "farm.jpg: horse, grass\n")
    var request = TuneRequest(
      photos: folder.path + "/photos", present: present, output: folder.path + "/mine.json")
    (request.trials, request.seed) = (3, 1)
    return (folder, request)
  }

  private func tune(
    _ request: TuneRequest, threads: Int = 2, listener: any JobListener = SilentListener()
  ) throws -> TuneReport {
    var runtime = RuntimeOptions()
    runtime.threads = threads
    let session = try Session(modelPath: Demo.model, runtime: runtime)
    var source = ClassSource()
    (source.phrases, source.usesCache, source.background) = (["horse", "grass", "cat"], false, true)
    return try TuneJob(
      session, judge: nil, source, Demo.fast, base: nil, request, listener: listener
    ).run()
  }

  @Test func findsASettingAndGoesOn() throws {
    let (folder, request) = try photos()
    let report = try tune(request)
    #expect(report.trials.count == 3 && report.classCount == 2)
    #expect(report.rewards.allSatisfy { (0...2).contains($0.wins) })
    let text = try readText(request.output)
    let preset = try PresetFile(path: request.output)
    let found = try preset.options(.trident, depth: 12)
    #expect(found == report.trials[report.best])
    for key in ["photos_sha256", "model_id", "seed", "version", "reward", "trials"] {
      #expect(preset.provenance?.member(key) != nil, "\(key)")
    }
    // What is done is not done again; half a line is.
    let notebook = Notebook()
    _ = try tune(request, listener: notebook)
    #expect(notebook.lines.contains("1 of 1 photos are done already"))
    #expect(try readText(request.output) == text)
    let journal = try readText(request.output + ".journal")
    try folder.write("mine.json.journal", String(journal.dropLast(3)))
    try folder.write("mine.json", "")
    _ = try tune(request, threads: 1)
    #expect(try readText(request.output) == text, "threads change nothing")
    #expect(try readText(request.output + ".journal") == journal)
    // Another search keeps off.
    var other = request
    other.seed = 2
    let kept = thrownError(SegmentationError.self) { try self.tune(other) }
    #expect(kept?.exitCode == 2 && kept?.description.contains("--overwrite") == true)
    #expect(try readText(request.output) == text)
  }

  @Test func refusesBeforeAnyWork() throws {
    let (folder, request) = try photos()
    func refusal(_ change: (inout TuneRequest) throws -> Void) rethrows -> SegmentationError? {
      var changed = request
      try change(&changed)
      return thrownError(SegmentationError.self) { try self.tune(changed) }
    }
    #expect(refusal { $0.trials = 1 }?.exitCode == 2)
    #expect(refusal { $0.limit = 0 }?.exitCode == 2)
    #expect(refusal { $0.keys = ["beta"] }?.exitCode == 2)
    #expect(refusal { $0.photos = folder.path + "/none" }?.exitCode == 3)
    #expect(try refusal { $0.present = try folder.write("p.txt", "barn.jpg: horse\n") }?.exitCode == 2)
    #expect(try refusal { $0.output = try folder.write("notes.json", "{\"a\": 1}") }?.exitCode == 2)
    #expect(try readText(folder.path + "/notes.json") == "{\"a\": 1}")
  }
}
