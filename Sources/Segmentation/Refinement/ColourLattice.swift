// Gaussian filtering over place and colour at once, on a sparse lattice: cost and memory grow with pixels,
// not their square.
import Compute

/// Filters four or eight values a pixel with exp(-|dp|^2 / (2 sigmaXY^2) - |dc|^2 / (2 sigmaRGB^2)), up to a
/// factor.
///
/// Pixels are points in five dimensions. Their values are spread over the corners of the simplex they lie in,
/// blurred along the six directions of the lattice, and read back. Only corners next to a pixel exist.
///
/// - Shapes: planes [pixels] of four or eight values.
/// - Memory: 44 bytes a pixel; 112 bytes a corner, of which four values leave 32 untouched, `cornerLimit` of
///   them at most. A photo with more corners (fine noise) is filtered with a `sigmaRGB` wider by 1.25, again
///   and again until they suffice: `sigmaRGB` says what it came to.
/// - Errors: an arena that is too small throws.
/// - Source: Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice" (2010).
final class ColourLattice<Values: ClassLanes> {
  private static var corners: Int { Simplex.corners }

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
  /// [limit + 1]; corner 0 stands for all that do not exist. Keys and their hash table lie where values will:
  /// no corner is looked for once those are there.
  private let key: UnsafeMutablePointer<UInt64>
  /// [6, limit + 1, 2]: neighbours of each corner along each direction.
  private let neighbour: UnsafeMutablePointer<Int32>
  private let table: UnsafeMutablePointer<Int32>
  private var values: UnsafeMutablePointer<Values>
  private var spare: UnsafeMutablePointer<Values>

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
    values = try arena.reserveEights(2 * (limit + 1))
    spare = values + limit + 1
    // 8 bytes a key and less than 16 for its places of the table, in 64 a corner.
    let room = UnsafeMutableRawPointer(values)
    table = room.bindMemory(to: Int32.self, capacity: 1 << bits)
    key = (room + (4 << bits)).bindMemory(to: UInt64.self, capacity: limit + 1)
    if arena.isCounting { return }
    while !place() { self.sigmaRGB *= 1.25 }
    connect()
    values = room.bindMemory(to: Values.self, capacity: 2 * (limit + 1))
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
  func filter(_ plane: UnsafePointer<Values>?, times factor: UnsafePointer<Float>?) {
    // Both halves of the pixels at once, each into sums of its own.
    let sums = [values, spare]
    engine.pool.run(count: 2, chunk: 1) { half, _ in
      let middle = guide.count / 2
      let pixels = half.lowerBound == 0 ? 0..<middle : middle..<guide.count
      spread(plane, times: factor, of: pixels, into: sums[half.lowerBound])
    }
    let (values, others) = (values, spare)
    engine.pool.run(count: cornerCount, chunk: 4096) { corners, _ in
      for index in corners { values[index + 1] += others[index + 1] }
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

  /// Adds pixels to the corners of their simplices.
  ///
  /// - Shapes: `sums` [cornerCount + 1], overwritten; the first is 0.
  private func spread(
    _ plane: UnsafePointer<Values>?, times factor: UnsafePointer<Float>?, of pixels: Range<Int>,
    into sums: UnsafeMutablePointer<Values>
  ) {
    sums.update(repeating: Values(repeating: 0), count: cornerCount + 1)
    for pixel in pixels {
      let value = (plane?[pixel] ?? Values(repeating: 1)) * (factor?[pixel] ?? 1)
      let (places, shares) = (corner + pixel * Self.corners, share + pixel * (Self.corners - 1))
      var rest: Float = 1
      for number in 1..<Self.corners {
        rest -= shares[number - 1]
        sums[Int(places[number])] += value * shares[number - 1]
      }
      sums[Int(places[0])] += value * rest
    }
  }

  /// What the filter made of one pixel.
  @inline(__always)
  func value(_ pixel: Int) -> Values {
    let values = self.values
    let (places, shares) = (corner + pixel * Self.corners, share + pixel * (Self.corners - 1))
    var sum = Values(repeating: 0)
    var rest: Float = 1
    for number in 1..<Self.corners {
      rest -= shares[number - 1]
      sum += values[Int(places[number])] * shares[number - 1]
    }
    return sum + values[Int(places[0])] * rest
  }
}

extension Arena {
  /// Room for eight values a place, of which `Values` may use fewer: a plan does not know yet how many
  /// classes a photo will have.
  func reserveEights<Values: ClassLanes>(_ count: Int) throws(ComputeError) -> UnsafeMutablePointer<Values> {
    UnsafeMutableRawPointer(try reserve(Eight.self, count)).bindMemory(to: Values.self, capacity: count)
  }
}
