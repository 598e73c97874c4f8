// A model is what it says it is, before anything is kept under its name; and it stays what it was during a
// run.
import Container
import Segmentation
import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite(.serialized) struct IdentityTests {
  private let scratch = Scratch()

  /// The toy with one changed weight, checksums that fit, and the toy's own identity.
  private func forged(_ name: String = "forged.gguf") throws -> (path: String, identity: String) {
    let original = try GoldenCase("toy-dino8").model()
    let identity = try MappedModel(path: original).claimedIdentity()
    var editor = try ModelEditor(original)
    let index = try #require(editor.index(of: "text.blocks.0.qkv.weight"))
    editor.tensors[index].bytes[0] ^= 1
    try editor.write(to: scratch.file(name), identity: identity)
    return (scratch.file(name), identity)
  }

  /// A legend never lacks the sum of its photo: what cannot be read again is an error.
  @Test func aPhotoIsToldByItsContents() throws {
    let path = scratch.file("photo.ppm")
    let bytes = Array("P6 2 1 255\n".utf8) + [1, 2, 3, 4, 5, 6]
    writeBytes(bytes, to: path)
    let photo = try PhotoFile(path: path)
    var digest = SHA256Digest()
    bytes.withUnsafeBytes { digest.update($0) }
    #expect(
      try photo.contents() == FileContents(sha256: digest.finishHex(), byteCount: bytes.count))
    unlink(path)
    let error = thrownError(SegmentationError.self) { _ = try photo.contents() }
    #expect(error?.exitCode == 3 && "\(error.map { "\($0)" } ?? "")".contains(path))
    #expect(try DrawnPhoto(2, 1).contents() == nil)
  }

  @Test func anEditorsCopyIsTheSameModel() throws {
    let original = try GoldenCase("toy-dino8").model()
    try ModelEditor(original).write(to: scratch.file("copy.gguf"))
    #expect(readBytes(scratch.file("copy.gguf")) == readBytes(original))
  }

  @Test func verifyRefusesABorrowedIdentity() throws {
    let (path, identity) = try forged()
    let file = try MappedModel(path: path)
    try file.verify(provesIdentity: false) { _, _ in }
    let error = thrownError(ContainerError.self) { try file.verify { _, _ in } }
    guard case .otherIdentity(let claimed, let found)? = error?.reason else {
      Issue.record("\(error as Any)")
      return
    }
    #expect(claimed == identity && found != identity && found.count == 64)
  }

  @Test func nothingIsKeptUnderABorrowedIdentity() throws {
    let (path, _) = try forged()
    let proofs = ModelProofs(base: scratch.file("cache"))
    let session = try Session(modelPath: path, runtime: RuntimeOptions())
    #expect(thrownError(SegmentationError.self) { try session.proveIdentity(proofs) }?.exitCode == 4)
    #expect(!proofs.has(session.modelIdentity, session.model.file.stamp))
  }

  @Test func aProofIsForOneFileAsItIs() throws {
    let path = scratch.file("model.gguf")
    writeBytes(readBytes(try GoldenCase("toy-dino8").model()), to: path)
    let proofs = ModelProofs(base: scratch.file("cache"))
    var steps = 0
    func prove() throws -> Int {
      steps = 0
      let session = try Session(modelPath: path, runtime: RuntimeOptions())
      try session.proveIdentity(proofs) { _, _ in steps += 1 }
      return steps
    }
    // Just written: it could be written again within the clock's tick, so the first proof is not kept.
    #expect(try prove() > 0)
    let file = try MappedModel(path: path)
    for _ in 0..<400 where file.stamp?.isSettled == false { usleep(10_000) }
    #expect(try prove() > 0)
    #expect(try prove() == 0)
    // The same size and time of modification, another file.
    var status = stat()
    stat(path, &status)
    let (forgery, _) = try forged()
    writeBytes(readBytes(forgery), to: path)
    let times = [status.st_atim, status.st_mtim]
    utimensat(AT_FDCWD, path, times, 0)
    #expect(thrownError(SegmentationError.self) { try prove() }?.exitCode == 4)
  }

  @Test(arguments: ["", "abc", String(repeating: "x", count: 64), String(repeating: "A", count: 64)])
  func oddIdentitiesAreRefused(_ identity: String) throws {
    let path = scratch.file("odd.gguf")
    try ModelEditor(try GoldenCase("toy-dino8").model()).write(to: path, identity: identity)
    let error = thrownError(SegmentationError.self) {
      try Session(modelPath: path, runtime: RuntimeOptions())
    }
    #expect(error?.exitCode == 4)
    #expect(error?.description.contains("trident.model_id") == true)
  }

  @Test func aModelRewrittenDuringARunEndsIt() throws {
    let golden = try GoldenCase("toy-dino8")
    let path = scratch.file("model.gguf")
    let bytes = readBytes(try golden.model())
    writeBytes(bytes, to: path)
    let session = try Session(modelPath: path, runtime: RuntimeOptions())
    let wording = try GoldenRun.prompts(session, golden.classLines)
    let photo = DrawnPhoto(48, 40)
    let options = try golden.options(.int8)
    let plan = try session.plan(photo, wording, options)
    usleep(20_000)
    let sinks = RunSinks { row, _ in
      if row == 0 { rewrite(path, bytes) }
      return true
    }
    let error = thrownError(SegmentationError.self) {
      try session.run(photo, wording, options, plan: plan, measures: false, sinks)
    }
    #expect(error?.exitCode == 4)
    #expect(error?.description.contains("changed") == true)
  }

  /// Overwrites the first bytes in place.
  private func rewrite(_ path: String, _ bytes: [UInt8]) {
    let file = open(path, O_WRONLY)
    _ = pwrite(file, bytes, 16, 0)
    close(file)
  }

  @Test func aCopySurvivesWhatHappensToItsFile() throws {
    let golden = try GoldenCase("toy-dino8")
    let path = scratch.file("model.gguf")
    writeBytes(readBytes(try golden.model()), to: path)
    var runtime = RuntimeOptions()
    runtime.copiesModel = true
    let session = try Session(modelPath: path, runtime: runtime)
    truncate(path, 100)
    let wording = try GoldenRun.prompts(session, golden.classLines)
    let wanted = try Session(modelPath: try golden.model(), runtime: RuntimeOptions())
    let labels = try [session, wanted].map {
      try GoldenRun.run($0, DrawnPhoto(48, 40), wording, golden.options(.int8)).labels
    }
    #expect(labels[0] == labels[1])
  }

  @Test(arguments: ["text.norm_post.weight", "clip.norm_post.bias"])
  func scoresThatAreNoNumbersEndTheRun(_ tensor: String) throws {
    let golden = try GoldenCase("toy-dino8")
    var editor = try ModelEditor(try golden.model())
    let index = try #require(editor.index(of: tensor))
    editor.fill(index, with: [0, 0, 0xC0, 0x7F])
    try editor.write(to: scratch.file("nan.gguf"))
    let session = try Session(modelPath: scratch.file("nan.gguf"), runtime: RuntimeOptions())
    let wording = try GoldenRun.prompts(session, golden.classLines)
    var options = try golden.options(.float32)
    if !Effort.hasOpenBLAS { options.precision = .int8 }
    let end = Result { try GoldenRun.run(session, DrawnPhoto(48, 40), wording, options) }
    switch end {
    // Integer activations have no such value: they may hide it.
    case .success(let run):
      let isFinite = run.scores.allSatisfy { $0.isFinite }
      #expect(isFinite)
    case .failure(let error):
      let code = (error as? SegmentationError)?.exitCode
      #expect(code == 4)
    }
  }

  /// Merges that no tokenizer can read were accepted by `verify`.
  @Test(arguments: [["a b", "a b"], ["zz y"], ["a"]])
  func whatSegmentRefusesVerifyRefuses(_ merges: [String]) throws {
    var editor = try ModelEditor(try GoldenCase("toy-dino8").model())
    let all = editor.values.first { $0.key == "tokenizer.ggml.merges" }?.value
    guard case .array(_, let old)? = all else { return }
    let rest = old.dropFirst(merges.count)
    editor.set("tokenizer.ggml.merges", .array(of: .string, merges.map { .string($0) } + rest))
    try editor.write(to: scratch.file("merges.gguf"))
    let model = try Model(MappedModel(path: scratch.file("merges.gguf")))
    let session = try Session(modelPath: scratch.file("merges.gguf"), runtime: RuntimeOptions())
    #expect(thrownError(SegmentationError.self) { try session.makeTokenizer() } != nil)
    #expect(thrownError(SegmentationError.self) { try model.check() } != nil)
  }
}

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif
