// One photo under every template alone: how unsure each is of the patches it gives to each class.
import Compute

/// A photo, and the vectors of all phrases by template.
package struct TemplateRequest {
  package let photo: any PhotoPixels
  /// Of Trident or SC-CLIP; what comes after scores is not looked at.
  package let options: SegmentOptions
  /// Class of each phrase, ascending.
  package let phraseClass: [Int]
  /// Shapes: [templates, phrases, width], unit rows.
  package let vectors: [Float]
  package let templateCount: Int

  package init(
    _ photo: any PhotoPixels, _ options: SegmentOptions, phraseClass: [Int], vectors: [Float],
    templates: Int
  ) {
    (self.photo, self.options, self.phraseClass) = (photo, options, phraseClass)
    (self.vectors, templateCount) = (vectors, templates)
  }

  var classCount: Int { (phraseClass.last ?? -1) + 1 }

  /// Every phrase in every template is a class of its own, so that scores are of each.
  var wording: Wording {
    Wording(source: .vectors(vectors), phraseClass: Array(0..<templateCount * phraseClass.count))
  }

  /// Phrases that fit into 16-bit labels with all templates.
  package static func phraseLimit(templates: Int) -> Int { (Int(UInt16.max) - 1) / templates }
}

extension Session {
  /// The fastest way to look at a photo within the limit. The vectors are held by the caller.
  ///
  /// - Errors: `.memory` with the smallest limit that would do; `.usage` for options that cannot work.
  package func plan(_ request: TemplateRequest, within limit: MemoryLimit = .ofRuntime) throws -> MemoryPlan {
    var choice = TemplateChoice(templates: request.templateCount, classes: request.classCount)
    return try planned(limit, request.options.precision, fixed: fixedByteCount()) { run in
      try look(request, in: run, &choice)
    }
  }

  /// Adds what every template says of every patch.
  ///
  /// - Memory: the plan's, given back.
  /// - Errors: as `plan`; those of the photo.
  package func look(
    _ request: TemplateRequest, plan: MemoryPlan, _ choice: inout TemplateChoice
  ) throws {
    precondition(
      choice.templateCount == request.templateCount && choice.classCount == request.classCount,
      "another list of templates or classes")
    let observer = { (_: String, _: Int, _: Double) -> Void in }
    var found = choice
    try run(plan, request.options.precision, measures: false, taps: nil, observer: observer) { run in
      try look(request, in: run, &found)
    }
    choice = found
  }

  private func look(
    _ request: TemplateRequest, in run: RunContext, _ choice: inout TemplateChoice
  ) throws {
    let wording = request.wording
    let text = try wording.vectors(in: run, width: embedWidth)
    let method = try makeMethod(model, request.options)
    let scores = try method.score(request.photo, text: text, words: wording, in: run).scores
    if !run.isPlanning, !scores.isFinite { throw notNumbers("scores") }
    try run.stage(.presence) {
      let grid = scores.grid
      let line = try run.arena.reserve(Eight.self, grid.columns * grid.lanes)
      let scratch = try run.arena.floats(scores.scratchCount)
      let classes = try run.arena.floats(request.classCount)
      if run.isPlanning { return }
      for row in 0..<scores.patches.rows {
        scores.patchRow(run.engine, row, scratch: scratch, into: floats(line))
        for column in 0..<scores.patches.columns {
          let cell = floats(line + column * grid.lanes)
          for template in 0..<request.templateCount {
            let own = cell + template * request.phraseClass.count
            let (label, entropy) = request.verdict(own, classes)
            choice.add(template: template, label: label, entropy: entropy)
          }
        }
      }
    }
  }
}

extension TemplateRequest {
  /// The best class of one patch under one template, and the entropy of all classes' probabilities, brought
  /// to sum one; a class has that of its best phrase.
  ///
  /// - Shapes: `cosines` [phrases]; `classes` [classCount], overwritten.
  fileprivate func verdict(
    _ cosines: UnsafePointer<Float>, _ classes: UnsafeMutablePointer<Float>
  ) -> (label: Int, entropy: Float) {
    var most = -Float.infinity
    for phrase in phraseClass.indices { most = max(most, cosines[phrase]) }
    classes.update(repeating: 0, count: classCount)
    for (phrase, label) in phraseClass.enumerated() {
      let argument = Eight(repeating: (cosines[phrase] - most) * options.logitScale)
      classes[label] = max(classes[label], expOfNonPositive(argument)[0])
    }
    var best = 0
    for label in 0..<classCount where classes[label] > classes[best] { best = label }
    return (best, shareEntropy(classes, classCount) ?? 0)
  }
}
