// CLIP's two towers in files of their own: together they give what one file gives.
import Container
import Quantization
import Segmentation
import TestSupport
import Testing

@Suite("Towers in files of their own", .serialized)
struct TextHalvesTests {
  private struct Parts {
    let golden: GoldenCase
    let whole: Session
    let image: Session
    let text: Session

    init(_ name: String, in folder: String? = nil) throws {
      golden = try folder.map { try GoldenCase(name, in: $0) } ?? GoldenCase(name)
      whole = try Session(modelPath: try golden.model(), runtime: RuntimeOptions())
      image = try Session(modelPath: try GoldenModels.half(golden, .image), runtime: RuntimeOptions())
      text = try Session(modelPath: try GoldenModels.half(golden, .text), runtime: RuntimeOptions())
    }

    /// Words encoded by one of the sessions.
    func words(_ session: Session) throws -> (wording: Wording, vectors: [Float]) {
      let prompts = try GoldenRun.prompts(session, golden.classLines)
      guard case .prompts(let source) = prompts.source else { throw GoldenProblem("no prompts") }
      let plan = try session.planText(source, .int8)
      let vectors = try session.encodeText(source, .int8, plan: plan, measures: false).vectors
      return (Wording(source: .vectors(vectors), phraseClass: prompts.phraseClass), vectors)
    }
  }

  @Test("the same vectors, labels and scores; what each file holds")
  func together() throws {
    for parts in [try Parts("square", in: "golden-scclip"), try Parts("toy-b")] {
      #expect(parts.text.model.config.roles == [.text])
      #expect(!parts.image.model.config.roles.contains(.text) && parts.image.model.config.clip != nil)
      #expect(parts.text.embedWidth == parts.whole.embedWidth)
      let (wording, vectors) = try parts.words(parts.text)
      #expect(try vectors == parts.words(parts.whole).vectors)
      let photo = try PhotoFile(path: try parts.golden.photoPath)
      let options = try parts.golden.options(.int8)
      let wanted = try GoldenRun.run(parts.whole, photo, wording, options)
      let found = try GoldenRun.run(parts.image, photo, wording, options)
      #expect(found.labels == wanted.labels && found.scores == wanted.scores)
    }
  }

  @Test("a vocabulary goes with the halves of one checkpoint and with nothing else")
  func identities() throws {
    let (one, other) = (try Parts("square", in: "golden-scclip"), try Parts("toy-b"))
    #expect(one.text.textIdentity == one.image.textIdentity)
    #expect(one.text.modelIdentity != one.image.modelIdentity)
    let strangers = [one.whole.textIdentity, other.whole.textIdentity, other.image.textIdentity]
    #expect(!strangers.contains(one.text.textIdentity))
  }

  @Test("what a half cannot do is said")
  func refusals() throws {
    let parts = try Parts("square", in: "golden-scclip")
    let noWords = thrownError(SegmentationError.self) { _ = try parts.image.makeTokenizer() }
    let tower = try #require(parts.image.model.config.clipText)
    #expect(tower.hasPrefix("clip-") && tower.utf8.count == 37)
    #expect(noWords?.description.contains("give words as --vocabulary") == true)
    #expect(noWords?.description.contains(tower) == true)
    let photo = try PhotoFile(path: try parts.golden.photoPath)
    let wording = try GoldenRun.prompts(parts.text, parts.golden.classLines)
    let noPhotos = thrownError(SegmentationError.self) {
      _ = try parts.text.plan(photo, wording, try parts.golden.options(.int8))
    }
    #expect(noPhotos?.exitCode == 4)
    #expect(noPhotos?.description.contains("holds a text tower and no network for photos") == true)
  }
}
