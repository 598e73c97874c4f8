// Files and folders: what is read, what a run may write, logs, mappings, what the system says.
import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct InputFileTests {
  @Test func onlyRegularFiles() throws {
    let scratch = Scratch()
    mkfifo(scratch.file("pipe"), 0o600)
    writeBytes([], to: scratch.file("empty"))
    func reason(_ path: String) -> SystemError.Reason? {
      do throws(SystemError) {
        _ = try InputFile<SystemError>.open(path: path)
        return nil
      } catch {
        #expect(error.path == path)
        return error.reason
      }
    }
    #expect(reason(scratch.path) == .notAFile(kind: "directory"))
    #expect(reason(scratch.file("pipe")) == .notAFile(kind: "pipe"))
    #expect(reason("/dev/null") == .notAFile(kind: "device"))
    #expect(reason(scratch.file("none")) == .system(action: "open", code: ENOENT))
    #expect(reason("a\0b") == .system(action: "open", code: EINVAL))
    #expect(reason(scratch.file("empty")) == .empty)
    #expect(try FileBytes.read(scratch.file("empty"), limit: 0) == [])
    #expect(throws: SystemError(.empty, path: scratch.file("empty"))) {
      try FileMapping(path: scratch.file("empty"))
    }
    #expect(throws: SystemError(.notAFile(kind: "pipe"), path: scratch.file("pipe"))) {
      try FileMapping(path: scratch.file("pipe"))
    }
  }

  @Test func sizesAreLimitedAndShrinkingFilesAreErrors() throws {
    let scratch = Scratch()
    let path = scratch.file("a")
    writeBytes([1, 2, 3], to: path)
    #expect(try FileBytes.read(path, limit: 3) == [1, 2, 3])
    #expect(throws: SystemError(.tooLarge(what: "bytes", found: 3, limit: 2), path: path)) {
      try FileBytes.read(path, limit: 2)
    }
    let file = try InputFile<SystemError>.open(path: path)
    truncate(path, 1)
    #expect(throws: SystemError(.truncated(needed: 3, available: 1), path: path, offset: 0)) {
      try file.bytes(at: 0, count: 3)
    }
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    writeBytes(Array("abc".utf8), to: path)
    #expect(try InputFile<SystemError>.open(path: path).sha256Hex() == abc)
  }

  @Test func mappingsSeeChanges() throws {
    let scratch = Scratch()
    writeBytes([1, 2, 3], to: scratch.file("a"))
    let mapping = try FileMapping(path: scratch.file("a"))
    #expect(Array(mapping.bytes) == [1, 2, 3] && mapping.isUnchanged)
    mapping.advise(-5..<100, Int32(MADV_WILLNEED), outwards: true)
    truncate(scratch.file("a"), 2)
    #expect(!mapping.isUnchanged)
  }

  @Test func foldersAndNames() throws {
    let scratch = Scratch()
    for name in ["b.PNG", "a.png", ".hidden.png", "c.txt"] { writeBytes([1], to: scratch.file(name)) }
    #expect(try Folder.names(in: scratch.path, endings: [".png"]) == ["a.png", "b.PNG"])
    #expect(throws: SystemError.self) { try Folder.names(in: scratch.file("none"), endings: []) }
    try Folder.make(scratch.file("d"))
    try Folder.make(scratch.file("d"))
    #expect(
      isFolder(scratch.file("d")) && fileSize(scratch.file("d")) == nil
        && fileSize(scratch.file("a.png")) == 1)
    #expect(
      throws: SystemError(.system(action: "make the folder", code: EEXIST), path: scratch.file("c.txt"))
    ) {
      try Folder.make(scratch.file("c.txt"))
    }
    #expect(
      baseName("a/b.tar.gz") == "b.tar" && baseName(".x") == ".x" && fileName(of: "a/b/") == "b"
        && folder(of: "b") == "")
    #expect(folder(of: "/a/b") == "/a/")
  }

  /// What is kept in a private folder is believed: nobody else may write there.
  @Test func privateFolders() throws {
    let scratch = Scratch()
    try Folder.makePrivate(scratch.file("p"))
    try Folder.makePrivate(scratch.file("p"))
    chmod(scratch.file("p"), 0o777)
    #expect(throws: SystemError(.malformed("others may write to this folder"), path: scratch.file("p"))) {
      try Folder.makePrivate(scratch.file("p"))
    }
  }

  @Test func theSystemAnswers() {
    #expect((1...256).contains(availableCores()))
    let start = monotonicSeconds()
    #expect(monotonicSeconds() >= start && environment("NO_SUCH_VARIABLE_HERE") == nil)
    #expect(ProcessMemory.now().anonymous > 0)
  }
}

@Suite struct LogFileTests {
  private let temporaryFiles = TemporaryFiles()

  @Test func linesAreAddedReadAndCut() throws {
    let scratch = Scratch()
    let path = scratch.file("log")
    do {
      let file = try LogFile(path: path)
      try file.append("one\ntwo\nhal")
      #expect(throws: SystemError(.system(action: "lock", code: EWOULDBLOCK), path: path)) {
        try LogFile(path: path)
      }
      let reader = try LineReader(path: path)
      #expect(try reader.next() == "one" && reader.next() == "two" && reader.next() == nil)
      #expect(reader.number == 2 && reader.wholeByteCount == 8)
      try file.cut(to: reader.wholeByteCount)
      try file.append("three\n")
    }
    #expect(String(decoding: readBytes(path), as: UTF8.self) == "one\ntwo\nthree\n")
    #expect(throws: SystemError(.notAFile(kind: "directory"), path: scratch.path)) {
      try LineReader(path: scratch.path)
    }
    mkfifo(scratch.file("pipe"), 0o600)
    #expect(throws: SystemError(.notAFile(kind: "pipe"), path: scratch.file("pipe"))) {
      try LogFile(path: scratch.file("pipe"))
    }
    writeBytes([UInt8](repeating: 65, count: (16 << 20) + 1), to: path)
    #expect(throws: SystemError.self) { try LineReader(path: path).next() }
  }
}

/// Every spelling of a file that a run reads or writes is that file.
@Suite struct RunFilesTests {
  private let temporaryFiles = TemporaryFiles()

  @Test func inputsAreNeverOutputs() throws {
    let scratch = Scratch()
    writeBytes([1], to: scratch.file("in"))
    symlink("in", scratch.file("link"))
    link(scratch.file("in"), scratch.file("hard"))
    var files = RunFiles()
    files.read("-")
    files.read(scratch.file("in"))
    for spelling in ["in", "./in", "link", "hard", "../" + fileName(of: scratch.path) + "/in"] {
      #expect(throws: RunFiles.Conflict.isInput(path: scratch.file("in")), "\(spelling)") {
        try files.write(scratch.path + "/" + spelling)
      }
    }
    try files.write("-")
    #expect(throws: RunFiles.Conflict.isOutput(path: "-")) { try files.write("-") }
    // An input that is missing is still an input.
    files.read(scratch.file("later"))
    #expect(throws: RunFiles.Conflict.isInput(path: scratch.file("later"))) {
      try files.write(scratch.file("./later"))
    }
  }

  @Test func outputsAreFilesOfTheirOwn() throws {
    let scratch = Scratch()
    var files = RunFiles()
    try files.write(scratch.file("x.png"))
    for spelling in ["x.png", "./x.png", ".//x.png"] {
      #expect(throws: RunFiles.Conflict.isOutput(path: scratch.file("x.png")), "\(spelling)") {
        try files.write(scratch.path + "/" + spelling)
      }
    }
    try files.write(scratch.file("new/a/x.png"))
    #expect(throws: RunFiles.Conflict.self) { try files.write(scratch.file("new/./a//x.png")) }
    try files.write(scratch.file("new/x.png"))
    try files.write(scratch.file("y.png"))
  }

  @Test func filesOfOthersStay() throws {
    let scratch = Scratch()
    writeBytes([1], to: scratch.file("theirs"))
    var files = RunFiles()
    #expect(throws: RunFiles.Conflict.isForeign) { try files.write(scratch.file("theirs")) { _ in false } }
    try files.write(scratch.file("theirs")) { _ in true }
    try files.write(scratch.file("new")) { _ in false }
    // Relative paths, with and without a folder.
    var here = RunFiles()
    try here.write("no-such-file-here")
    #expect(throws: RunFiles.Conflict.isOutput(path: "no-such-file-here")) {
      try here.write("./no-such-file-here")
    }
  }
}
