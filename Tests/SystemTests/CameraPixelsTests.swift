// Pixels of cameras as red, green and blue, against values of NumPy (Tests/Reference/make_camera_pixels.py).
import System
import TestSupport
import Testing

@Suite struct CameraPixelsTests {
  private struct Record {
    let layout: CameraLayout
    let picture: [UInt8]
    let colours: [UInt8]
  }

  private static let rules: [CameraLayout.Rule] = [.bt601, .bt709, .bt2020, .smpte240]

  private func records() throws -> [Record] {
    let file = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
    let bytes = try FileBytes.read("/\(file)/Fixtures/camera/pixels.bin", limit: 1 << 20)
    var (records, at) = ([Record](), 0)
    func number(_ index: Int) -> Int { Int(bytes[at + 4 + 2 * index]) | Int(bytes[at + 5 + 2 * index]) << 8 }
    while at < bytes.count {
      let letters = String(decoding: bytes[at..<at + 4], as: UTF8.self)
      let layout = CameraLayout(
        try #require(CameraLayout.Pixels(rawValue: letters)), width: number(0), height: number(1),
        stride: number(2), rule: Self.rules[number(3)], isFull: number(4) == 1)
      let (start, count) = (at + 16, number(5))
      let end = start + count + 3 * layout.width * layout.height
      records.append(
        Record(
          layout: layout, picture: Array(bytes[start..<start + count]),
          colours: Array(bytes[start + count..<end])))
      at = end
    }
    return records
  }

  /// All rows; the picture ends where its last pixel does.
  private func converted(_ layout: CameraLayout, _ picture: [UInt8]) -> [UInt8] {
    var out = [UInt8](repeating: 1, count: 3 * layout.width * layout.height)
    let pixels = CameraPixels(layout)
    out.withUnsafeMutableBufferPointer { out in
      picture.withUnsafeBufferPointer { picture in
        for y in 0..<layout.height {
          pixels.row(y, of: picture.baseAddress!, into: out.baseAddress! + y * 3 * layout.width)
        }
      }
    }
    return out
  }

  @Test func everyLayoutRuleAndRange() throws {
    let records = try records()
    #expect(records.count == 38)
    #expect(Set(records.map(\.layout.pixels)).count == CameraLayout.Pixels.allCases.count)
    for record in records {
      let found = converted(record.layout, record.picture)
      let off = zip(found, record.colours).map { abs(Int($0) - Int($1)) }
      // Nearly a half is rounded either way.
      #expect((off.max() ?? 0) <= 1 && off.count { $0 > 0 } <= 1, "\(record.layout): \(off)")
    }
  }

  /// Colour bars as broadcasters write them.
  @Test func bars() {
    func colour(_ y: UInt8, _ cb: UInt8, _ cr: UInt8, _ rule: CameraLayout.Rule, _ isFull: Bool) -> [UInt8] {
      let layout = CameraLayout(.uyvy, width: 1, height: 1, stride: 4, rule: rule, isFull: isFull)
      return converted(layout, [cb, y, cr, 0])
    }
    #expect(colour(235, 128, 128, .bt601, false) == [255, 255, 255])
    #expect(colour(16, 128, 128, .bt709, false) == [0, 0, 0])
    #expect(colour(81, 90, 240, .bt601, false) == [254, 0, 0])
    #expect(colour(63, 102, 240, .bt709, false) == [255, 1, 0])
    #expect(colour(76, 85, 255, .bt601, true) == [254, 0, 0])
    #expect(colour(0, 128, 128, .bt601, true) == [0, 0, 0])
    #expect(colour(255, 255, 255, .bt2020, true) == [255, 162, 255])
  }
}
