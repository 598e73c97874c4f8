// Plain pixels of a camera, as red, green and blue.
//
// Most cameras give brightness (Y) and two differences of colour (Cb, Cr) that two or four pixels share.
// Which rule made them of red, green and blue, and which part of 0...255 they use, the driver says:
//   Y = Kr R + Kg G + Kb B,   Cb = (B - Y) / (2 - 2 Kb),   Cr = (R - Y) / (2 - 2 Kr)
// with all of 0...1, or with Y on 16...235 and Cb, Cr on 16...240. Here that is turned round.

import CSystem

/// How a camera lays out its pixels.
///
/// - Source: the kernel's documentation of V4L2 pixel formats and colour spaces.
package struct CameraLayout: Equatable, Sendable {
  /// By the four letters of Video4Linux.
  package enum Pixels: String, CaseIterable, Sendable {
    /// Y Cb Y Cr, two pixels.
    case yuyv = "YUYV"
    /// Cb Y Cr Y.
    case uyvy = "UYVY"
    /// A plane of Y, and one of Cb Cr for squares of four pixels.
    case nv12 = "NV12"
    /// A plane of Y, one of Cb, one of Cr.
    case yu12 = "YU12"
    case rgb = "RGB3"
    case bgr = "BGR3"
    /// Y alone.
    case grey = "GREY"
  }

  /// Weights of red and blue in brightness.
  package struct Rule: Equatable, Sendable {
    let red: Double
    let blue: Double

    package static let bt601 = Rule(red: 0.299, blue: 0.114)
    package static let bt709 = Rule(red: 0.2126, blue: 0.0722)
    package static let bt2020 = Rule(red: 0.2627, blue: 0.0593)
    package static let smpte240 = Rule(red: 0.212, blue: 0.087)
  }

  package var pixels: Pixels
  package var width: Int
  package var height: Int
  /// Bytes from a row to the next; of the planes of YU12's colours half of that.
  package var stride: Int
  package var rule = Rule.bt601
  /// All of 0...255 is used.
  package var isFull = false

  package init(
    _ pixels: Pixels, width: Int, height: Int, stride: Int, rule: Rule = .bt601, isFull: Bool = false
  ) {
    (self.pixels, self.width, self.height, self.stride) = (pixels, width, height, stride)
    (self.rule, self.isFull) = (rule, isFull)
  }

  /// What a driver settled on; nil for JPEGs and what is not read.
  init?(_ format: cs_camera_format) {
    let letters = (0..<4).map { UInt8(truncatingIfNeeded: format.pixels >> (8 * $0)) }
    guard let pixels = Pixels(rawValue: String(decoding: letters, as: UTF8.self)) else { return nil }
    let rules: [Rule] = [.bt601, .bt709, .bt2020, .smpte240]
    self.init(
      pixels, width: Int(format.width), height: Int(format.height), stride: Int(format.stride),
      rule: rules[Int(format.colours)], isFull: format.is_full != 0)
  }
}

/// Rows of red, green and blue, eight bits each.
///
/// Colours that pixels share are taken as they are, not interpolated. What no screen could show is cut off.
///
/// - Units: rounded to nearest, from products with 20 binary places: off by one where it is nearly a half.
/// - Memory: none.
package struct CameraPixels {
  private static let places = 20
  private let layout: CameraLayout
  /// Of Y; of Cr in red and green; of Cb in green and blue.
  private let luma, redInRed, redInGreen, blueInGreen, blueInBlue, black: Int32

  package init(_ layout: CameraLayout) {
    self.layout = layout
    func fixed(_ value: Double) -> Int32 { Int32((value * Double(1 << Self.places)).rounded()) }
    let rule = layout.rule
    let (range, colourRange) = layout.isFull ? (255.0, 255.0) : (219.0, 224.0)
    let (red, blue) = (2 - 2 * rule.red, 2 - 2 * rule.blue)
    let green = 1 - rule.red - rule.blue
    luma = fixed(255 / range)
    redInRed = fixed(255 / colourRange * red)
    redInGreen = fixed(255 / colourRange * red * rule.red / green)
    blueInGreen = fixed(255 / colourRange * blue * rule.blue / green)
    blueInBlue = fixed(255 / colourRange * blue)
    black = layout.isFull ? 0 : 16
  }

  /// One row.
  ///
  /// - Shapes: `picture`: all of it; `out` [width * 3], overwritten.
  package func row(_ y: Int, of picture: UnsafePointer<UInt8>, into out: UnsafeMutablePointer<UInt8>) {
    let (width, stride) = (layout.width, layout.stride)
    let line = picture + y * stride
    switch layout.pixels {
    case .yuyv:
      for x in 0..<width {
        let pair = line + x / 2 * 4
        put(pair[x % 2 * 2], pair[1], pair[3], out + 3 * x)
      }
    case .uyvy:
      for x in 0..<width {
        let pair = line + x / 2 * 4
        put(pair[x % 2 * 2 + 1], pair[0], pair[2], out + 3 * x)
      }
    case .nv12:
      let colours = picture + (layout.height + y / 2) * stride
      for x in 0..<width { put(line[x], colours[x / 2 * 2], colours[x / 2 * 2 + 1], out + 3 * x) }
    case .yu12:
      let half = stride / 2
      let blues = picture + layout.height * stride + y / 2 * half
      let reds = blues + (layout.height + 1) / 2 * half
      for x in 0..<width { put(line[x], blues[x / 2], reds[x / 2], out + 3 * x) }
    case .grey:
      for x in 0..<width {
        let value = plain(line[x])
        (out[3 * x], out[3 * x + 1], out[3 * x + 2]) = (value, value, value)
      }
    case .rgb, .bgr:
      let (first, last) = layout.pixels == .rgb ? (0, 2) : (2, 0)
      for x in 0..<width {
        out[3 * x] = plain(line[3 * x + first])
        out[3 * x + 1] = plain(line[3 * x + 1])
        out[3 * x + 2] = plain(line[3 * x + last])
      }
    }
  }

  @inline(__always)
  private func put(_ y: UInt8, _ cb: UInt8, _ cr: UInt8, _ out: UnsafeMutablePointer<UInt8>) {
    let (grey, blue, red) = ((Int32(y) - black) * luma, Int32(cb) - 128, Int32(cr) - 128)
    out[0] = Self.byte(grey + red * redInRed)
    out[1] = Self.byte(grey - red * redInGreen - blue * blueInGreen)
    out[2] = Self.byte(grey + blue * blueInBlue)
  }

  @inline(__always)
  private func plain(_ value: UInt8) -> UInt8 {
    layout.isFull ? value : Self.byte((Int32(value) - black) * luma)
  }

  @inline(__always)
  private static func byte(_ value: Int32) -> UInt8 {
    UInt8(clamping: (value + (1 << Int32(places - 1))) >> Int32(places))
  }
}
