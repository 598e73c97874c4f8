// What the refinement tests share: numbers from counters, packed layers made from them, goldens from files.
import Compute
import Segmentation
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

enum Refine {
  /// Runs a pass on a counting arena and then in just the memory it counted.
  static func planned<Result>(_ pass: (Arena) throws -> Result) throws -> Result {
    let counting = Arena(counting: nil)
    _ = try pass(counting)
    let arena = try Arena(capacity: counting.highWater)
    let result = try pass(arena)
    #expect(arena.highWater == counting.highWater)
    return result
  }

  /// Uniform in [-1, 1) from SplitMix64 at counters seed * 2^32 + i; the Python generator draws the same.
  static func uniform(_ seed: Int, _ count: Int) -> [Float] {
    (0..<count).map { index in
      var z = ((UInt64(seed) << 32) &+ UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      z ^= z >> 31
      return Float(z >> 40) / Float(1 << 23) - 1
    }
  }

  static func engine(_ precision: Precision = .int8, threads: Int = 2) throws -> Engine {
    try Engine(path: CPUPath.choose(forced: nil), threadCount: threads, precision: precision)
  }

  /// Memory that lives as long as the test process.
  static func keep<Element>(_ values: [Element]) -> UnsafeMutablePointer<Element> {
    let raw = UnsafeMutableRawPointer.allocate(
      byteCount: max(1, values.count) * MemoryLayout<Element>.stride, alignment: 64)
    let pointer = raw.bindMemory(to: Element.self, capacity: max(1, values.count))
    pointer.initialize(from: values, count: values.count)
    return pointer
  }

  static func fixture(_ name: String, file: String = #filePath) -> [UInt8] {
    let folder = file.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(
      separator: "/")
    guard let handle = fopen(folder + "/Fixtures/refine/" + name, "rb") else {
      Issue.record("fixture \(name) is missing")
      return []
    }
    defer { fclose(handle) }
    fseek(handle, 0, SEEK_END)
    var bytes = [UInt8](repeating: 0, count: ftell(handle))
    rewind(handle)
    let count = fread(&bytes, 1, bytes.count, handle)
    #expect(count == bytes.count)
    return bytes
  }

  static func numbers<Element>(_ bytes: ArraySlice<UInt8>, as type: Element.Type) -> [Element] {
    bytes.withUnsafeBytes { raw in
      (0..<raw.count / MemoryLayout<Element>.size).map {
        raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Element>.size, as: type)
      }
    }
  }
}

/// Draws weights in one fixed order, as the Python generator does.
struct RefineWeights {
  private var seed = 0

  mutating func draw(_ count: Int, scale: Float = 1, shift: Float = 0) -> UnsafeMutablePointer<Float> {
    seed += 1
    return Refine.keep(Refine.uniform(seed, count).map { $0 * scale + shift })
  }

  mutating func dense(_ outputs: Int, _ inputs: Int) -> DenseWeights {
    let weight = draw(outputs * inputs, scale: Float(1.7 / Double(inputs).squareRoot()))
    return DenseWeights(weight: weight, bias: draw(outputs, scale: 0.1), inputs: inputs, outputs: outputs)
  }

  mutating func norm(_ width: Int, epsilon: Float) -> NormWeights {
    let weight = draw(width, scale: 0.2, shift: 1)
    return NormWeights(weight: weight, bias: draw(width, scale: 0.1), width: width, epsilon: epsilon)
  }

  /// Rounds rows to INT8 and lays them out in panels of 16 channels, depth interleaved by 4.
  mutating func packed(_ outputs: Int, _ inputs: Int) -> PackedLinear {
    let rows = draw(outputs * inputs, scale: Float(1.7 / Double(inputs).squareRoot()))
    let bias = draw(outputs, scale: 0.1)
    let depth = roundUp(inputs, to: 64)
    let channels = roundUp(outputs, to: 16)
    var weight = [Int8](repeating: 0, count: channels * depth)
    var scale = [Float](repeating: 1, count: channels)
    var sum = [Int32](repeating: 0, count: channels)
    var biases = [Float](repeating: 0, count: channels)
    for channel in 0..<outputs {
      let row = UnsafeBufferPointer(start: rows + channel * inputs, count: inputs)
      scale[channel] = row.reduce(0) { max($0, abs($1)) } / 127
      biases[channel] = bias[channel]
      for column in 0..<inputs {
        let value = Int8((row[column] / scale[channel]).rounded(.toNearestOrEven))
        weight[((channel / 16 * (depth / 4) + column / 4) * 16 + channel % 16) * 4 + column % 4] = value
        sum[channel] += Int32(value)
      }
    }
    return PackedLinear(
      inputs: inputs, outputs: outputs, weight: Refine.keep(weight), scale: Refine.keep(scale),
      sum: Refine.keep(sum), bias: Refine.keep(biases))
  }

  mutating func attention(_ width: Int, _ inner: Int) -> AttentionWeights {
    let q = packed(inner, width)
    let k = packed(inner, width)
    let v = packed(inner, width)
    return AttentionWeights(q: q, k: k, v: v, out: packed(width, inner))
  }

  /// A layer whose `outputs` biases are each stored four times, once per place of a 2 x 2 kernel.
  mutating func upscale(_ outputs: Int, _ inputs: Int) -> PackedLinear {
    let layer = packed(4 * outputs, inputs)
    let bias = UnsafeMutablePointer(mutating: layer.panels.bias!)
    for index in outputs..<4 * outputs { bias[index] = bias[index % outputs] }
    return layer
  }

  mutating func decoder(_ shape: DecoderShape) -> DecoderWeights {
    let width = shape.width
    let gaussian = draw(width)
    let points = draw(4 * width, scale: 0.5)
    let conv0 = dense(4, 4)
    let norm1 = norm(4, epsilon: 1e-6)
    let conv3 = dense(16, 16)
    let norm4 = norm(16, epsilon: 1e-6)
    let prompt = PromptWeights(
      gaussian: gaussian, points: points, notAPoint: Refine.keep(Refine.uniform(900, width)),
      noMask: Refine.keep(Refine.uniform(901, width)), convolutions: [conv0, conv3, dense(width, 16)],
      norms: [norm1, norm4])
    var layers: [DecoderLayerWeights] = []
    for _ in 0..<shape.depth {
      let own = attention(width, width)
      let token = attention(width, shape.attentionWidth)
      let image = attention(width, shape.attentionWidth)
      let mlpIn = packed(shape.mlpWidth, width)
      let mlpOut = packed(width, shape.mlpWidth)
      let norms = (0..<4).map { _ in norm(width, epsilon: 1e-5) }
      layers.append(
        DecoderLayerWeights(
          selfAttention: own, crossToken: token, crossImage: image, mlpIn: mlpIn, mlpOut: mlpOut, norms: norms
        ))
    }
    let final = attention(width, shape.attentionWidth)
    let finalNorm = norm(width, epsilon: 1e-5)
    let iouToken = draw(width)
    let tokens = OutputTokens(iou: iouToken, masks: draw(shape.maskTokens * width))
    let upscale0 = upscale(width / 4, width)
    let upscaleNorm = norm(width / 4, epsilon: 1e-6)
    let upscale3 = upscale(width / 8, width / 4)
    let hyper = [dense(width, width), dense(width, width), dense(width / 8, width)]
    let iou = [dense(width, width), dense(width, width), dense(shape.maskTokens, width)]
    return DecoderWeights(
      prompt: prompt, tokens: tokens, layers: layers, final: final, finalNorm: finalNorm,
      upscale: UpscaleWeights(first: upscale0, norm: upscaleNorm, second: upscale3), hyper: hyper, iou: iou)
  }
}

/// The toy decoder of the goldens.
struct RefineToy {
  static let shape = DecoderShape(
    grid: 8, imageSide: 128, width: 32,
    decoder: DecoderConfig(
      depth: 2, heads: 4, mlpWidth: 64, maskTokens: 4, hyperDepth: 3, iouDepth: 3, attentionWidth: 16,
      iouWidth: 32))
  let weights: DecoderWeights
  let embedding: UnsafeMutablePointer<Float>

  init() {
    var source = RefineWeights()
    weights = source.decoder(Self.shape)
    embedding = source.draw(Self.shape.cells * Self.shape.width)
  }
}

/// Scores of a golden case, or of a random one.
struct RefineScores {
  let rows: Int
  let columns: Int
  let width: Int
  let classOf: [Int]
  let features: [Float]
  let text: UnsafeMutablePointer<Float>

  init(seed: Int, rows: Int, columns: Int, width: Int, classOf: [Int]) {
    self.rows = rows
    self.columns = columns
    self.width = width
    self.classOf = classOf
    features = Self.unit(Refine.uniform(seed, rows * columns * width), width, length: 1)
    text = Refine.keep(Self.unit(Refine.uniform(seed + 1, classOf.count * width), width, length: 0.1))
  }

  private static func unit(_ values: [Float], _ width: Int, length: Float) -> [Float] {
    var values = values
    for start in stride(from: 0, to: values.count, by: width) {
      let norm = values[start..<start + width].reduce(0) { $0 + $1 * $1 }.squareRoot()
      for index in start..<start + width { values[index] *= length / norm }
    }
    return values
  }

  func map(_ arena: Arena, _ engine: Engine) throws -> FeatureScores {
    let stored = try StoredRows(arena, engine, count: rows * columns, width: width)
    if !arena.isCounting {
      features.withUnsafeBufferPointer {
        stored.store(engine, Rows(reading: $0.baseAddress!, count: rows * columns, width: width), at: 0)
      }
    }
    return try FeatureScores(
      arena, stored, rows: rows, text: Rows(text, count: classOf.count, width: width), phraseClass: classOf)
  }

  /// Class probabilities of every pixel, the slow way, in double precision. [classes][height * width]
  func probabilities(height: Int, width photoWidth: Int, scale: Double = 40) -> [[Double]] {
    let classes = classOf.last! + 1
    var out = [[Double]](repeating: [Double](repeating: 0, count: height * photoWidth), count: classes)
    var cosine = [[Double]](repeating: [Double](repeating: 0, count: rows * columns), count: classOf.count)
    for phrase in 0..<classOf.count {
      for cell in 0..<rows * columns {
        for k in 0..<width {
          cosine[phrase][cell] += Double(features[cell * width + k]) * Double(text[phrase * width + k])
        }
      }
    }
    for y in 0..<height {
      let v = naiveTap(y, rows, height)
      for x in 0..<photoWidth {
        let h = naiveTap(x, columns, photoWidth)
        let logits = cosine.map { map in
          scale
            * ((1 - v.2) * ((1 - h.2) * map[v.0 * columns + h.0] + h.2 * map[v.0 * columns + h.1])
              + v.2 * ((1 - h.2) * map[v.1 * columns + h.0] + h.2 * map[v.1 * columns + h.1]))
        }
        let top = logits.max()!
        let sum = logits.reduce(0) { $0 + exp($1 - top) }
        for (phrase, logit) in logits.enumerated() {
          let label = classOf[phrase]
          out[label][y * photoWidth + x] = max(out[label][y * photoWidth + x], exp(logit - top) / sum)
        }
      }
    }
    return out
  }
}

/// Bilinear tap with half-pixel centres: lower, upper, fraction.
func naiveTap(_ index: Int, _ input: Int, _ output: Int) -> (Int, Int, Double) {
  let position = max(0, (Double(index) + 0.5) * Double(input) / Double(output) - 0.5)
  let lower = min(Int(position), input - 1)
  return (lower, min(lower + 1, input - 1), min(1, position - Double(lower)))
}
