// A photo and texts in, how well they fit out: what `trident match` does.
import Segmentation
import System

/// Compares photos with texts.
package struct MatchJob {
  private let session: Session
  private let texts: [String]
  private let precision: PrecisionChoice
  private let side: Int

  /// `side`: of the square that photos are squeezed to, pixels; 0: the model's own.
  package init(_ session: Session, _ texts: [String], side: Int = 0, _ precision: PrecisionChoice = .int8) {
    (self.session, self.texts) = (session, texts)
    (self.side, self.precision) = (side, precision)
  }

  /// - Errors: those of `Session.plan` and `Session.match`.
  package func run(
    _ path: String, measures: Bool = false, listener: any JobListener = SilentListener()
  ) throws -> MatchReport {
    var request = MatchRequest(
      try PhotoFile(path: path, ceilings: session.runtime.photoCeilings), texts)
    (request.precision, request.side) = (precision, side)
    let plan = try session.plan(request)
    try session.checkTime(plan, precision)
    let display = listener.progressDisplay()
    defer { display?.finish() }
    let run = try session.match(request, plan: plan, measures: measures) {
      display?.show($0, $1, detail: "")
    }
    return MatchReport(photo: path, texts: texts, run: run, modelIdentity: session.modelIdentity)
  }
}

/// Scores in words and in JSON.
package struct MatchReport {
  let photo: String
  let texts: [String]
  package let run: MatchRun
  let modelIdentity: String

  /// A line a text, in the order given.
  package var table: String {
    var lines = ["match   cosine  text"]
    for (text, match) in zip(texts, run.matches) {
      lines.append(
        "\(fixed(Double(match.probability), 4))  \(padded(fixed(Double(match.cosine), 4), 7, right: true))  "
          + printable(text, limit: 200))
    }
    return lines.joined(separator: "\n")
  }

  package var json: JSON {
    .object([
      ("photo", .string(photo)),
      (
        "texts",
        .array(
          zip(texts, run.matches).map { text, match in
            .object([
              ("text", .string(text)), ("match", .float(match.probability)), ("cosine", .float(match.cosine)),
              ("logits", .array([.float(match.logits.no), .float(match.logits.yes)])),
            ])
          })
      ),
      ("seconds", .number(run.seconds)), ("planned_anonymous_bytes", .int(run.plan.peak)),
      ("stages", .array(run.stages.map(\.json))), ("model_id", .string(modelIdentity)),
    ])
  }
}
