// Writers read back, and what stands on disk when writing goes wrong.

import Raster
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// One at a time: the table of temporary files belongs to the whole process.
@Suite(.serialized) struct OutputTests {
  @Test func indexedRoundTrip() throws {
    for (width, height) in [(1, 1), (13, 7), (300, 2), (2, 300)] {
      let scratch = Scratch()
      let labels = pattern(width: width, height: height, channels: 1)
      let writer = try IndexedPNGWriter(path: scratch.file("a.png"), width: width, height: height)
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
    let grey = try GreyPNGWriter(path: scratch.file("g.png"), width: 5, height: 2, compression: 0)
    let numbers: [UInt16] = [0, 255, 256, 0x1234, 65535]
    for _ in 0..<2 { try grey.writeRow(numbers) }
    try grey.finish()
    let row = numbers.flatMap { [UInt8](repeating: UInt8($0 >> 8), count: 3) }
    #expect(try decode(scratch.file("g.png")) == row + row)
    let pixels = pattern(width: 31, height: 1)
    let colour = try RGBPNGWriter(path: scratch.file("c.png"), width: 31, height: 3)
    for _ in 0..<3 { try colour.writeRow(pixels) }
    try colour.finish()
    #expect(try decode(scratch.file("c.png")) == pixels + pixels + pixels)
  }

  @Test func unfinishedWriterLeavesTheOldFile() throws {
    let scratch = Scratch()
    writeBytes([1, 2, 3], to: scratch.file("a.png"))
    do {
      let writer = try RGBPNGWriter(path: scratch.file("a.png"), width: 4, height: 4)
      try writer.writeRow([UInt8](repeating: 0, count: 12))
      #expect(scratch.names.count == 2)
    }
    #expect(scratch.names == ["a.png"])
    #expect(readBytes(scratch.file("a.png")) == [1, 2, 3])
  }

  @Test func atomicFileReplacesThroughLinksAndKeepsTheMode() throws {
    let scratch = Scratch()
    writeBytes([1], to: scratch.file("real"))
    chmod(scratch.file("real"), 0o640)
    symlink("real", scratch.file("link"))
    let file = try AtomicFile(path: scratch.file("link"))
    try file.write("héllo")
    try file.finish()
    file.abort()
    #expect(readBytes(scratch.file("real")) == Array("héllo".utf8))
    #expect(scratch.names == ["link", "real"])
    var status = stat()
    lstat(scratch.file("link"), &status)
    #expect(status.st_mode & S_IFMT == S_IFLNK)
    stat(scratch.file("real"), &status)
    #expect(status.st_mode & 0o777 == 0o640)
  }

  @Test func nothingIsReplacedBeforeAllIsReady() throws {
    let scratch = Scratch()
    for name in ["a.png", "a.json"] { writeBytes([1], to: scratch.file(name)) }
    let legend = try AtomicFile(path: scratch.file("a.json"))
    try legend.write("new")
    let map = try RGBPNGWriter(path: scratch.file("a.png"), width: 1, height: 1)
    try map.writeRow([1, 2, 3])
    try map.finish {
      #expect(readBytes(scratch.file("a.png")) == [1] && readBytes(scratch.file("a.json")) == [1])
      legend.removeTarget()
    }
    #expect(try decode(scratch.file("a.png")) == [1, 2, 3])
    #expect(!scratch.names.contains("a.json"))
    try legend.finish()
    #expect(readBytes(scratch.file("a.json")) == Array("new".utf8))
    #expect(scratch.names.sorted() == ["a.json", "a.png"])
  }

  @Test func impossibleTargetsAreRefused() throws {
    let scratch = Scratch()
    mkdir(scratch.file("d"), 0o700)
    mkfifo(scratch.file("p"), 0o600)
    symlink("nowhere", scratch.file("l"))
    func reason(_ path: String) -> RasterError.Reason? {
      do throws(RasterError) {
        _ = try AtomicFile(path: path)
        return nil
      } catch { return error.reason }
    }
    #expect(reason(scratch.file("d")) == .notAFile(kind: "directory"))
    #expect(reason(scratch.file("p")) == .notAFile(kind: "pipe"))
    #expect(reason(scratch.file("l")) == .system(action: "write", code: ENOENT))
    #expect(reason(scratch.file("x/y")) == .system(action: "create a file beside it", code: ENOENT))
    #expect(scratch.names == ["d", "l", "p"])
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
    let file = try AtomicFile(path: scratch.file("a"))
    let bytes = [UInt8](repeating: 7, count: 300_000)
    #expect(throws: RasterError(.system(action: "write", code: EFBIG), path: scratch.file("a"))) {
      try file.write(bytes)
    }
    #expect(scratch.names == [])
    let writer = try RGBPNGWriter(path: scratch.file("b"), width: 40_000, height: 9, compression: 0)
    #expect(throws: RasterError.self) {
      for _ in 0..<9 { try writer.writeRow([UInt8](repeating: 3, count: 120_000)) }
      try writer.finish()
    }
    #expect(scratch.names == [])
  }

  @Test func signalCleanUpRemovesEveryTemporary() throws {
    let scratch = Scratch()
    let files = try (0..<64).map { try AtomicFile(path: scratch.file("f\($0)")) }
    #expect(scratch.names.count == 64)
    #expect(throws: RasterError(.tooManyOutputs, path: scratch.file("more"))) {
      try AtomicFile(path: scratch.file("more"))
    }
    AtomicFile.unlinkAllTemporaries()
    #expect(scratch.names == [])
    #expect(throws: RasterError.self) { try files[0].finish() }
    #expect(scratch.names == [])
  }

  @Test func leftoversOfKilledRunsAreSwept() throws {
    let (here, elsewhere) = (Scratch(), Scratch())
    let held = try AtomicFile(path: here.file("held"))
    // Another directory in between: each is swept when outputs come back to it.
    try AtomicFile(path: elsewhere.file("other")).finish()
    for name in [".trident-1-0.part", ".trident-999999-17.part", "mine.part", ".trident-notes"] {
      writeBytes([1], to: here.file(name))
    }
    let file = try AtomicFile(path: here.file("new"))
    try file.finish()
    #expect(here.names.filter { $0.hasSuffix(".part") }.count == 2, "a file being written, and one that is not ours")
    try held.finish()
    #expect(here.names.sorted() == [".trident-notes", "held", "mine.part", "new"])
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
