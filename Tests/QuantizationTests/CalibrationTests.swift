// Calibration: factors that cancel exactly, and toys with outlier channels that come out closer to float.
import Container
import Foundation
import Quantization
import Segmentation
import TestSupport
import Testing

@Suite struct CalibrationTests {
  /// Outlier channels in every norm and the inverse in the columns behind it: in exact arithmetic the same
  /// network.
  private func withOutliers(
    _ toy: ToyCheckpoint, _ pairs: [(norm: String, matrix: String)]
  ) -> ToyCheckpoint {
    var copy = toy
    for name in toy.tensors.keys {
      for (norm, matrix) in pairs where name.hasSuffix("\(norm).weight") {
        let stem = String(name.dropLast("\(norm).weight".count))
        guard let weights = toy.tensors[stem + matrix] else { continue }
        let width = weights.shape[1]
        for channel in stride(from: 5, to: width, by: 17) {
          for part in ["weight", "bias"] { copy.tensors["\(stem)\(norm).\(part)"]!.values[channel] *= 30 }
          for row in 0..<weights.shape[0] { copy.tensors[stem + matrix]!.values[row * width + channel] /= 30 }
        }
      }
    }
    return copy
  }

  private func folder(clip change: (ToyCheckpoint) -> ToyCheckpoint = { $0 }) throws -> ToyFolder {
    let folder = try ToyFolder(
      clip: change(withOutliers(.clip(), [("ln_1", "attn.in_proj_weight"), ("ln_2", "mlp.c_fc.weight")])),
      dino: withOutliers(.dino(), [("norm1", "attn.qkv.weight"), ("norm2", "mlp.fc1.weight")]),
      sam: withOutliers(.sam(), [("norm1", "attn.qkv.weight"), ("norm2", "mlp.lin1.weight")]))
    let photos = folder.path + "/photos/"
    try FileManager.default.createDirectory(atPath: photos, withIntermediateDirectories: true)
    for (seed, name) in ["b.ppm", "a.ppm"].enumerated() { try photo(photos + name, UInt64(seed)) }
    return folder
  }

  /// Blocks of random colour, 132 x 100.
  private func photo(_ path: String, _ seed: UInt64) throws {
    var state = seed + 40
    let colours = (0..<(12 * 10 * 3)).map { _ in UInt8(127 + 120 * toyRandom(&state)) }
    var bytes = Data("P6\n132 100\n255\n".utf8)
    for y in 0..<100 {
      for x in 0..<132 { for part in 0..<3 { bytes.append(colours[((y / 10) * 12 + x / 11) * 3 + part]) } }
    }
    try bytes.write(to: URL(fileURLWithPath: path))
  }

  /// The canvas of CLIP features: [cells, width].
  private func canvas(_ model: String, photo: String, _ precision: PrecisionChoice) throws -> Taps.Tap {
    var runtime = RuntimeOptions()
    runtime.threads = 2
    let session = try Session(modelPath: model, runtime: runtime)
    var options = SegmentOptions(
      calibrating: try #require(session.model.config.clip), try #require(session.model.config.dino))
    options.refinement = .none
    options.precision = precision
    var vector = [Float](repeating: 0, count: session.embedWidth)
    vector[0] = 1
    let wording = Wording(source: .vectors(vector), phraseClass: [0])
    let file = try PhotoFile(path: photo)
    var sinks = RunSinks { _, _ in true }
    let taps = Taps()
    sinks.taps = taps
    let plan = try session.plan(file, wording, options)
    _ = try session.run(file, wording, options, plan: plan, measures: false, sinks)
    return try #require(taps.all["splice.canvas"])
  }

  /// Mean cosine of the rows of two maps.
  private func cosine(_ a: Taps.Tap, _ b: Taps.Tap) -> Double {
    var total = 0.0
    for (row, values) in a {
      var (ab, aa, bb) = (0.0, 0.0, 0.0)
      for (x, y) in zip(values, b[row] ?? []) {
        let (x, y) = (Double(x), Double(y))
        (ab, aa, bb) = (ab + x * y, aa + x * x, bb + y * y)
      }
      total += ab / (aa * bb).squareRoot()
    }
    return total / Double(a.count)
  }

  @Test func outlierChannelsComeCloserToFloat() throws {
    let folder = try folder()
    let plain = folder.request.output
    _ = try folder.quantize()
    folder.request.output = folder.path + "/calibrated.gguf"
    folder.request.calibration = folder.path + "/photos"
    _ = try folder.quantize()
    let calibrated = folder.request.output
    #expect(!folder.names.contains { $0.hasSuffix(".part") })
    let model = try MappedModel(path: calibrated)
    try model.verify { _, _ in }
    #expect(try model.string("trident.calibration") == "smoothquant 0.5, 2 photos")
    #expect(try !MappedModel(path: plain).keys.contains("trident.calibration"))

    // A photo that calibration did not see.
    let photo = folder.path + "/other.ppm"
    try self.photo(photo, 7)
    let floatPlain = try canvas(plain, photo: photo, .float32)
    let floatCalibrated = try canvas(calibrated, photo: photo, .float32)
    let before = 1 - cosine(try canvas(plain, photo: photo, .int8), floatPlain)
    let after = 1 - cosine(try canvas(calibrated, photo: photo, .int8), floatCalibrated)
    #expect(after < before / 2, "\(before) before, \(after) after")
    // The same network without outliers: stored weights, too, come closer to it.
    let even = try ToyFolder()
    _ = try even.quantize()
    let reference = try canvas(even.request.output, photo: photo, .float32)
    let apartBefore = 1 - cosine(floatPlain, reference)
    let apartAfter = 1 - cosine(floatCalibrated, reference)
    print("calibration: int8 \(before) -> \(after), stored weights \(apartBefore) -> \(apartAfter)")
    #expect(apartAfter < 1e-4 && apartAfter < apartBefore / 2, "\(apartBefore) before, \(apartAfter) after")

    folder.request.output = folder.path + "/again.gguf"
    _ = try folder.quantize()
    let again = try Data(contentsOf: URL(fileURLWithPath: folder.request.output))
    #expect(try again == Data(contentsOf: URL(fileURLWithPath: calibrated)))
  }

  /// Calibration looks at the network whose channel is suppressed already.
  @Test func suppressionComesFirst() throws {
    let name = "visual.transformer.resblocks.0.mlp.c_proj.weight"
    let asked = try folder()
    asked.request.suppressed = .named(1...1)
    asked.request.calibration = asked.path + "/photos"
    let report = try asked.quantize()
    let channel = try #require(report.entries.compactMap(\.suppressed).first)
    let beforehand = try folder { toy in
      var copy = toy
      let columns = toy.tensors[name]!.shape[1]
      for column in 0..<columns {
        copy.tensors[name]!.values[channel.channel * columns + column] *= channel.factor
      }
      return copy
    }
    beforehand.request.calibration = beforehand.path + "/photos"
    _ = try beforehand.quantize()
    let models = try [asked, beforehand].map { try MappedModel(path: $0.request.output) }
    let bytes = models.map { model in
      model.tensors.map { Array(UnsafeRawBufferPointer(rebasing: model.fileBytes[$0.range])) }
    }
    #expect(bytes[0] == bytes[1])
    #expect(try models[0].string("trident.calibration") == "smoothquant 0.5, 2 photos")
  }

  @Test func factorsCancelExactly() throws {
    var state: UInt64 = 3
    let activations = (0..<64).map { $0 % 9 == 0 ? 40 + toyRandom(&state) : 1 + toyRandom(&state) / 2 }
    var weights = (0..<64).map { _ in 0.1 + abs(toyRandom(&state)) }
    weights[3] = 0
    let shares = ChannelBalance.shares(activations: activations, weights: weights)
    #expect(shares[3] == 1)
    #expect(shares[9] > 1 && shares.contains { $0 < 1 })
    for (index, share) in shares.enumerated() {
      #expect(share >= 1 / 16 && share <= 16)
      let (x, w) = (activations[index], weights[index])
      #expect(x * (1 / share) * (w * share) == x * w)
    }
    #expect(ChannelBalance.shares(activations: [1e9, 1, 1], weights: [1, 1, 1])[0] == 16)
  }

  @Test func foldersWithoutPhotosAreRefused() throws {
    let folder = try ToyFolder()
    try FileManager.default.createDirectory(atPath: folder.path + "/empty", withIntermediateDirectories: true)
    try folder.write("damaged.ppm", "P6\n10 10\n255\n")
    for (name, text) in [("empty", "no photos"), ("missing", "cannot read"), (".", "damaged.ppm")] {
      folder.request.calibration = folder.path + "/" + name
      do throws(QuantizationFailure) {
        _ = try folder.quantize()
        Issue.record("accepted \(name)")
      } catch {
        guard case .photo(let message) = error else {
          Issue.record("\(error)")
          continue
        }
        #expect(message.contains(text), "\(message)")
      }
      #expect(!folder.names.contains { $0.hasPrefix("model.gguf") })
    }
  }
}
