// Which settings `trident tune` tries: a grid of option values a method, and some points of it by chance.
import Segmentation
import System

/// Values of some options.
package struct SearchSpace: Sendable {
  package struct Axis: Sendable {
    package let key: String
    /// As `SegmentOptions.set` takes them.
    package let values: [String]
  }

  package let axes: [Axis]

  /// What networks look like that a method's axes depend on.
  package struct Shape: Sendable {
    /// Of BLIP's text tower.
    package var layers = 12
    package var heads = 12
    /// Of CLIP's photo side, blocks.
    package var depth = 12
    package var hasBackground = false
    /// The blur of PnP-OVSS's masks is looked at.
    package var looksAtBlur = true

    package init() {}
  }

  /// - Parameter keys: the options to vary; nil: all that can change something.
  /// - Errors: `.usage` for a key that this method's search does not know.
  package init(
    _ options: SegmentOptions, _ shape: Shape, keys: [String]? = nil
  ) throws(SegmentationError) {
    let all = Self.axes(of: options, shape)
    guard let keys else {
      axes = all
      return
    }
    let known = all.map(\.key)
    let wanted = keys.map { String($0.map { $0 == "-" ? "_" : $0 }) }
    if let other = wanted.first(where: { !known.contains($0) }) {
      throw SegmentationError(
        .usage("--vary '\(other)': with these options a search can vary \(known.joined(separator: ", "))"))
    }
    axes = all.filter { wanted.contains($0.key) }
  }

  /// Steps of a search, in hundredths.
  private static func steps(_ key: String, _ from: Int, _ to: Int, by step: Int) -> Axis {
    Axis(
      key: key,
      values: stride(from: from, through: to, by: step).map {
        OptionValue.number(Float($0) / 100).text
      })
  }

  private static func numbers(_ key: String, _ range: ClosedRange<Int>) -> Axis {
    Axis(key: key, values: range.map { String($0) })
  }

  /// Whether labels depend on more than which class has the best score, without a background.
  private static func readsProbabilities(_ options: SegmentOptions) -> Bool {
    options.refinement != .none || options.unknownThreshold > 0 || ![.keep, .auto].contains(options.absent)
  }

  /// Of SC-CLIP, around what is published.
  private static func blocks(_ depth: Int) -> [Axis] {
    let usual = ["0-0"]
    let levels = depth == 12 ? usual + ["2-10", "6-10"] : depth == 24 ? usual + ["5-19", "13-19"] : []
    let weights = levels.isEmpty ? ["0", "0.1", "0.3", "0.5"] : ["-1", "0", "0.2", "0.5"]
    return (levels.isEmpty ? [] : [Axis(key: "levels", values: levels)])
      + [Axis(key: "class_weight", values: weights)]
  }

  /// - Source: PnP-OVSS's Table 2 for its own; the others are ranges around what the papers publish.
  private static func axes(of options: SegmentOptions, _ shape: Shape) -> [Axis] {
    var axes: [Axis] = []
    // Pixels less certain than this become class 0, which must then stand for nothing.
    if shape.hasBackground, options.method == .trident || options.method == .scCLIP {
      axes.append(steps("probability_threshold", 0, 40, by: 5))
    }
    switch options.method {
    case .trident:
      if options.refinement == .sam { axes.append(steps("coarse_threshold", 5, 30, by: 5)) }
      axes.append(steps("logit_scale", 3000, 6000, by: 500))
      if options.affinity != .none, options.paradigm == .splice {
        axes.append(Axis(key: "cos_factor", values: ["0", "1.2", "2", "3"]))
      }
    case .scCLIP:
      if shape.hasBackground || readsProbabilities(options) {
        axes.append(steps("logit_scale", 3000, 6000, by: 500))
      }
      if options.clipAttention != .published {
        axes.append(Axis(key: "clip_attention", values: ["self", "neighbour", "value"]))
      } else if !shape.hasBackground {
        axes += blocks(shape.depth)
      }
      if shape.hasBackground {
        axes.append(Axis(key: "area_threshold", values: ["-1", "0.05", "0.1", "0.2"]))
      }
    case .radseg:
      axes.append(steps("class_gate", 0, 80, by: 10))
      axes.append(steps("logit_scale", 6000, 14000, by: 2000))
      if options.refinement == .sam { axes.append(steps("coarse_threshold", 5, 30, by: 5)) }
    case .pnpOVSS:
      axes.append(numbers("attention_layer", 1...shape.layers))
      axes.append(numbers("attention_head", 1...shape.heads))
      axes.append(steps("map_threshold", 5, 45, by: 10))
      if shape.looksAtBlur { axes.append(steps("blur", 1, 9, by: 2)) }
    }
    return axes
  }

  /// Points of the grid.
  package var count: Int { axes.reduce(1) { $0 * $1.values.count } }

  /// The start, then other points of the grid by chance, none twice; as many as there are, at most `limit`.
  ///
  /// The same seed gives the same points, the first of them whatever the limit.
  package func trials(
    _ start: SegmentOptions, limit: Int, seed: UInt64
  ) throws(SegmentationError) -> [SegmentOptions] {
    var numbers = SplitMix64(seed: seed)
    var trials = [start]
    // A shuffle of all points of which only what was touched is kept.
    var moved: [Int: Int] = [:]
    var next = 0
    while trials.count < limit, next < count {
      let place = next + Int(numbers.next() % UInt64(count - next))
      let point = moved[place] ?? place
      moved[place] = moved[next] ?? next
      next += 1
      let options = try self.options(start, at: point)
      if options != start { trials.append(options) }
    }
    return trials
  }

  private func options(_ start: SegmentOptions, at point: Int) throws(SegmentationError) -> SegmentOptions {
    var (options, rest) = (start, point)
    for axis in axes {
      try options.set(axis.key, axis.values[rest % axis.values.count])
      rest /= axis.values.count
    }
    return options
  }

  /// The values of the options that vary.
  package func values(_ options: SegmentOptions) -> [(key: String, value: OptionValue)] {
    axes.compactMap { axis in OptionTable[axis.key].map { (axis.key, $0.value(options)) } }
  }
}
