// Templates by class, chosen from photos without labels.
import Application
import Segmentation
import System
import TestSupport
import Testing

@Suite("Templates by class", .serialized) struct TemplateJobTests {
  @Test func theSurestFourAreExperts() {
    var choice = TemplateChoice(templates: 6, classes: 2)
    for (template, entropy) in [0.5, 0.1, 0.3, 0.2, 0.1].enumerated() {
      choice.add(template: template, label: 0, entropy: Float(entropy))
    }
    // The mean counts, not the sum; of equals the first is first.
    choice.add(template: 1, label: 0, entropy: 0.1)
    #expect(choice.experts(of: 0) == [1, 4, 3, 2])
    #expect(choice.votes(of: 0) == 6 && choice.votes(of: 1) == 0)
    #expect(choice.experts(of: 1).isEmpty)
    choice.add(template: 5, label: 1, entropy: 0.2)
    #expect(choice.experts(of: 1) == [5])
  }

  @Test func vectorsAreMeansOverExperts() {
    var choice = TemplateChoice(templates: 2, classes: 2)
    choice.add(template: 1, label: 1, entropy: 0.2)
    // Two templates, two phrases, two numbers each.
    let vectors: [Float] = [1, 0, 0, 1, 0, 1, 1, 0]
    let mixed = choice.mixed(vectors, phraseClass: [0, 1], width: 2)
    let half = Float(0.5).squareRoot()
    // Class 0 was nowhere and keeps both templates; class 1 has its own.
    #expect(abs(mixed[0] - half) < 1e-6 && abs(mixed[1] - half) < 1e-6)
    #expect(mixed[2] == 1 && mixed[3] == 0)
  }

  /// Vectors of single templates, averaged, are what all templates at once give.
  @Test func singleTemplatesMakeTheWhole() throws {
    let session = try Demo.session()
    let tokenizer = try session.makeTokenizer()
    func vectors(_ templates: TemplateList) throws -> [Float] {
      let source = PromptSource(phrases: ["cat", "soccer ball"], tokenizer: tokenizer, templates: templates)
      let plan = try session.planText(source, .int8)
      return try session.encodeText(source, .int8, plan: plan, measures: false).vectors
    }
    let whole = try vectors(.all)
    let all = Array(PromptTemplates.imageNet.indices)
    let single = try all.flatMap { try vectors(TemplateList(imageNet: [$0])) }
    // No class was seen: every template takes part.
    let mean = TemplateChoice(templates: all.count, classes: 2)
      .mixed(single, phraseClass: [0, 1], width: session.embedWidth)
    let worst = zip(whole, mean).map { abs($0 - $1) }.max() ?? 1
    #expect(worst < 1e-4, "\(worst)")
    let some = try vectors(TemplateList(imageNet: [0, 3]))
    #expect(some.count == whole.count && some != whole)
  }

  /// Entropies of a photo are those of the cosines that the same run reports, by a plain softmax.
  @Test func entropiesAreThoseOfTheScores() throws {
    let session = try Demo.session()
    let photo = try PhotoFile(path: Demo.farm)
    var options = Demo.fast
    options.logitScale = 20
    let source = PromptSource(
      phrases: ["horse", "grass", "lawn", "sky"], tokenizer: try session.makeTokenizer(),
      templates: TemplateList(imageNet: [0]))
    let plan = try session.planText(source, .int8)
    let vectors = try session.encodeText(source, .int8, plan: plan, measures: false).vectors
    let phraseClass = [0, 1, 1, 2]
    let request = TemplateRequest(
      photo, options, phraseClass: phraseClass, vectors: vectors, templates: 1)
    var found = TemplateChoice(templates: 1, classes: 3)
    try session.look(request, plan: try session.plan(request), &found)
    var wanted = TemplateChoice(templates: 1, classes: 3)
    let wording = Wording(source: .vectors(vectors), phraseClass: [0, 1, 1, 2])
    var scores: [[Float]] = []
    var sinks = RunSinks { _, _ in true }
    sinks.scores = { _, _, _ in
      { row, count in scores.append(Array(UnsafeBufferPointer(start: row, count: count))) }
    }
    let whole = try session.plan(photo, wording, options, scores: true)
    let report = try session.run(photo, wording, options, plan: whole, measures: false, sinks)
    for row in 0..<report.gridRows {
      for column in 0..<report.gridColumns {
        let cosines = (0..<3).map { scores[$0 * report.gridRows + row][column] }
        let most = cosines.max() ?? 0
        let values = cosines.map { exponential(Double(20 * ($0 - most))) }
        let sum = values.reduce(0, +)
        let entropy = values.reduce(0) { $0 - $1 / sum * logarithm($1 / sum) }
        wanted.add(template: 0, label: cosines.firstIndex(of: most) ?? 0, entropy: Float(entropy))
      }
    }
    for label in 0..<3 {
      #expect(found.votes(of: label) == wanted.votes(of: label))
      let (a, b) = (found.meanEntropy(template: 0, of: label), wanted.meanEntropy(template: 0, of: label))
      #expect(abs((a ?? 0) - (b ?? 0)) < 1e-4, "\(label)")
    }
  }

  private func exponential(_ x: Double) -> Double {
    var (sum, term) = (1.0, 1.0)
    let small = x / 1024
    for n in 1..<12 {
      term *= small / Double(n)
      sum += term
    }
    for _ in 0..<10 { sum *= sum }
    return sum
  }

  private func logarithm(_ x: Double) -> Double {
    if x < 1e-12 { return 0 }
    var root = x
    for _ in 0..<12 { root = root.squareRoot() }
    let t = (root - 1) / (root + 1)
    return 2 * 4096 * (t + t * t * t / 3 + t * t * t * t * t / 5)
  }

  @Test func aVocabularyIsWritten() throws {
    let folder = Folder()
    var source = ClassSource()
    (source.phrases, source.usesCache) = (["horse", "grass; lawn", "sky", "whale"], false)
    let output = folder.path + "/words.tvoc"
    let session = try Demo.session()
    let job = try TemplateJob(source, photos: Demo.farm, output: output, model: Demo.model)
    let report = try job.run(session, Demo.fast)
    #expect(report.choice.experts(of: 1).count == 4)
    let vocabulary = try VocabularyFile.read(path: output)
    #expect(vocabulary.classes.phrases == ["horse", "grass", "lawn", "sky", "whale"])
    try vocabulary.check(modelID: session.textIdentity, width: session.embedWidth)
    #expect(report.summary.contains("templates from 1 photo"))
    let again = try job.run(session, Demo.fast)
    #expect(again.choice == report.choice)
    let other = thrownError(SegmentationError.self) {
      try TemplateJob(source, photos: "/no/such/folder/", output: folder.path + "/words.txt")
    }
    #expect(other?.exitCode == 2)
    let method = thrownError(SegmentationError.self) {
      try job.run(session, SegmentOptions(method: .radseg))
    }
    #expect(method?.exitCode == 2)
  }
}
