// Where results go, what their bytes are, and that all appear together or none does.
import Application
import Raster
import Segmentation
import System
import TestSupport
import Testing

@Suite(.serialized) struct SinkTests {
  private let temporaryFiles = TemporaryFiles()

  private func refusal(
    _ photos: [String], _ named: [String: String], json: Bool = false, drawing: String? = nil
  ) -> String {
    let targets = ResultFormat.all.compactMap { format in named[format.name].map { OutputTarget(format, $0) }
    }
    do {
      _ = try OutputPaths(
        photos: photos, others: [Demo.model], targets: targets, printsJSON: json, drawing: drawing)
      return ""
    } catch { return error.description }
  }

  @Test func pathsThatCannotBe() throws {
    let folder = Folder()
    let photo = try folder.write("a.jpg")
    let other = try folder.write("b/a.png")
    #expect(refusal([photo], ["output": "a.png", "overlay": "o.png", "scores": "s.npy"]) == "")
    #expect(refusal([], [:]).hasPrefix("no photos found"))
    #expect(refusal([photo], ["output": folder.path + "/./a.jpg"]).contains("would replace the input"))
    #expect(refusal([photo], ["output": Demo.model]).contains("would replace the input"))
    #expect(
      refusal([photo], ["output": "a.png", "overlay": "a.png"]) == "two outputs would be the file 'a.png'")
    #expect(
      refusal([photo], ["output": "a.png", "scores": "a.json"]) == "two outputs would be the file 'a.json'")
    #expect(refusal([photo], ["output": "a.jpg"]) == "'a.jpg' would be a PNG; name it so, not .jpg")
    #expect(refusal([photo], [:], drawing: "a.png") == "'a.png' would be an SVG; name it so")
    #expect(
      refusal([photo, other], ["output": photo]) == "'\(photo)' is a file; several photos need a folder")
    #expect(refusal([photo, other], ["output": folder.path + "/out"]) == "")
    for name in ["q.png", "q.JPG", "q.png/", "q.webp"] {
      #expect(refusal([photo, other], ["output": name]).contains("would be a folder"), "\(name)")
    }
    #expect(refusal([photo, other], ["scores": "q.npy"]).contains("would be a folder"))
    #expect(refusal([photo, other], ["output": "-"]).hasSuffix("which takes one photo"))
    #expect(refusal([photo], ["output": "-"], json: true).hasSuffix("which is taken by --json"))
    #expect(refusal([photo], [:], drawing: folder.path + "/b/a.png") != "")
  }

  /// All formats of one photo against what the run gave.
  @Test func bytesOfEveryFormat() throws {
    let folder = Folder()
    let named = ResultFormat.all.map { OutputTarget($0, "\(folder.path)/\($0.name)\($0.ending)") }
    let paths = try OutputPaths(photos: [Demo.farm], others: [], targets: named)
    var report: SegmentReport?
    try SegmentJob(Demo.job(), paths).run { report = $0 }
    let run = try #require(report?.run)
    #expect(
      names(folder.path) == [
        "coco.coco.json", "confidence.png", "csv.csv", "cvat.cvat.xml", "gdal.png.aux.xml",
        "instances.instances.json",
        "labelme.json", "masks",
        "output.json", "output.png", "overlay.png", "scores.npy", "taps.taps", "yolo.txt",
      ])
    #expect(names(folder.path + "/yolo.txt") == ["data.yaml", "farm.txt"])
    #expect(names(folder.path + "/labelme.json") == ["farm.json"])
    // What was made may be made again; what others made stays.
    _ = try OutputPaths(photos: [Demo.farm], others: [], targets: named)
    try folder.write("yolo.txt/data.yaml", "names: [cat]")
    #expect(throws: SegmentationError.self) {
      try OutputPaths(photos: [Demo.farm], others: [], targets: named)
    }
    let rows = RowSink()
    _ = try Demo.job().run(PhotoFile(path: Demo.farm), name: "farm", into: [rows])
    let map = try NumberDecoder(path: folder.path + "/output.png")
    var (row, labels): ([UInt16], [UInt16]) = ([UInt16](repeating: 0, count: map.width), [])
    for _ in 0..<map.height {
      try map.readRow(into: &row)
      labels += row
    }
    #expect(labels == rows.labels)
    #expect(try readText(folder.path + "/output.json") == report?.legend)
    let overlay = try PhotoDecoder(path: folder.path + "/overlay.png")
    #expect((overlay.width, overlay.height) == (640, 480))
    let scores = try FileBytes.read(folder.path + "/scores.npy", limit: 1 << 24)
    let shape = "'shape': (\(run.refinement.pixels.count), \(run.gridRows), \(run.gridColumns))"
    // More padding than NumPy writes: the array is known as this program's.
    #expect(String(decoding: scores.prefix(256), as: UTF8.self).contains(shape))
    #expect(NPYHeader.isSigned(Array(scores.prefix(2048))))
    #expect(scores.count == 256 + 4 * run.refinement.pixels.count * run.gridRows * run.gridColumns)
    #expect(
      try FileBytes.read(folder.path + "/taps.taps", limit: 1 << 28).starts(with: Array("taps 1\n".utf8)))
  }

  /// Fails at one of its calls.
  private final class FailingSink: ResultSink {
    enum Call: CaseIterable { case begin, scores, preview, row, finish }
    let call: Call
    let needs = SinkNeeds(previewSide: 64, scores: true)
    var calls: [Call] = []
    init(_ call: Call) { self.call = call }

    private func enter(_ call: Call) throws {
      if calls.last != call { calls.append(call) }
      if call == self.call { throw RasterError(.corrupt("\(call)"), path: "here") }
    }
    func begin(_ photo: PhotoFacts) throws { try enter(.begin) }
    func scores(_ row: UnsafeBufferPointer<Float>) throws { try enter(.scores) }
    func preview(_ preview: Preview) throws { try enter(.preview) }
    func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws { if y == 300 { try enter(.row) } }
    func finish(_ report: SegmentReport) throws -> [AtomicFile] {
      try enter(.finish)
      return []
    }
  }

  @Test(arguments: Effort.isEmulated ? [true] : [false, true]) func allAppearOrNone(_ comesFirst: Bool) throws
  {
    let folder = Folder()
    let job = try Demo.job()
    let photo = try PhotoFile(path: Demo.farm)
    for name in ["output.png", "output.json"] { try folder.write(name, "old") }
    let named = ResultFormat.all.map { OutputTarget($0, "\(folder.path)/\($0.name)\($0.ending)") }
    for (index, call) in FailingSink.Call.allCases.enumerated() {
      let failing = FailingSink(call)
      let error = thrownError(SegmentationError.self) {
        let sinks = named.flatMap(\.sinks)
        _ = try job.run(photo, name: Demo.farm, into: comesFirst ? [failing] + sinks : sinks + [failing])
      }
      #expect(error?.exitCode == 6 && error?.description.contains("\(call)") == true)
      #expect(failing.calls == Array(FailingSink.Call.allCases.prefix(index + 1)))
      #expect(names(folder.path) == ["output.json", "output.png"])
      #expect(
        try readText(folder.path + "/output.json") == "old" && readText(folder.path + "/output.png") == "old")
    }
  }

  /// A label map called .tif is one: the same labels, in colours that any reader knows.
  @Test func mapsAsTIFF() throws {
    guard (try? OptionalLibrary.tiff.open()) != nil else { return }
    let folder = Folder()
    let named = ["labels.tif", "labels.png"].map { OutputTarget(.labelMap, folder.path + "/" + $0) }
    for target in named {
      let paths = try OutputPaths(photos: [Demo.farm], others: [], targets: [target])
      try SegmentJob(Demo.job(), paths).run { _ in }
      // What was made may be made again.
      _ = try OutputPaths(photos: [Demo.farm], others: [], targets: [target])
    }
    #expect(names(folder.path) == ["labels.json", "labels.png", "labels.tif", "labels.tif.aux.xml"])
    let map = try NumberDecoder(path: folder.path + "/labels.png")
    let colours = try PhotoDecoder(path: folder.path + "/labels.tif")
    var row = [UInt16](repeating: 0, count: map.width)
    var pixels = [UInt8](repeating: 0, count: 3 * map.width)
    for _ in 0..<map.height {
      try map.readRow(into: &row)
      try colours.readRow(into: &pixels)
      let differs = row.indices.first { x in
        let colour = Palette.standard[Int(row[x])]
        return pixels[3 * x] != colour.red || pixels[3 * x + 1] != colour.green
          || pixels[3 * x + 2] != colour.blue
      }
      #expect(differs == nil)
    }
    let side = try readText(folder.path + "/labels.tif.aux.xml")
    #expect(side.contains("<Category>") && side.hasPrefix("<PAMDataset>"))
    try folder.write("labels.tif.aux.xml", "<PAMDataset>mine</PAMDataset>")
    #expect(throws: SegmentationError.self) {
      try OutputPaths(photos: [Demo.farm], others: [], targets: [named[0]])
    }
  }

  /// Masks, table and run lengths say what the labels say; Scripts/check-formats.sh opens them with other
  /// tools.
  @Test func classesByFormat() throws {
    let folder = Folder()
    let rows = RowSink()
    let formats = [ResultFormat.csv, .coco, .masks].map { OutputTarget($0, "\(folder.path)/\($0.name)") }
    let photo = try PhotoFile(path: Demo.farm)
    let job = try Demo.job()
    let report = try job.run(photo, name: "farm, \"here\"", into: formats.flatMap(\.sinks) + [rows])
    let counts = report.run.refinement.pixels
    let present = counts.indices.filter { counts[$0] > 0 }
    #expect(present.count > 2)
    let table = try readText(folder.path + "/csv").split(separator: "\n")
    #expect(
      table.count == counts.count + 1 && table[0].hasPrefix("photo,class,name,present,pixels,share,left,top,")
    )
    let places = rows.labels.indices.filter { Int(rows.labels[$0]) == present[0] }
    let xs = places.map { $0 % photo.width }
    let line = table[present[0] + 1]
    #expect(
      line.hasPrefix(
        "\"farm, \"\"here\"\"\",\(present[0]),\(job.words.classes.names[present[0]]),1,\(places.count),"))
    let cells = line.split(separator: ",", omittingEmptySubsequences: false).suffix(7).map {
      Double($0) ?? -1
    }
    #expect(cells[0] == Double(xs.min()!) && cells[2] == Double(xs.max()! - xs.min()! + 1))
    #expect(abs(cells[4] - Double(xs.reduce(0, +)) / Double(xs.count)) < 0.01)
    let masks = names(folder.path + "/masks")
    #expect(masks.map { Int($0.prefix { $0 != "-" })! }.sorted() == present)
    let texts = try readText(folder.path + "/coco").split(separator: "\n").filter {
      $0.contains("\"counts\"")
    }
    #expect(texts.count == present.count)
    for (label, text) in zip(present, texts) {
      let name = try #require(masks.first { $0.hasPrefix("\(label)-") })
      let mask = try NumberDecoder(path: "\(folder.path)/masks/\(name)")
      var row = [UInt16](repeating: 0, count: mask.width)
      var pixels = Self.decoded(text.split(separator: "\"")[3])[...]
      #expect(pixels.count == rows.labels.count)
      var different = 0
      for y in 0..<mask.height {
        try mask.readRow(into: &row)
        for x in 0..<mask.width {
          let isThere = Int(rows.labels[y * mask.width + x]) == label
          if (row[x] == 1) != isThere || pixels[x * mask.height + y] != isThere { different += 1 }
        }
      }
      #expect(different == 0, "\(name)")
      pixels = []
    }
  }

  /// COCO's run lengths as pixels, column by column.
  private static func decoded(_ text: Substring) -> [Bool] {
    var bytes: [UInt8] = []
    var isEscaped = false
    // JSON's only escape among these characters.
    for byte in text.utf8 {
      isEscaped = byte == 0x5C && !isEscaped
      if !isEscaped { bytes.append(byte) }
    }
    var (counts, next): ([Int], Int) = ([], 0)
    while next < bytes.count {
      var (value, shift, byte) = (0, 0, 0)
      repeat {
        byte = Int(bytes[next]) - 48
        value |= (byte & 31) << shift
        (next, shift) = (next + 1, shift + 5)
      } while byte & 32 != 0
      if byte & 16 != 0 { value -= 1 << shift }
      counts.append(counts.count > 2 ? value + counts[counts.count - 2] : value)
    }
    return counts.enumerated().flatMap { [Bool](repeating: $0 % 2 == 1, count: $1) }
  }

  @Test func nothingIsComputedThatNobodyWants() throws {
    #expect(SinkNeeds([]) == SinkNeeds())
    let all = SinkNeeds(ResultFormat.all.flatMap { OutputTarget($0, "a").sinks })
    #expect(all == SinkNeeds(previewSide: .max, scores: true, confidence: true, taps: true))
  }
}
