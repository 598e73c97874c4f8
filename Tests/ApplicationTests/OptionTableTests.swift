// One table of options: keys, ranges, defaults, and that the command line has a flag for every row and no
// other.
import Application
import Segmentation
import TestSupport
import Testing
import trident

@Suite struct OptionTableTests {
  /// Another value than the default for every row.
  private static let others: [String: String] = [
    "method": "radseg", "long_side": "700", "windows": "none", "round_sides": "patch", "scra_scale": "5",
    "scga_scale": "20", "absent": "gate", "redundancy": "0.2", "unknown_threshold": "0.2",
    "area_threshold": "0.1",
    "low_block": "3",
    "mid_block": "8", "levels": "2-5", "clip_attention": "neighbour",
    "global_blocks": "3-4", "class_mix": "0.2", "class_mix_of": "window", "class_weight": "0.5",
    "class_gate": "0.3", "short_side": "336",
    "window": "224", "stride": "112", "logit_scale": "50", "beta": "1.5",
    "gamma": "2", "cos_factor": "0.5", "keeps_negative_thresholds": "false", "probability_threshold": "0.1",
    "coarse_threshold": "0.3", "minimal_area": "100", "iou_threshold": "0.7", "mask_alpha": "0.01",
    "prompts": "point,box", "refine": "none", "affinity": "cosine", "paradigm": "window", "dino": "false",
    "halves": "true", "precision": "float32", "attention_layer": "7", "attention_head": "3", "rounds": "2",
    "blanked_patches": "5", "map_threshold": "0.25", "blur": "0.03", "presence": "all",
    "tile": "512", "overlap": "64", "confidence_kind": "margin",
  ]

  private static func method(of row: OptionRow) -> MethodName {
    row.methods.contains(.trident) ? .trident : row.methods[0]
  }

  @Test func methodsBringTheirDefaults() throws {
    var options = SegmentOptions()
    try options.set("stride", "100")
    try options.set("method", "radseg")
    var wanted = SegmentOptions(method: .radseg)
    wanted.stride = 100
    #expect(options == wanted)
    try options.set("class-gate", "0.2")
    #expect(throws: SegmentationError.self) { try options.set("method", "trident") }
  }

  @Test func uselessOptionsAreNamed() throws {
    var options = SegmentOptions()
    try options.check(given: ["absent", "beta"])
    let error = thrownError(SegmentationError.self) { try options.check(given: ["redundancy"]) }
    #expect(error?.description.contains("--absent purify") == true)
    options.absent = .purify
    try options.check(given: ["redundancy"])
    options.clipAttention = .queries
    for key in ["beta", "levels", "global_blocks", "class_mix_of"] {
      let error = thrownError(SegmentationError.self) { try options.check(given: [key]) }
      #expect(error?.description.contains("means nothing") == true, "\(key)")
    }
    options.clipAttention = .published
  }

  /// Flags say that they were given wherever a row may mean nothing.
  @Test func uselessFlagsAreSeen() throws {
    var other = SegmentOptions()
    other.clipAttention = .value
    for row in OptionTable.rows
    where row.uselessness(SegmentOptions()) != nil || row.uselessness(other) != nil {
      let flag = try #require(row.flag)
      let flags = try MethodFlags.parse([flag, try #require(Self.others[row.key])])
      #expect(flags.given == [row.key])
    }
  }

  @Test func everyRowSetsItsValueAndNoOther() throws {
    #expect(Set(Self.others.keys) == Set(OptionTable.rows.map(\.key)))
    for row in OptionTable.rows {
      let text = try #require(Self.others[row.key])
      let usual = SegmentOptions(method: Self.method(of: row))
      var options = usual
      try options.set(row.key, text)
      #expect(row.value(options).text == text)
      let wanted = row.key == "method" ? SegmentOptions(method: .radseg) : usual
      for other in OptionTable.rows where other.key != row.key {
        #expect(other.value(options) == other.value(wanted))
      }
      // A flag's name is a key, too.
      var again = usual
      try again.set(row.key.split(separator: "_").joined(separator: "-"), text)
      #expect(again == options)
    }
  }

  @Test func everyRowHasAFlagAndEveryFlagARow() throws {
    let help = MethodFlags.helpMessage(includeHidden: true, columns: 1000)
    let inHelp = Set(
      help.split(separator: "\n").compactMap { line in line.split(separator: " ").first { $0.hasPrefix("--") }
      }
      .map(String.init))
    let ofTable = Set(OptionTable.rows.compactMap(\.flag))
    // Groups of options, and a name for a value.
    #expect(
      inHelp.subtracting(["--preset", "--profile", "--no-refine", "--help", "--help-hidden"]) == ofTable)
    for row in OptionTable.rows {
      guard let flag = row.flag else { continue }
      let text = try #require(Self.others[row.key])
      let flags = try MethodFlags.parse(flag.hasPrefix("--no-") || text == "true" ? [flag] : [flag, text])
      var wanted = SegmentOptions(method: Self.method(of: row))
      try wanted.set(row.key, text)
      let options = try flags.options(Self.method(of: row))
      #expect(options == wanted, "\(flag)")
      #expect(help.contains(row.help), "\(flag)")
    }
  }

  @Test func mistakesAreNamedWithTheFlag() throws {
    let mistakes = [
      ("bta", "1", "there is no option 'bta'; options: method, short_side,"),
      ("beta", "much", "--beta takes -100.0...100.0, not 'much'"),
      ("beta", "200", "--beta 200.0 is outside -100.0...100.0"),
      ("beta", "nan", "--beta nan is outside"), ("window", "8", "--window 8 is outside 16...2048"),
      ("refine", "mend", "--refine takes none, sam, pamr, bilateral, crf, not 'mend'"),
      ("halves", "2", "halves takes true, false, not '2'"),
      ("prompts", "line", "--prompts takes some of point,box,mask, not 'line'"),
    ]
    for (key, text, wanted) in mistakes {
      var options = SegmentOptions()
      let error = thrownError(SegmentationError.self) { try options.set(key, text) }
      #expect(
        error?.exitCode == 2 && error?.description.hasPrefix(wanted) == true, "\(error?.description ?? "")")
      #expect(options == SegmentOptions())
    }
  }

  /// What files of earlier versions hold must stay comparable.
  @Test func namesAndValuesOfAReport() {
    #expect(
      SegmentOptions(preset: .ade).json.text(indent: -1)
        == #"""
        {"short_side":576,"window":336,"stride":224,"logit_scale":40,"beta":1.2,"gamma":3,"cos_factor":1.2,\#
        "keeps_negative_thresholds":false,"probability_threshold":0,"coarse_threshold":0.05,\#
        "minimal_area":225,"iou_threshold":0.8,"mask_alpha":0.005,"prompts":"point,box,mask",\#
        "refine":"sam","affinity":"trident","paradigm":"splice","dino":true,"halves":false,\#
        "precision":"int8"}
        """#)
  }

  @Test func presetThenProfileThenFlags() throws {
    let flags = try MethodFlags.parse([
      "--preset", "city", "--profile", "fast", "--refine", "crf", "--stride", "112",
    ])
    var wanted = SegmentOptions(preset: .city)
    (wanted.affinity, wanted.refinement, wanted.stride) = (.none, .crf, 112)
    let options = try flags.options(.trident)
    #expect(options == wanted)
  }

  @Test func everyFormatHasAFlag() throws {
    for format in ResultFormat.all {
      let flags = try OutputFlags.parse(["--\(format.name)", "there"])
      #expect(flags.targets.map(\.format.name) == [format.name] && flags.targets.map(\.named) == ["there"])
    }
  }
}
