// Writers read back, and what stands on disk when writing goes wrong.

import Raster
import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// One at a time: the table of temporary files belongs to the whole process.
@Suite(.serialized) struct OutputTests {
  private let temporaryFiles = TemporaryFiles()

  @Test func indexedRoundTrip() throws {
    for (width, height) in [(1, 1), (13, 7), (300, 2), (2, 300)] {
      let scratch = Scratch()
      let labels = pattern(width: width, height: height, channels: 1)
      let writer = try PNGWriter(
        path: scratch.file("a.png"), .indexed(.standard), width: width, height: height)
      try labels.withUnsafeBufferPointer { labels in
        for y in 0..<height { try writer.writeRow(labels.baseAddress! + y * width) }
      }
      try writer.finish()
      let colours = Palette.standard
      let expected = labels.flatMap { label -> [UInt8] in
        let colour = colours[Int(label)]
        return [colour.red, colour.green, colour.blue]
      }
      #expect(try decode(scratch.file("a.png")) == expected)
      #expect(scratch.names == ["a.png"])
    }
  }

  @Test func greyAndColourRoundTrip() throws {
    let scratch = Scratch()
    let grey = try PNGWriter(path: scratch.file("g.png"), .grey16, width: 5, height: 2, compression: 0)
    let numbers: [UInt16] = [0, 255, 256, 0x1234, 65535]
    for _ in 0..<2 { try grey.writeRow(numbers) }
    try grey.finish()
    let row = numbers.flatMap { [UInt8](repeating: UInt8($0 >> 8), count: 3) }
    #expect(try decode(scratch.file("g.png")) == row + row)
    let pixels = pattern(width: 31, height: 1)
    let colour = try PNGWriter(path: scratch.file("c.png"), .rgb, width: 31, height: 3)
    for _ in 0..<3 { try colour.writeRow(pixels) }
    try colour.finish()
    #expect(try decode(scratch.file("c.png")) == pixels + pixels + pixels)
  }

  @Test func unfinishedWriterLeavesTheOldFile() throws {
    let scratch = Scratch()
    writeBytes([1, 2, 3], to: scratch.file("a.png"))
    do {
      let writer = try PNGWriter(path: scratch.file("a.png"), .rgb, width: 4, height: 4)
      try writer.writeRow([UInt8](repeating: 0, count: 12))
      #expect(scratch.names.count == 2)
    }
    #expect(scratch.names == ["a.png"])
    #expect(readBytes(scratch.file("a.png")) == [1, 2, 3])
  }

  @Test func nothingIsReplacedBeforeAllIsReady() throws {
    let scratch = Scratch()
    for name in ["a.png", "a.json"] { writeBytes([1], to: scratch.file(name)) }
    let legend = try AtomicFile(path: scratch.file("a.json"))
    try legend.write("new")
    let map = try PNGWriter(path: scratch.file("a.png"), .rgb, width: 1, height: 1)
    try map.writeRow([1, 2, 3] as [UInt8])
    let ended = try map.end()
    for file in [ended, legend] { try file.sync() }
    #expect(readBytes(scratch.file("a.png")) == [1] && readBytes(scratch.file("a.json")) == [1])
    legend.removeTarget()
    try ended.finish()
    #expect(try decode(scratch.file("a.png")) == [1, 2, 3])
    #expect(!scratch.names.contains("a.json"))
    try legend.finish()
    #expect(readBytes(scratch.file("a.json")) == Array("new".utf8))
    #expect(scratch.names.sorted() == ["a.json", "a.png"])
  }

  @Test func fullDiskLeavesNoLitter() throws {
    // A file-size limit fails writes like a full disk does, once its signal is ignored. It holds for the
    // whole process, so it is larger than anything that the other suites write.
    signal(SIGXFSZ, SIG_IGN)
    let scratch = Scratch()
    var old = rlimit()
    getrlimit(fileSizeLimit, &old)
    defer { setrlimit(fileSizeLimit, &old) }
    var small = rlimit(rlim_cur: 200_000, rlim_max: old.rlim_max)
    setrlimit(fileSizeLimit, &small)
    let writer = try PNGWriter(path: scratch.file("b"), .rgb, width: 40_000, height: 9, compression: 0)
    #expect(throws: RasterError.self) {
      for _ in 0..<9 { try writer.writeRow([UInt8](repeating: 3, count: 120_000)) }
      try writer.finish()
    }
    #expect(scratch.names == [])
  }

  @Test func paletteColoursDiffer() {
    let palette = Palette.standard
    #expect(palette.count == 256 && palette[0] == (0, 0, 0) && palette[1] == (128, 0, 0))
    #expect(Set((0..<256).map { "\(palette[$0])" }).count == 256)
  }
}

#if canImport(Glibc)
  private let fileSizeLimit = __rlimit_resource_t(RLIMIT_FSIZE.rawValue)
#else
  private let fileSizeLimit = RLIMIT_FSIZE
#endif
