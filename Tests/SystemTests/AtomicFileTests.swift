// What stands on disk while an output is written, when it is done and when writing goes wrong.

import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// One at a time: the table of temporary files belongs to the whole process.
@Suite(.serialized) struct AtomicFileTests {
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

  @Test func impossibleTargetsAreRefused() throws {
    let scratch = Scratch()
    mkdir(scratch.file("d"), 0o700)
    mkfifo(scratch.file("p"), 0o600)
    symlink("nowhere", scratch.file("l"))
    func reason(_ path: String) -> SystemError.Reason? {
      do throws(SystemError) {
        _ = try AtomicFile(path: path)
        return nil
      } catch { return error.reason }
    }
    #expect(reason(scratch.file("d")) == .notAFile(kind: "directory"))
    #expect(reason(scratch.file("p")) == .notAFile(kind: "pipe"))
    #expect(reason(scratch.file("l")) == .system(action: "follow the link", code: ENOENT))
    #expect(reason(scratch.file("x/y")) == .system(action: "create a file beside it", code: ENOENT))
    #expect(scratch.names == ["d", "l", "p"])
  }

  @Test func signalCleanUpRemovesEveryTemporary() throws {
    let scratch = Scratch()
    try TemporaryFiles.alone { try fillTheTable(scratch) }
  }

  private func fillTheTable(_ scratch: Scratch) throws {
    // Tests of other suites may hold a few.
    let files = (0..<512).compactMap { try? AtomicFile(path: scratch.file("f\($0)")) }
    #expect(scratch.names.count == files.count && files.count > 400)
    #expect(throws: SystemError(.tooManyOutputs, path: scratch.file("more"))) {
      try AtomicFile(path: scratch.file("more"))
    }
    AtomicFile.unlinkAllTemporaries()
    #expect(scratch.names == [])
    #expect(throws: SystemError.self) { try files[0].finish() }
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
    #expect(
      here.names.filter { $0.hasSuffix(".part") }.count == 2, "a file being written, and one that is not ours"
    )
    try held.finish()
    #expect(here.names.sorted() == [".trident-notes", "held", "mine.part", "new"])
  }

  @Test func aFullDeviceLeavesNoLitterAndTheOldFile() throws {
    signal(SIGXFSZ, SIG_IGN)
    let scratch = Scratch()
    writeBytes([1], to: scratch.file("a"))
    var old = rlimit()
    getrlimit(fileSizeLimit, &old)
    defer { setrlimit(fileSizeLimit, &old) }
    // It holds for the whole process, so it is larger than anything that the other suites write.
    var small = rlimit(rlim_cur: 200_000, rlim_max: old.rlim_max)
    setrlimit(fileSizeLimit, &small)
    let file = try AtomicFile(path: scratch.file("a"))
    #expect(throws: SystemError(.system(action: "write", code: EFBIG), path: scratch.file("a"))) {
      try file.write([UInt8](repeating: 7, count: 300_000))
    }
    #expect(scratch.names == ["a"] && readBytes(scratch.file("a")) == [1])
  }

  @Test func anAbandonedFileLeavesTheOldOne() throws {
    let scratch = Scratch()
    writeBytes([1], to: scratch.file("a"))
    do {
      let file = try AtomicFile(path: scratch.file("a"))
      try file.write([2, 3])
      #expect(scratch.names.count == 2)
    }
    #expect(scratch.names == ["a"] && readBytes(scratch.file("a")) == [1])
    // The folder goes before the name is given.
    mkdir(scratch.file("d"), 0o700)
    let file = try AtomicFile(path: scratch.file("d/x"))
    unlink(file.temporary)
    rmdir(scratch.file("d"))
    #expect(throws: SystemError(.system(action: "rename", code: ENOENT), path: scratch.file("d/x"))) {
      try file.finish()
    }
  }

  @Test func startsAreOverwritten() throws {
    let scratch = Scratch()
    let file = try AtomicFile(path: scratch.file("a"))
    try file.write([0, 0, 3])
    try file.writeStart([1, 2])
    try file.write([4])
    try file.finish()
    #expect(readBytes(scratch.file("a")) == [1, 2, 3, 4])
    let held = try AtomicFile(inMemory: "page")
    try held.write("abc")
    #expect(try held.bytes() == Array("abc".utf8) && scratch.names == ["a"])
  }

  /// Processes of two containers may have one number: nothing in a name may depend on it.
  @Test func temporaryNamesAreRandom() throws {
    let scratch = Scratch()
    let files = try (0..<8).map { _ in try AtomicFile(path: scratch.file("a")) }
    #expect(Set(files.map(\.temporary)).count == 8)
    for file in files {
      #expect(!file.temporary.contains("\(getpid())-") && file.temporary.hasSuffix(".part"))
    }
  }

  @Test func linksInARingAreRefused() throws {
    let scratch = Scratch()
    symlink("b", scratch.file("a"))
    symlink("a", scratch.file("b"))
    #expect(throws: SystemError(.system(action: "follow the link", code: ELOOP), path: scratch.file("a"))) {
      try AtomicFile(path: scratch.file("a"))
    }
    #expect(scratch.names == ["a", "b"])
  }

  /// Only root may make a link of another user.
  @Test(.enabled(if: geteuid() == 0)) func linksOfOthersAreNotFollowed() throws {
    let scratch = Scratch()
    writeBytes([1], to: scratch.file("mine"))
    symlink("mine", scratch.file("theirs"))
    lchown(scratch.file("theirs"), 12345, 12345)
    symlink("theirs", scratch.file("chain"))
    for name in ["theirs", "chain"] {
      #expect(
        thrownError(SystemError.self) { try AtomicFile(path: scratch.file(name)) }?.description.contains(
          "another user's link") == true)
    }
    #expect(readBytes(scratch.file("mine")) == [1])
    #expect(scratch.names == ["chain", "mine", "theirs"])
  }
}

#if canImport(Glibc)
  private let fileSizeLimit = __rlimit_resource_t(RLIMIT_FSIZE.rawValue)
#else
  private let fileSizeLimit = RLIMIT_FSIZE
#endif
