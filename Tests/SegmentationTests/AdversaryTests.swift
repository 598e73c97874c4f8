// What an adversary who knows the format would try: each file has the layout and checksums of a good one.
// Every reservation of scratch memory lies between guard pages, so that one element too far ends the process.
//
// Short here, long by hand: TRIDENT_ADVERSARY=N repeats N times as much (`make adversary`). TRIDENT_SEED=S
// begins with another seed; what was tried last is the last line that was printed with TRIDENT_ADVERSARY.
import Compute
import Container
import Segmentation
import System
import TestSupport
import Testing

/// One edited file, its photo and options.
struct Attack {
  var random: SeededRandom
  let path: String
  private static let words = ["cat", "a dog", "grass", "sky"]

  init(seed: UInt64, _ scratch: Scratch) {
    random = SeededRandom(seed: seed)
    path = scratch.file("attack.gguf")
  }

  mutating func below(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
  mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }

  /// How a run of the file ended.
  enum End: Equatable {
    case labels
    case refused(String)
    case finding(String)
  }

  /// Options that such a model can work with, as far as patches and depth go.
  mutating func options(_ method: MethodName, _ config: ModelConfig) -> SegmentOptions {
    var options = SegmentOptions(method: method)
    if method == .pnpOVSS, let blip = config.blip, let bert = config.bert {
      options.shortSide = blip.patch * (16 / blip.patch + 1 + below(4))
      options.attentionLayer = 1 + below(max(1, bert.blocks.depth))
      options.attentionHead = 1 + below(max(1, bert.blocks.heads))
      (options.rounds, options.blankedPatches) = (1 + below(3), 1 + below(2))
      options.presence = pick(PresenceChoice.allCases)
      options.blur = pick([0, 0.05, 0.2])
      options.refinement = pick([.pamr, .crf, .none])
      return options
    }
    let patches = [
      config.clip?.patch, method == .trident ? config.dino?.patch : nil, config.radio?.vision.patch,
    ]
    var common = 1
    for patch in patches.compactMap({ $0 }) where common % patch != 0 {
      common = (1...patch).map { common * $0 }.first { $0 % patch == 0 } ?? common
    }
    options.window = roundUp(16 + below(32), to: common)
    if let vision = config.radio?.vision, vision.positions == .ofWindow {
      options.window = max(1, vision.grid) * max(1, vision.patch)
    }
    let step = patches.compactMap { $0 }.first ?? 1
    options.stride = max(step * (1 + below(options.window / step)), roundUp(options.window / 3, to: step))
    options.shortSide = options.window + below(40)
    options.minimalArea = pick([1, 20, 225])
    options.iouThreshold = pick([-1, -1, 0.2, 0.8])
    options.coarseThreshold = pick([0, 0.2])
    options.probabilityThreshold = method == .radseg ? 0 : pick([0, 0.3])
    let all: [RefinementChoice] =
      method == .trident ? [.sam, .sam, .sam, .pamr, .crf, .none] : [.pamr, .crf, .none]
    options.refinement = pick(all)
    if method == .trident {
      options.paradigm = pick([Paradigm.splice, .splice, .window])
      options.usesDINO = below(4) > 0
      options.affinity = pick(AffinityChoice.allCases)
    }
    if method == .scCLIP, let depth = config.clip?.vision.depth, depth > 1 {
      options.lowBlock = 1 + below(depth - 1)
      options.midBlock = 1 + below(depth - 1)
      options.levels = BlockRange(1, depth - 1)
      options.classWeight = 0.3
    }
    if [.trident, .scCLIP].contains(method), below(3) == 0 { changeLastBlock(&options, config) }
    return options
  }

  /// Another attention in CLIP's last block, and its class token.
  private mutating func changeLastBlock(_ options: inout SegmentOptions, _ config: ModelConfig) {
    options.clipAttention = pick(CLIPAttention.allCases)
    if options.clipAttention != .published { options.usesDINO = true }
    let depth = max(2, config.clip?.vision.depth ?? 2)
    let first = 1 + below(depth - 1)
    options.globalBlocks = BlockRange(first, first + below(depth - first))
    if config.clip?.hasLastMLP == true { options.classMix = pick([0, 0.2, 1]) }
    if options.method == .scCLIP { options.classMixOf = pick(ClassMixScope.allCases) }
  }

  /// Opens and runs the file as `segment` does.
  mutating func run(_ method: MethodName) -> End {
    var runtime = RuntimeOptions()
    runtime.guardsArena = true
    runtime.threads = 1 + below(3)
    runtime.cpuPath = pick(CPUPath.all.filter { $0.isBuilt && $0.isSupported }).name
    let photo = DrawnPhoto(1 + below(60), 1 + below(60))
    do {
      let session = try Session(modelPath: path, runtime: runtime)
      let options = options(method, session.model.config)
      let wording: Wording
      if session.model.config.text != nil {
        wording = try GoldenRun.prompts(session, Self.words)
      } else if session.model.config.bert != nil {
        wording = Wording(source: .unused, phraseClass: Array(Self.words.indices), phrases: Self.words)
      } else {
        var vectors = [Float](repeating: 0, count: Self.words.count * session.embedWidth)
        for index in Self.words.indices {
          vectors[index * session.embedWidth + index % session.embedWidth] = 1
        }
        wording = Wording(source: .vectors(vectors), phraseClass: Array(Self.words.indices))
      }
      let plan = try session.plan(photo, wording, options, scores: true)
      let work = plan.stages.reduce(Work()) { $0 + $1.work }
      // Hundreds of windows of patches of a pixel: minutes in plain C under a sanitizer.
      if work.linear + 2 * work.attention > 5e9 { return .refused("too much work to try: \(work)") }
      let result = try GoldenRun.run(session, photo, wording, options, plan: plan)
      let isWhole = result.labels.count == photo.width * photo.height
      if !isWhole || result.labels.contains(where: { $0 >= Self.words.count }) {
        return .finding("labels of no class")
      }
      return result.scores.allSatisfy(\.isFinite) ? .labels : .finding("scores that are no numbers")
    } catch let error as SegmentationError {
      // Options that the method does not have would leave the file untried.
      let isOurs = "\(error)".contains("means nothing to")
      return [2, 3, 4, 5].contains(error.exitCode) && !isOurs ? .refused("\(error)") : .finding("\(error)")
    } catch {
      return .finding("\(type(of: error)): \(error)")
    }
  }
}

@Suite("Adversary", .serialized)
struct AdversaryTests {
  private static let factor = environment("TRIDENT_ADVERSARY").flatMap { Int($0) }
  private static let seed = environment("TRIDENT_SEED").flatMap { UInt64($0) } ?? 1
  private let scratch = Scratch()

  /// Runs attacks one after another; returns how many files were run to the end.
  private func repeated(
    _ count: Int, _ what: String, _ attack: (inout Attack) throws -> (name: String, end: Attack.End)
  ) rethrows -> Int {
    let count = Effort.isEmulated ? min(count, 4) : count * (Self.factor ?? 1)
    var ends = (labels: 0, refused: 0)
    for index in 0..<count {
      let seed = Self.seed &* 1_000_003 &+ UInt64(index)
      var one = Attack(seed: seed, scratch)
      if Self.factor != nil { print("\(what) \(index)") }
      let (name, end) = try attack(&one)
      switch end {
      case .labels: ends.labels += 1
      case .refused(let why):
        ends.refused += 1
        if Self.factor != nil { print("  \(name): \(why)") }
      case .finding(let text): Issue.record("\(what) \(index), seed \(seed), \(name): \(text)")
      }
    }
    print("adversary: \(what): \(count) files, \(ends.labels) ran, \(ends.refused) refused")
    return ends.labels
  }

  /// Model files, and the method that each is run by.
  private static func models() throws -> [(path: String, method: MethodName)] {
    let cases = try ["toy-b", "toy-h", "toy-dino8"].map { try GoldenCase($0).model() }
    return cases.map { ($0, .trident) } + cases.prefix(1).map { ($0, .scCLIP) }
      + [(try BLIPToy.model(), .pnpOVSS), (try RADSegCase("square").model(), .radseg)]
  }

  /// Bytes of one hostile element of a type.
  private func hostile(_ type: GGUFType, _ attack: inout Attack) -> [UInt8] {
    switch type {
    case .i8: return attack.pick([[0x80], [0x7F], [0x81], [0]])
    case .f16: return attack.pick([[0, 0x7E], [0, 0x7C], [0, 0xFC], [0xFF, 0x7B], [1, 0]])
    case .i32:
      let value = attack.pick([Int32.min, .max, -1, 0, 1 << 24])
      return withUnsafeBytes(of: value.littleEndian) { Array($0) }
    default:
      let value = attack.pick([
        Float.nan, .infinity, -.infinity, 1e30, -1e30, 3e38, Float(bitPattern: 1), 0, -0.0, 1e12,
        -.greatestFiniteMagnitude,
      ])
      return withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
    }
  }

  /// NaN, infinite, huge and least values in tensors of every kind, whole or one element.
  @Test func hostileValues() throws {
    let models = try Self.models()
    let editors = try models.map { try ModelEditor($0.path) }
    _ = try repeated(48, "value") { attack in
      let which = attack.below(editors.count)
      var editor = editors[which]
      for _ in 0...attack.below(2) {
        let index = attack.below(editor.tensors.count)
        let element = hostile(editor.tensors[index].declaration.type, &attack)
        let count = editor.tensors[index].bytes.count / element.count
        editor.fill(index, with: element, at: attack.below(2) == 0 ? nil : attack.below(count))
      }
      try editor.write(to: attack.path, identity: String(repeating: "a", count: 64))
      return ("model \(which)", attack.run(models[which].method))
    }
  }

  /// Keys with other numbers, tensors with other shapes, types and names, some missing, some twice.
  @Test func edits() throws {
    let models = try Self.models()
    let editors = try models.map { try ModelEditor($0.path) }
    _ = repeated(60, "edit") { attack in
      let which = attack.below(editors.count)
      var editor = editors[which]
      let name = edit(&editor, &attack)
      guard let bytes = try? editor.encoded(identity: String(repeating: "b", count: 64)) else {
        return (name, .refused("cannot be written"))
      }
      writeBytes(bytes, to: attack.path)
      return (name, attack.run(models[which].method))
    }
  }

  private func edit(_ editor: inout ModelEditor, _ attack: inout Attack) -> String {
    if attack.below(2) == 0 {
      let index = attack.below(editor.values.count)
      let number = attack.pick([0, 1, 2, 3, 7, 16, 65, 1024, 4096, 65_536, 1 << 24, 1 << 31, UInt32.max])
      editor.values[index].value = attack.pick([
        .uint32(number), .uint32(number), .uint32(number), .string("x"), .uint64(.max), .float32(.nan),
        .float32(0.5), .uint32s([number]), .int32(-1), .strings(["a b", "a b", "\u{0} \u{1}"]),
      ])
      return "\(editor.values[index].key) = \(editor.values[index].value)"
    }
    let index = attack.below(editor.tensors.count)
    let (old, bytes) = editor.tensors[index]
    switch attack.below(4) {
    case 0:
      editor.tensors.remove(at: index)
    case 1:
      editor.tensors.insert(editor.tensors[index], at: index)
    case 2:
      let width = attack.pick([1, 16, 64, 1024, 65_536])
      var dimensions = old.dimensions
      dimensions[attack.below(dimensions.count)] = width
      let fresh = TensorDeclaration(name: old.name, type: old.type, dimensions: dimensions)
      let count = min((try? fresh.byteCount()) ?? 1, 1 << 24)
      editor.tensors[index] = (fresh, Array((bytes + [UInt8](repeating: 1, count: count)).prefix(count)))
    default:
      let name = attack.pick([old.name + "x", "", editor.tensors[0].declaration.name])
      editor.tensors[index] = (
        TensorDeclaration(name: name, type: old.type, dimensions: old.dimensions), bytes
      )
    }
    return "\(old.name), \(index)"
  }

  /// Files that contradict themselves nowhere: random sizes, and the tensors that the schemas want for them.
  @Test func consistentConfigurations() throws {
    let ran = try repeated(24, "configuration") { attack in
      let method = attack.pick([MethodName.trident, .trident, .scCLIP, .radseg, .pnpOVSS])
      let (editor, config) = RandomModel(&attack, method).made
      try editor.write(to: attack.path, identity: String(repeating: "c", count: 64))
      return (RandomModel.sizes(config), attack.run(method))
    }
    #expect(ran * 2 > 24 * (Self.factor ?? 1) || Effort.isEmulated, "most configurations are refused")
  }

  /// The same bits as in one block: nothing reads what it never wrote.
  @Test(arguments: Effort.isEmulated ? ["toy-b"] : ["toy-b", "toy-h", "toy-l", "toy-dino8", "toy-b-window"])
  func guardedReservationsChangeNothing(_ name: String) throws {
    let golden = try GoldenCase(name)
    var runs: [GoldenRun] = []
    for isGuarded in [false, true] {
      var runtime = RuntimeOptions()
      runtime.threads = 2
      runtime.guardsArena = isGuarded
      let session = try Session(modelPath: try golden.model(), runtime: runtime)
      let wording = try GoldenRun.prompts(session, golden.classLines)
      runs.append(
        try GoldenRun.run(session, PhotoFile(path: golden.photoPath), wording, golden.options(.int8)))
    }
    #expect(runs[0].labels == runs[1].labels)
    #expect(runs[0].scores.map(\.bitPattern) == runs[1].scores.map(\.bitPattern))
  }
}
