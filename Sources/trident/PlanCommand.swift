// `trident plan`: what a photo will take, before any work.
import ArgumentParser
import Compute
import Segmentation

struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Memory by stage and estimated time, before any work.",
    discussion: """
      Examples:
        trident plan -m demo.gguf --size 4000x3000 --classes 21
        trident plan -m demo.gguf --photo photo.jpg --class cat --memory-limit 40M
        trident plan -m demo.gguf --smallest

      --classes takes a file, or a number of classes. The plan is made by the code that \
      reserves the memory.
      """)

  @OptionGroup(title: "Model and machine") var runtimeFlags: RuntimeFlags
  @OptionGroup(title: "Classes") var classFlags: ClassFlags
  @OptionGroup(title: "Method") var methodFlags: MethodFlags
  @Option(help: "Photo to plan for.", completion: .file())
  var photo: String?
  @Option(help: "Or its size: WxH (448x448).")
  var size: String?
  @Flag(help: "Room for --overlay as well.")
  var overlay = false
  @Flag(help: "Find the smallest limit instead.")
  var smallest = false
  @Flag(help: "One JSON object on standard output.")
  var json = false

  func run() throws {
    let session = try runtimeFlags.open()
    let pixels = try photoPixels()
    let words = try planWords(session)
    let options = methodFlags.options()
    let limit = smallest ? MemoryLimit.smallest : .ofRuntime
    let side = overlay ? OverlayWriter.sideLimit : nil
    var plan = try session.plan(pixels, words.planned, options, previewSide: side, within: limit)
    let text = try words.planText(session, options.precision, within: limit)
    let speed = try session.speed(threads: plan.threads, options.precision, seconds: 0.2)
    if let text { plan.precede(with: text) }
    let description = PlanDescription(
      plan: plan, text: text, width: pixels.width, height: pixels.height, classCount: words.names.count,
      limit: smallest ? nil : session.runtime.memoryLimit, speed: speed)
    if json {
      print(description.json.text())
    } else if smallest {
      print(
        "smallest limit: \(mebibytes(plan.peak)) MiB (--memory-limit \(ceilDivide(plan.peak, by: 1 << 20))M), "
          + "set by \(plan.peakStage), with \(plan.threads) thread(s)")
    } else {
      print(description.table)
    }
  }

  private func photoPixels() throws -> PhotoPixels {
    if let photo {
      guard size == nil else { throw SegmentationError(.usage("give either --photo or --size, not both")) }
      return try PhotoFile(path: photo)
    }
    let sides = (size ?? "448x448").lowercased().split(separator: "x").compactMap { Int($0) }
    guard sides.count == 2, sides.allSatisfy({ (1...100_000).contains($0) }) else {
      throw SegmentationError(.usage("--size is '\(size ?? "")', not WxH in pixels, each 1 to 100000"))
    }
    return PhotoSize(width: sides[0], height: sides[1])
  }

  private func planWords(_ session: Session) throws -> Words {
    if let file = classFlags.file, !fileExists(file), let count = Int(file) {
      guard (1...ClassList.classLimit).contains(count) else {
        throw SegmentationError(.usage("--classes \(count) is outside 1...\(ClassList.classLimit)"))
      }
      return try Words(count: count)
    }
    if classFlags.isEmpty && methodFlags.preset == nil { return try Words(count: 21) }
    return try Words(classFlags, preset: methodFlags.preset, session: session)
  }
}

/// A plan in words and in JSON.
struct PlanDescription {
  let plan: MemoryPlan
  let text: MemoryPlan?
  let width: Int
  let height: Int
  let classCount: Int
  let limit: Int?
  let speed: MachineSpeed

  private func seconds(_ stage: StageEntry) -> Double { speed.seconds(stage.work) }
  private var seconds: Double { plan.stages.reduce(0) { $0 + seconds($1) } }

  /// Columns in MiB.
  var table: String {
    var lines = ["\(width) x \(height), \(classCount) classes, \(plan.threads) thread(s); MiB"]
    lines.append(
      Self.row(["stage", "arena", "image", "fixed", "private", "weights read", "hot", "seconds"]))
    for stage in plan.stages {
      lines.append(
        Self.row([
          stage.name, mebibytes(stage.arenaByteCount), mebibytes(stage.imageByteCount),
          mebibytes(plan.fixedByteCount), mebibytes(plan.anonymous(stage)), mebibytes(stage.weightByteCount),
          mebibytes(stage.hotWeightByteCount), fixed(seconds(stage), 2),
        ]))
    }
    lines.append("peak \(mebibytes(plan.peak)) MiB private, set by \(plan.peakStage)"
      + (limit.map { "; limit \(mebibytes($0)) MiB" } ?? ""))
    lines.append(
      "about \(fixed(seconds, 1)) s, from one block timed just now: \(fixed(speed.linear / 1e9, 0)) GMAC/s, in attention "
        + "\(fixed(speed.attention / 1e9, 0)), in float \(fixed(speed.float / 1e9, 0))")
    let words = text.map { "; text \($0.tiling.textRows) rows, \($0.threads) thread(s)" } ?? ""
    lines.append("tiles: \(Self.tiles(plan.tiling))" + words)
    lines.append(
      "Private memory is what a limit counts. Weights are mapped from the file: the system drops them as it likes."
    )
    return lines.joined(separator: "\n")
  }

  private static func tiles(_ tiling: Tiling) -> String {
    "\(tiling.rows) rows, strips of \(tiling.strip), \(tiling.windows) window(s) a pass"
  }

  private static func row(_ cells: [String]) -> String {
    cells.enumerated().map { padded($1, $0 == 5 ? 13 : 8, right: $0 > 0) }.joined(separator: " ")
  }

  var json: JSON {
    .object([
      ("width", .int(width)), ("height", .int(height)), ("classes", .int(classCount)),
      ("threads", .int(plan.threads)),
      (
        "tiling",
        .object([
          ("rows", .int(plan.tiling.rows)), ("strip", .int(plan.tiling.strip)),
          ("windows", .int(plan.tiling.windows)),
          ("text_rows", .int(text?.tiling.textRows ?? plan.tiling.textRows)),
        ])
      ),
      ("peak_bytes", .int(plan.peak)), ("peak_stage", .string(plan.peakStage)),
      ("limit_bytes", limit.map { .int($0) } ?? .null), ("fixed_bytes", .int(plan.fixedByteCount)),
      ("hot_weight_bytes", .int(plan.hotWeightByteCount)), ("seconds", .number(seconds)),
      ("macs_per_second", .number(speed.linear)), ("attention_macs_per_second", .number(speed.attention)),
      ("float_macs_per_second", .number(speed.float)),
      (
        "stages",
        .array(
          plan.stages.map { stage in
            .object([
              ("name", .string(stage.name)), ("arena_bytes", .int(stage.arenaByteCount)),
              ("image_bytes", .int(stage.imageByteCount)), ("private_bytes", .int(plan.anonymous(stage))),
              ("weight_bytes", .int(stage.weightByteCount)),
              ("hot_weight_bytes", .int(stage.hotWeightByteCount)),
              ("seconds", .number(seconds(stage))),
            ])
          })
      ),
    ])
  }
}
