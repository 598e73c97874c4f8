// Gaussian filtering over place and colour at once, on a sparse lattice: cost and memory grow with pixels,
// not their square.
import Compute

/// Filters eight values a pixel with exp(-|dp|^2 / (2 sigmaXY^2) - |dc|^2 / (2 sigmaRGB^2)), up to a factor.
///
/// Pixels are points in five dimensions. Their values are spread over the corners of the simplex they lie in,
/// blurred along the six directions of the lattice, and read back. Only corners next to a pixel exist.
///
/// - Shapes: planes [pixels] of eight values.
/// - Memory: 44 bytes a pixel; 112 bytes a corner, `cornerLimit` of them at most. A photo with more corners
///   (fine noise) is filtered with a `sigmaRGB` wider by 1.25, again and again until they suffice: `sigmaRGB`
///   says what it came to.
/// - Errors: an arena that is too small throws.
/// - Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice" (2010).
final class ColourLattice {
  private static let dimensions = 5
  private static let corners = 6
  /// A corner's first five coordinates, 12 bits each, biased; the sixth follows from them.
  private static let bias: UInt64 = 2048
  private static let ones: UInt64 = 0x1_0010_0100_1001

  private let engine: Engine
  private let guide: ColourGuide
  private let sigmaXY: Float
  private(set) var sigmaRGB: Float
  private let limit: Int
  private let hashBits: Int
  private(set) var cornerCount = 0
  /// [pixels, 6]: corners, from 1.
  private let corner: UnsafeMutablePointer<Int32>
  /// [pixels, 5]: shares of the last five; the first has the rest.
  private let share: UnsafeMutablePointer<Float>
  /// [limit + 1]; corner 0 stands for all that do not exist. Keys and their hash table lie where `spare` is:
  /// no corner is looked for once values are there.
  private let key: UnsafeMutablePointer<UInt64>
  /// [6, limit + 1, 2]: neighbours of each corner along each direction.
  private let neighbour: UnsafeMutablePointer<Int32>
  private let table: UnsafeMutablePointer<Int32>
  private var values: UnsafeMutablePointer<Eight>
  private var spare: UnsafeMutablePointer<Eight>

  init(_ arena: Arena, engine: Engine, guide: ColourGuide, sigmaXY: Float, sigmaRGB: Float, cornerLimit: Int)
    throws(ComputeError)
  {
    self.engine = engine
    self.guide = guide
    self.sigmaXY = sigmaXY
    self.sigmaRGB = sigmaRGB
    limit = min(Self.corners * guide.count, cornerLimit)
    var bits = 1
    while 1 << bits < 2 * limit { bits += 1 }
    hashBits = bits
    corner = try arena.reserve(Int32.self, guide.count * Self.corners)
    share = try arena.floats(guide.count * (Self.corners - 1))
    neighbour = try arena.reserve(Int32.self, Self.corners * (limit + 1) * 2)
    values = try arena.reserve(Eight.self, limit + 1)
    spare = try arena.reserve(Eight.self, limit + 1)
    // 8 bytes a key and less than 16 a place of the table, in 32 a corner.
    let room = UnsafeMutableRawPointer(spare)
    table = room.bindMemory(to: Int32.self, capacity: 1 << bits)
    key = (room + (4 << bits)).bindMemory(to: UInt64.self, capacity: limit + 1)
    if arena.isCounting { return }
    while !place() { self.sigmaRGB *= 1.25 }
    connect()
    spare = room.bindMemory(to: Eight.self, capacity: limit + 1)
  }

  // MARK: Lattice

  /// The corner with this key, made if there is none and `makes`; 0 if there is none, nil if there is no
  /// room.
  private func find(_ wanted: UInt64, makes: Bool) -> Int32? {
    var slot = Int((wanted &* 0x9E37_79B9_7F4A_7C15) >> UInt64(64 - hashBits))
    while table[slot] != 0 {
      if key[Int(table[slot])] == wanted { return table[slot] }
      slot = (slot + 1) & ((1 << hashBits) - 1)
    }
    if !makes { return 0 }
    if cornerCount == limit { return nil }
    cornerCount += 1
    key[cornerCount] = wanted
    table[slot] = Int32(cornerCount)
    return Int32(cornerCount)
  }

  /// Finds each pixel's simplex. Returns false if there are too many corners.
  private func place() -> Bool {
    cornerCount = 0
    table.update(repeating: 0, count: 1 << hashBits)
    var simplex = Simplex()
    for pixel in 0..<guide.count {
      let colour = guide.pixels + 3 * pixel
      simplex.locate([
        Float(pixel % guide.width) / sigmaXY, Float(pixel / guide.width) / sigmaXY,
        Float(colour[0]) / sigmaRGB,
        Float(colour[1]) / sigmaRGB, Float(colour[2]) / sigmaRGB, 0, 0, 0,
      ])
      for number in 0..<Self.corners {
        var packed: UInt64 = 0
        for axis in 0..<Self.dimensions {
          let coordinate = Int64(Self.bias) + Int64(simplex.coordinate(axis, corner: number))
          precondition(coordinate > 6 && coordinate < 4090, "a photo too large for its sigmas")
          packed |= UInt64(coordinate) << (12 * UInt64(axis))
        }
        guard let found = find(packed, makes: true) else { return false }
        corner[pixel * Self.corners + number] = found
        if number > 0 { share[pixel * (Self.corners - 1) + number - 1] = simplex.share[number] }
      }
    }
    return true
  }

  /// Finds each corner's neighbours: one step along direction d adds 5 to coordinate d and takes 1 from the
  /// others.
  private func connect() {
    for direction in 0..<Self.corners {
      let step = (direction < Self.dimensions ? 6 << (12 * UInt64(direction)) : 0) &- Self.ones
      let pairs = neighbour + direction * (limit + 1) * 2
      engine.pool.run(count: cornerCount, chunk: 1024) { corners, _ in
        for index in corners {
          pairs[2 * (index + 1)] = self.find(self.key[index + 1] &+ step, makes: false) ?? 0
          pairs[2 * (index + 1) + 1] = self.find(self.key[index + 1] &- step, makes: false) ?? 0
        }
      }
    }
  }

  // MARK: Filter

  /// Takes in `plane` times `factor`, pixel by pixel, and filters.
  ///
  /// - Shapes: `plane` [pixels], nil for ones; `factor` [pixels], nil for ones.
  func filter(_ plane: UnsafePointer<Eight>?, times factor: UnsafePointer<Float>?) {
    let values = self.values
    values.update(repeating: Eight(repeating: 0), count: cornerCount + 1)
    spare[0] = Eight(repeating: 0)
    for pixel in 0..<guide.count {
      let value = (plane?[pixel] ?? Eight(repeating: 1)) * (factor?[pixel] ?? 1)
      let (places, shares) = (corner + pixel * Self.corners, share + pixel * (Self.corners - 1))
      var rest: Float = 1
      for number in 1..<Self.corners {
        rest -= shares[number - 1]
        values[Int(places[number])] += value * shares[number - 1]
      }
      values[Int(places[0])] += value * rest
    }
    for direction in 0..<Self.corners {
      let pairs = neighbour + direction * (limit + 1) * 2
      let (old, new) = (self.values, spare)
      engine.pool.run(count: cornerCount, chunk: 1024) { corners, _ in
        for index in corners.lowerBound + 1..<corners.upperBound + 1 {
          new[index] = old[index] + 0.5 * (old[Int(pairs[2 * index])] + old[Int(pairs[2 * index + 1])])
        }
      }
      swap(&self.values, &spare)
    }
  }

  /// What the filter made of one pixel.
  @inline(__always)
  func value(_ pixel: Int) -> Eight {
    let values = self.values
    let (places, shares) = (corner + pixel * Self.corners, share + pixel * (Self.corners - 1))
    var sum = Eight(repeating: 0)
    var rest: Float = 1
    for number in 1..<Self.corners {
      rest -= shares[number - 1]
      sum += values[Int(places[number])] * shares[number - 1]
    }
    return sum + values[Int(places[0])] * rest
  }
}

/// The simplex of the lattice that a point lies in.
///
/// A point of five dimensions becomes six coordinates that sum to zero. The nearest lattice point whose
/// coordinates are all multiples of six is found by rounding; the order of what is left over names the
/// simplex around it.
private struct Simplex {
  /// Scales that make one standard deviation of the input one of the blur.
  private static let scale: [Float] = (0..<5).map { axis in
    let product = Float((axis + 1) * (axis + 2))
    return (24 / product).squareRoot()
  }

  /// Shares of the corners but the first, which has the rest.
  private(set) var share = SIMD8<Float>()
  private var origin = SIMD8<Int32>()
  private var rank = SIMD8<Int32>()

  /// Coordinate `axis` of a corner.
  @inline(__always)
  func coordinate(_ axis: Int, corner: Int) -> Int32 {
    origin[axis] + (Int(rank[axis]) <= 5 - corner ? Int32(corner) : Int32(corner - 6))
  }

  /// Finds the simplex of a point; the first five values count.
  mutating func locate(_ point: SIMD8<Float>) {
    var raised = SIMD8<Float>()
    var sum: Float = 0
    for axis in stride(from: 5, to: 0, by: -1) {
      let scaled = point[axis - 1] * Self.scale[axis - 1]
      raised[axis] = sum - Float(axis) * scaled
      sum += scaled
    }
    raised[0] = sum
    let rounded = (raised / 6).rounded(.toNearestOrEven)
    var excess: Int32 = 0
    for axis in 0..<6 { excess += Int32(rounded[axis]) }
    let rest = raised - rounded * 6
    for axis in 0..<6 { origin[axis] = Int32(rounded[axis]) * 6 }
    rank = SIMD8<Int32>(repeating: excess)
    for a in 0..<5 {
      for b in a + 1..<6 {
        if rest[a] < rest[b] { rank[a] += 1 } else { rank[b] += 1 }
      }
    }
    // Off the plane of zero sums: the largest or smallest leftovers move by one step.
    for axis in 0..<6 {
      if rank[axis] < 0 {
        rank[axis] += 6
        origin[axis] += 6
      } else if rank[axis] > 5 {
        rank[axis] -= 6
        origin[axis] -= 6
      }
    }
    // Sorted leftovers, largest first: shares are their differences.
    var sorted = SIMD8<Float>()
    for axis in 0..<6 { sorted[Int(rank[axis])] = (raised[axis] - Float(origin[axis])) / 6 }
    share = SIMD8<Float>()
    for corner in 1..<6 { share[corner] = sorted[5 - corner] - sorted[6 - corner] }
  }
}
