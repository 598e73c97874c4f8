// The one list of a run's options: flags, checks, JSON, fingerprints and callers that set options by name all
// read it.

/// A value of an option.
package enum OptionValue: Equatable, Sendable {
  case int(Int)
  case number(Float)
  case flag(Bool)
  case word(String)

  /// As people write it: whole numbers without a fraction.
  package var text: String {
    switch self {
    case .int(let value): return String(value)
    case .number(let value):
      let text = "\(value)"
      return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    case .flag(let value): return value ? "true" : "false"
    case .word(let value): return value
    }
  }
}

/// One option: its name, what it takes, what it means.
package struct OptionRow: Sendable {
  /// In JSON, in results files and for callers by key: `short_side`.
  package let key: String
  /// `--short-side`, `--no-dino`; nil where only presets and callers by key set it.
  package let flag: String?
  /// What it takes, in words: `16...4096`, `none, sam, pamr or crf`.
  package let takes: String
  /// Methods that use it.
  package var methods = MethodName.allCases
  package let value: @Sendable (SegmentOptions) -> OptionValue
  /// A sentence for the help; `{}` is the default.
  private let sentence: String
  /// False for text that is no such value.
  private let read: @Sendable (inout SegmentOptions, String) -> Bool
  private let isInside: @Sendable (SegmentOptions) -> Bool
  /// Left out of JSON and fingerprints where it has one of these values: files older than the option stay
  /// comparable.
  var silentAt: [OptionValue] = []
  /// Beside which options it means nothing, in words, and is left out, too; nil: it means something.
  package var uselessness: @Sendable (SegmentOptions) -> String? = { _ in nil }
  /// What does the same for methods that have no such option.
  private var instead: [MethodName: String] = [:]

  init<Value: Sendable>(
    _ key: String, _ path: WritableKeyPath<SegmentOptions, Value> & Sendable, flag: String?, takes: String,
    _ sentence: String, _ value: @escaping @Sendable (Value) -> OptionValue,
    read: @escaping @Sendable (String) -> Value?,
    isInside: @escaping @Sendable (Value) -> Bool = { _ in true }
  ) {
    (self.key, self.flag, self.takes, self.sentence) = (key, flag, takes, sentence)
    self.value = { value($0[keyPath: path]) }
    self.isInside = { isInside($0[keyPath: path]) }
    self.read = { options, text in
      guard let value = read(text) else { return false }
      options[keyPath: path] = value
      return true
    }
  }

  private static func dashed(_ key: String) -> String { "--" + String(key.map { $0 == "_" ? "-" : $0 }) }

  static func number<Value: Comparable & LosslessStringConvertible & Sendable>(
    _ key: String, _ path: WritableKeyPath<SegmentOptions, Value> & Sendable, _ range: ClosedRange<Value>,
    _ value: @escaping @Sendable (Value) -> OptionValue, _ sentence: String
  ) -> OptionRow {
    OptionRow(
      key, path, flag: dashed(key), takes: "\(range.lowerBound)...\(range.upperBound)", sentence, value,
      read: { Value($0) }, isInside: { range.contains($0) })
  }

  static func choice<Value: RawRepresentable<String> & CaseIterable & Sendable>(
    _ key: String, _ path: WritableKeyPath<SegmentOptions, Value> & Sendable, _ sentence: String
  ) -> OptionRow {
    OptionRow(
      key, path, flag: dashed(key), takes: Value.allCases.map(\.rawValue).joined(separator: ", "), sentence,
      { .word($0.rawValue) }, read: { Value(rawValue: $0) })
  }

  private static func toggle(
    _ key: String, _ path: WritableKeyPath<SegmentOptions, Bool> & Sendable, flag: String?, _ sentence: String
  ) -> OptionRow {
    OptionRow(key, path, flag: flag, takes: "true, false", sentence, OptionValue.flag, read: { Bool($0) })
  }

  /// The same row for some methods only.
  func of(_ methods: MethodName...) -> OptionRow {
    var row = self
    row.methods = methods
    return row
  }

  fileprivate static let all: [OptionRow] = {
    var method = choice("method", \.method, "The method (the one that the model file is for).")
    method.silentAt = [.word("trident")]
    let prompts = OptionRow(
      "prompts", \.prompts, flag: "--prompts", takes: "some of point,box,mask",
      "What a region tells SAM: some of point,box,mask (all three).", { .word($0.description) },
      read: { PromptKinds(names: $0) }
    ).of(.trident)
    var absent = choice(
      "absent", \.absent,
      "Classes that are not in the photo: keep; gate drops those no patch is half sure of, "
        + "relative the less sure half; relevancy is gate beside neutral phrases as --negative; "
        + "purify drops those that CLIP's own attention spreads; "
        + "{}: relevancy for one or two words alone, else keep; radseg has a gate of its own, too."
    )
    .of(.trident, .scCLIP, .radseg)
    absent.instead = [
      .pnpOVSS: "--presence match, --present or --presence-model says which classes are there"
    ]
    var redundancy = number(
      "redundancy", \.redundancy, 0...0.5, OptionValue.number,
      "--absent purify: a class needs more than this ratio in some window ({})."
    )
    .of(.trident, .scCLIP)
    redundancy.uselessness = { $0.absent == .purify ? nil : "without --absent purify" }
    // No run sees `auto`: words settle it.
    absent.silentAt = [.word("auto"), .word("keep")]
    var unknown = number(
      "unknown_threshold", \.unknownThreshold, 0...1, OptionValue.number,
      "Pixels less certain than this are of no class: the label behind the last one ({})."
    )
    .of(.trident, .scCLIP, .radseg)
    unknown.silentAt = [.number(0)]
    var kind = choice(
      "confidence_kind", \.confidenceKind,
      "What confidences say: the largest class probability, its margin over the second, or how far the "
        + "entropy of all is from its largest ({})."
    )
    kind.silentAt = [.word("probability")]
    var area = number(
      "area_threshold", \.areaThreshold, -1...1, OptionValue.number,
      "Classes with no more than this share of what classes 1... have are dropped; below 0: none ({})."
    )
    .of(.trident, .scCLIP, .radseg)
    area.silentAt = [.number(-1)]
    var tile = number(
      "tile", \.tile, 0...16_384, OptionValue.int,
      "Cut rasters into tiles of this side, each segmented as a photo of its own, pixels ({}: not cut)."
    )
    tile.silentAt = [.int(0)]
    var overlap = number(
      "overlap", \.overlap, 0...8192, OptionValue.int,
      "What neighbouring tiles share at least, where their scores fade into each other, pixels ({})."
    )
    overlap.silentAt = [.int(128)]
    return [
      method,
      number(
        "short_side", \.shortSide, 16...4096, OptionValue.int,
        "Short side of CLIP's copy, pixels ({}); pnp-ovss: side of the square (336)."),
      number("window", \.window, 16...2048, OptionValue.int, "Window side, pixels ({}).").of(
        .trident, .radseg, .scCLIP),
      number("stride", \.stride, 1...2048, OptionValue.int, "Window step, pixels ({}).").of(
        .trident, .radseg, .scCLIP),
      number(
        "logit_scale", \.logitScale, 0...10_000, OptionValue.number,
        "Scale of cosine scores before the softmax ({})."),
      number(
        "beta", \.beta, -100...100, OptionValue.number,
        "Proxy attention: multiple of the mean similarity taken off ({})."
      ).published(.trident),
      number("gamma", \.gamma, 0...1000, OptionValue.number, "Proxy attention: sharpness ({}).")
        .published(.trident),
      number(
        "cos_factor", \.cosFactor, -100...100, OptionValue.number,
        "Affinity: threshold as a multiple of the row's mean similarity ({})."
      ).of(.trident),
      toggle(
        "keeps_negative_thresholds", \.keepsNegativeThresholds, flag: nil,
        "Negative affinity thresholds stay ({}); otherwise they become 0.6."
      ).of(.trident),
      number(
        "probability_threshold", \.probabilityThreshold, 0...1, OptionValue.number,
        "Pixels less certain than this get class 0 ({})."
      ).of(.trident, .scCLIP),
      number(
        "coarse_threshold", \.coarseThreshold, 0...1, OptionValue.number,
        "Pixels less certain than this take no part in refinement ({})."
      ).of(.trident, .radseg, .scCLIP),
      number(
        "minimal_area", \.minimalArea, 0...1_000_000_000, OptionValue.int,
        "Smallest region to refine, half-size pixels ({})."
      ).of(.trident, .radseg, .scCLIP),
      number(
        "iou_threshold", \.iouThreshold, -1...2, OptionValue.number,
        "Refined regions need a predicted IoU above this ({})."
      ).of(.trident, .radseg, .scCLIP),
      number("mask_alpha", \.maskAlpha, -1000...1000, OptionValue.number, "Weight of the mask prompt ({}).")
        .of(.trident, .radseg, .scCLIP),
      prompts,
      choice("refine", \.refinement, "What mends borders ({})."),
      choice("affinity", \.affinity, "What relates parts of the whole photo ({}).").of(.trident),
      choice(
        "paradigm", \.paradigm, "splice: one map from all windows; window: scores per window, averaged ({})."
      ).of(.trident),
      toggle("dino", \.usesDINO, flag: "--no-dino", "Use CLIP's own values instead of DINO's features.").of(
        .trident),
      toggle("halves", \.halves, flag: nil, "Left and right halves go through SAM on their own ({}).").of(
        .trident),
      number(
        "long_side", \.longSide, 16...8192, OptionValue.int,
        "radseg: long side of the copy at most, pixels ({})."
      ).of(.radseg),
      choice(
        "windows", \.windows, "radseg: slide: windows as published; none: one pass over the whole copy ({})."
      ).of(.radseg),
      choice(
        "round_sides", \.sideRounding,
        "radseg: the copy's sides are multiples of stride or patch, which stretches less ({})."
      ).of(.radseg),
      number(
        "scra_scale", \.scraScale, 0...1000, OptionValue.number,
        "radseg: sharpness of the last block's attention ({})."
      ).of(.radseg),
      number(
        "scga_scale", \.scgaScale, 0...1000, OptionValue.number, "radseg: sharpness of the aggregation ({})."
      ).of(.radseg),
      number(
        "class_gate", \.classGate, 0...1, OptionValue.number,
        "radseg: classes whose largest probability is below this are not there ({})."
      ).of(.radseg),
      absent, redundancy, unknown, area, kind,
    ] + ofCLIP + [
      number(
        "attention_layer", \.attentionLayer, 1...256, OptionValue.int,
        "pnp-ovss: text layer whose attention to the photo counts, from 1 ({})."
      ).of(.pnpOVSS),
      number("attention_head", \.attentionHead, 1...256, OptionValue.int, "pnp-ovss: its head, from 1 ({}).")
        .of(.pnpOVSS),
      number(
        "rounds", \.rounds, 1...64, OptionValue.int, "pnp-ovss: how often the network is asked ({})."
      ).of(.pnpOVSS),
      number(
        "blanked_patches", \.blankedPatches, 1...1000, OptionValue.int,
        "pnp-ovss: patches blanked after each round ({})."
      ).of(.pnpOVSS),
      number(
        "map_threshold", \.mapThreshold, 0...1, OptionValue.number,
        "pnp-ovss: share of a map's range below which a class is not ({})."
      ).of(.pnpOVSS),
      number(
        "blur", \.blur, 0...0.5, OptionValue.number,
        "pnp-ovss: deviation of the blur as a share of the long side ({})."
      ).of(.pnpOVSS),
      choice(
        "presence", \.presence,
        "pnp-ovss: without --present look for classes that match the photo, or all ({})."
      ).of(.pnpOVSS),
      tile, overlap,
      choice("precision", \.precision, "Arithmetic ({}); float32 is the reference and needs OpenBLAS."),
    ]
  }()
}

extension OptionRow {
  /// The help of the flag, with the default in it.
  package var help: String {
    let parts = sentence.split(separator: "{}", maxSplits: 1, omittingEmptySubsequences: false)
    return parts.joined(separator: value(SegmentOptions()).text)
  }

  /// Whether a run with these options depends on it, and files name it.
  package func isNamed(in options: SegmentOptions) -> Bool {
    methods.contains(options.method) && !silentAt.contains(value(options))
      && uselessness(options) == nil
  }

  /// Whether neither a run with these options nor the method depends on it.
  fileprivate func isUseless(in options: SegmentOptions, to method: MethodName) -> Bool {
    uselessness(options) != nil && !methods.contains(method)
  }

  /// What is wrong with the value; nil: nothing.
  package func problem(_ options: SegmentOptions) -> String? {
    let (name, value) = (flag ?? key, value(options))
    if !methods.contains(options.method) {
      if silentAt.contains(value) || value == self.value(SegmentOptions(method: options.method)) {
        return nil
      }
      return "\(name) means nothing to --method \(options.method.rawValue)"
        + (instead[options.method].map { "; \($0)" } ?? "")
    }
    if isInside(options) { return nil }
    if case .number(let number) = value { return "\(name) \(number) is outside \(takes)" }
    return "\(name) \(value.text) is outside \(takes)"
  }

  /// Sets the option from text.
  ///
  /// - Errors: `.usage` for text that is no such value, or one out of range.
  package func set(_ options: inout SegmentOptions, _ text: String) throws(SegmentationError) {
    guard read(&options, text) else {
      throw SegmentationError(.usage("\(flag ?? key) takes \(takes), not '\(text)'"))
    }
    if let problem = problem(options) { throw SegmentationError(.usage(problem)) }
  }
}

/// All options, in the order of help, JSON and files.
///
/// A new option is a property of `SegmentOptions`, a row here, and a flag in `MethodFlags`; a test holds them
/// together.
package enum OptionTable {
  package static let rows = OptionRow.all

  /// The row of a key, in which `-` and `_` are the same.
  package static subscript(key: String) -> OptionRow? {
    let wanted = key.map { $0 == "-" ? "_" : $0 }
    return rows.first { $0.key.elementsEqual(wanted) }
  }
}

extension SegmentOptions {
  /// Checks options by themselves, against each other and against the patches of the method's networks, the
  /// one whose patch is the step of windows first.
  ///
  /// - Errors: `.usage` for the first value that cannot work, named with the flag that sets it.
  package func check(patches: [(network: String, patch: Int)]) throws(SegmentationError) {
    let single = OptionTable.rows.lazy.compactMap { $0.problem(self) }.first
    let rules = OptionRule.all.lazy.filter { $0.methods.contains(method) }
    if let problem = single ?? rules.compactMap({ $0.problem(self, patches) }).first {
      throw SegmentationError(.usage(problem))
    }
  }

  /// Sets one option by its key, such as `beta` or `short_side`, from text. With another `method` come its
  /// defaults for all that stood at those of the old one.
  ///
  /// - Errors: `.usage` for a key that is none, text that is no such value, or a value out of range.
  public mutating func set(_ key: String, _ text: String) throws(SegmentationError) {
    guard let row = OptionTable[key] else {
      let keys = OptionTable.rows.map(\.key).joined(separator: ", ")
      throw SegmentationError(.usage("there is no option '\(key)'; options: \(keys)"))
    }
    var changed = self
    try row.set(&changed, text)
    if changed.method != method { changed = try inMethod(changed.method) }
    self = changed
  }

  /// What was set, on top of another method's defaults.
  private func inMethod(_ other: MethodName) throws(SegmentationError) -> SegmentOptions {
    let usual = SegmentOptions(method: method)
    var options = SegmentOptions(method: other)
    for row in OptionTable.rows where row.key != "method" && row.value(self) != row.value(usual) {
      if row.isUseless(in: self, to: other) { continue }
      try row.set(&options, row.value(self).text)
    }
    return options
  }

  /// Every option that this run depends on, by key.
  package var named: [(key: String, value: OptionValue)] {
    OptionTable.rows.filter { $0.isNamed(in: self) }.map { ($0.key, $0.value(self)) }
  }
}
