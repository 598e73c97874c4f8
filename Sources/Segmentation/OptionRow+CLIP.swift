// Options of CLIP's last block: what SC-CLIP makes of it, and what stands there instead.

extension OptionRow {
  /// The same row for a method's own attention, which means nothing where another stands for it.
  func published(_ method: MethodName) -> OptionRow {
    var row = of(method)
    row.uselessness = { options in
      options.clipAttention == .published ? nil : "beside --clip-attention \(options.clipAttention.rawValue)"
    }
    return row
  }

  /// Of CLIP's last block.
  static var ofCLIP: [OptionRow] {
    let levels = OptionRow(
      "levels", \.levels, flag: "--levels", takes: "two blocks such as 4-10",
      "sc-clip: blocks whose sum goes through the last one, too; "
        + "0-0: as published, 4-10 of 12 or 9-19 of 24 ({}).",
      { .word($0.description) }, read: { BlockRange($0) })
    var attention = choice(
      "clip_attention", \.clipAttention,
      "Whom a patch looks at in CLIP's last block: {} is the method's own (DINO's features, SC-CLIP's "
        + "calibration); to compare: self (ClearCLIP), neighbour (NACLIP), value (MaskCLIP), "
        + "global (GCLIP, at second hand)."
    )
    .of(.trident, .scCLIP)
    attention.silentAt = [.word("published")]
    var middle = OptionRow(
      "global_blocks", \.globalBlocks, flag: "--global-blocks", takes: "two blocks such as 7-8",
      "--clip-attention global: middle blocks whose attention counts; 0-0: 7-8 of 12 ({}).",
      { .word($0.description) }, read: { BlockRange($0) }
    )
    .of(.trident, .scCLIP)
    middle.uselessness = { $0.clipAttention == .global ? nil : "without --clip-attention global" }
    middle.silentAt = [.word("0-0")]
    var mix = number(
      "class_mix", \.classMix, 0...1, OptionValue.number,
      "Weight of the class token's scores in those of patches, as CASS mixes them ({}; it has 0.1 to 0.4)."
    )
    .of(.trident, .scCLIP)
    mix.silentAt = [.number(0)]
    var scope = choice(
      "class_mix_of", \.classMixOf,
      "sc-clip: whose class token --class-mix takes: the whole photo's, a pass more, or each window's ({})."
    )
    .of(.scCLIP)
    scope.silentAt = [.word("photo")]
    scope.uselessness = { $0.classMix > 0 ? nil : "without --class-mix" }
    return [
      number(
        "low_block", \.lowBlock, 0...256, OptionValue.int,
        "sc-clip: block whose cosines smooth the result, from 1; 0: as published, 4 of 12 or 7 of 24 ({})."
      ).published(.scCLIP),
      number(
        "mid_block", \.midBlock, 0...256, OptionValue.int,
        "sc-clip: block whose cosines say what resembles what; 0: as published, 9 of 12 or 17 of 24 ({})."
      ).published(.scCLIP),
      levels.published(.scCLIP),
      number(
        "class_weight", \.classWeight, -1...100, OptionValue.number,
        "sc-clip: weight of the class tokens added to every patch; "
          + "below 0: as published, 0.3 of 12 blocks or 0.1 of 24 ({})."
      ).published(.scCLIP),
      attention, middle, mix, scope,
    ]
  }
}
