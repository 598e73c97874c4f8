// Which files of folders are photos, what is said of the others, and what results are called.
import Application
import Raster
import Segmentation
import System
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct PhotoListTests {
  @Test func filesAreJudgedByContent() throws {
    let folder = Folder()
    for name in ["a.jpg", "b.JPG", "d.jfif", "e.jpe", "f.HEIC", "g"] {
      try folder.copy(Demo.farm, "in/\(name)")
    }
    try folder.write("in/h.webp", "RIFF....WEBPVP8 ")
    try folder.write("in/i.gif", "GIF89a..........")
    try folder.write("in/j.gif", "GIF87a..........")
    try folder.write("in/notes.txt", "P2P networks")
    try folder.write("in/Thumbs.db", "\u{1}\u{2}")
    try folder.write("in/empty", "")
    try folder.write("in/.hidden.jpg", "x")
    try folder.copy(Demo.farm, "in/deep/a.jpg")
    // Called a photo, so that it is refused by name.
    try folder.write("in/k.jpeg", "no photo")
    let list = PhotoList([folder.path + "/in"])
    #expect(
      list.photos.map { fileName(of: $0) } == ["a.jpg", "b.JPG", "d.jfif", "e.jpe", "f.HEIC", "g", "k.jpeg"])
    let text = list.leftOut.text
    #expect(list.leftOut.fileCount == 7, "\(text)")
    for part in [
      "1 WebP picture (convert: dwebp \(folder.path)/in/h.webp -o \(folder.path)/in/h.png)",
      "2 GIF pictures (convert: ",
      "2 other files (Thumbs.db, ...)", "1 empty file (empty)", "1 hidden file (.hidden.jpg)",
      "1 folder (--recursive enters it)",
    ] {
      #expect(text.contains(part), "\(part) in \(text)")
    }
    #expect(PhotoList([folder.path + "/in/deep"]).leftOut.text.isEmpty)
  }

  /// Overlays may be JPEGs, as photos are.
  @Test func overlaysAreNoPhotos() throws {
    let folder = Folder()
    try folder.copy(Demo.farm, "in/a.jpg")
    let file = try AtomicFile(path: folder.path + "/in/over.jpg")
    let writer = try JPEGWriter(file, width: 8, height: 1)
    try writer.writeRow([UInt8](repeating: 9, count: 24))
    try writer.end().finish()
    let list = PhotoList([folder.path + "/in"])
    #expect(list.photos.map { fileName(of: $0) } == ["a.jpg"])
    #expect(list.leftOut.text == "1 result of this program (over.jpg)")
  }

  @Test func treesAreMirrored() throws {
    let folder = Folder()
    for name in ["a.jpg", "x/a.jpg", "x/y/a.jpg", "x/y/b.png", "out/old.jpg"] {
      try folder.copy(Demo.farm, "in/\(name)")
    }
    // Links that lead in circles are walked once.
    symlink(folder.path + "/in", folder.path + "/in/x/loop")
    let list = PhotoList([folder.path + "/in"], recursive: true, except: [folder.path + "/in/out"])
    #expect(list.names == ["a", "x/a", "x/y/a", "x/y/b"])
    #expect(list.leftOut.text.isEmpty)
  }

  @Test func sameNamesAreToldApart() throws {
    let folder = Folder()
    func names(_ files: [String]) throws -> [String] {
      PhotoList(try files.map { try folder.copy(Demo.farm, $0) }).names
    }
    #expect(try names(["a.jpg", "a.png", "b.jpg"]) == ["a.jpg", "a.png", "b"])
    #expect(try names(["p/a.jpg", "q/a.jpg"]) == ["p/a", "q/a"])
    #expect(try names(["p/s/a.jpg", "q/s/a.jpg"]) == ["p/s/a", "q/s/a"])
    #expect(try names(["p/a.jpg", "q/a.jpg", "q/a.png"]) == ["p/a", "q/a", "a.png"])
    #expect(try names(["a.jpg", "a.png", "a.jpg.png"]) == ["a.jpg", "a.png", "a.jpg.png"])
    for count in 2...4 {
      let files = (0..<count).flatMap {
        ["\($0)/a.jpg", "\($0)/a.png", "\($0)/0/a.jpg", "a.jpg.jpg", "a.jpg"]
      }
      var list = PhotoList(try Set(files).sorted().map { try folder.copy(Demo.farm, $0) })
      #expect(Set(list.names).count == list.photos.count, "\(list.names)")
      list.dropRepeated()
      #expect(Set(list.names).count == Set(files).count)
    }
    var twice = PhotoList([folder.path + "/a.jpg", folder.path + "/./a.jpg"])
    twice.dropRepeated()
    #expect(twice.photos.count == 1)
  }

  @Test func rerunsCountRight() throws {
    let folder = Folder()
    for name in ["in/a.jpg", "in/a.png", "in/x/a.jpg"] { try folder.copy(Demo.farm, name) }
    try folder.write("in/b.jpg", "no photo")
    try folder.write("in/c.webp", "RIFF....WEBPVP8 ")
    let out = folder.path + "/in/out"
    func run() throws -> (tally: SegmentTally?, failed: [String]) {
      let target = OutputTarget(try #require(ResultFormat.all.first { $0.name == "output" }), out)
      let paths = try OutputPaths(
        photos: [folder.path + "/in"], recursive: true, others: [], targets: [target])
      var (tally, failed): (SegmentTally?, [String]) = (nil, [])
      do {
        try SegmentJob(Demo.job(), paths).run { _ in
        } failed: {
          failed.append($1.json(photo: fileName(of: $0)).text(indent: -1))
        } ended: {
          tally = $0
        }
      } catch let error as SegmentationError { #expect(error.exitCode == 3) }
      return (tally, failed)
    }
    let first = try run()
    #expect(
      first.tally?.text
        == "4 photos: 3 done, 0 skipped (done before), 1 failed; 1 other file left out -> \(out)")
    #expect(first.failed.count == 1 && first.failed[0].hasPrefix(#"{"photo":"b.jpg","error":""#))
    #expect(names(out) == ["a.jpg.json", "a.jpg.png", "a.png.json", "a.png.png", "x"])
    #expect(names(out + "/x") == ["a.json", "a.png"])
    let second = try run()
    #expect(
      second.tally?.text.hasPrefix("4 photos: 0 done, 3 skipped (done before), 1 failed; 1 other") == true)
    #expect(
      second.tally?.json.text(indent: -1) == #"{"photos":4,"done":0,"skipped":3,"failed":1,"left_out":1}"#)
    // Results among the photos are no photos.
    let list = PhotoList([folder.path + "/in/out"], recursive: true)
    #expect(list.photos.isEmpty && list.leftOut.text.hasPrefix("6 results of this program"))
  }

  @Test func missingEndMarkersAreSaid() throws {
    let (folder, notebook) = (Folder(), Notebook())
    let path = folder.path + "/a.jpg"
    try FileBytes.replace(path, with: FileBytes.read(Demo.farm, limit: 1 << 24).dropLast(2))
    _ = try Demo.job(listener: notebook).run(PhotoFile(path: path), name: path, into: [])
    #expect(
      notebook.lines == [
        "! warning: \(path) ends without a jpeg's end marker; all its rows are there, and are used"
      ])
  }
}
