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
  private static let dimensions = Simplex.dimensions
  private static let corners = Simplex.corners

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
  ///
  /// All threads find simplices; one makes their corners, in the order of the pixels. Until then a pixel's
  /// six places hold its simplex.
  private func place() -> Bool {
    cornerCount = 0
    table.update(repeating: 0, count: 1 << hashBits)
    engine.pool.run(count: guide.height, chunk: 4) { rows, _ in for row in rows { locate(row) } }
    for pixel in 0..<guide.count {
      let places = corner + pixel * Self.corners
      let simplex = Simplex(storedIn: places)
      var key = simplex.key
      for number in 0..<Self.corners {
        if number > 0 { key = simplex.next(key, number) }
        guard let found = find(key, makes: true) else { return false }
        places[number] = found
      }
    }
    return true
  }

  /// The simplices of a row's pixels, and their shares.
  private func locate(_ y: Int) {
    withUnsafeTemporaryAllocation(of: Eight.self, capacity: EightSimplices.capacity) { room in
      guard let base = room.baseAddress else { return }
      let simplices = EightSimplices(base)
      for first in stride(from: 0, to: guide.width, by: 8) {
        let count = min(8, guide.width - first)
        for lane in 0..<8 {
          let x = first + min(lane, count - 1)
          let colour = guide.pixels + 3 * (y * guide.width + x)
          simplices.point[0][lane] = Float(x) / sigmaXY
          simplices.point[1][lane] = Float(y) / sigmaXY
          for channel in 0..<3 { simplices.point[2 + channel][lane] = Float(colour[channel]) / sigmaRGB }
        }
        simplices.locate()
        for lane in 0..<count {
          let pixel = y * guide.width + first + lane
          simplices.simplex(lane, shares: share + pixel * (Self.corners - 1)).store(
            in: corner + pixel * Self.corners)
        }
      }
    }
  }

  /// Finds each corner's neighbours: one step along direction d adds 5 to coordinate d and takes 1 from the
  /// others.
  private func connect() {
    for direction in 0..<Self.corners {
      let step = Simplex.step(direction) &- Simplex.ones
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
