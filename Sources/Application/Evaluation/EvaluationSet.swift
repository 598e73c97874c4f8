// The photos of a split and their label maps.
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A photo with its label map.
package struct LabelledPhoto: Equatable, Sendable {
  package let name: String
  package let photo: String
  package let labels: String
  package let rule: LabelRule

  /// Of what is in both files, 16 hexadecimal digits.
  ///
  /// - Errors: `.photo` where either cannot be read again.
  func digest() throws(SegmentationError) -> String {
    String(SHA256Digest.hex(of: try photoDigest(photo) + photoDigest(labels)).prefix(16))
  }
}

/// Photos and label maps of a split, by name.
///
/// - Memory: the names, about 100 bytes a photo.
/// - Errors: `.photo` for folders and lists that are missing or empty, and for photos without a label map.
package struct EvaluationSet: Sendable {
  private let images: String
  private let labels: String
  /// File names under `images`, with their extension.
  private let files: [String]
  /// Ways to name a photo's label map, the first that is there wins.
  private let labelNames: [Benchmark.LabelName]
  /// What the folder of photos holds besides.
  private(set) var leftOut = LeftOut()

  package var count: Int { files.count }

  /// The photo at a place of the list, which is sorted by name.
  package subscript(index: Int) -> LabelledPhoto {
    let stem = Self.stem(files[index])
    let paths = labelNames.map { (path: "\(labels)/\($0.path(stem))", rule: $0.rule) }
    let found = paths[paths.firstIndex { access($0.path, R_OK) == 0 } ?? 0]
    return LabelledPhoto(name: stem, photo: "\(images)/\(files[index])", labels: found.path, rule: found.rule)
  }

  /// Every photo of a folder, with a PNG of the same name in another.
  package init(images: String, labels: String, rule: LabelRule) throws(SegmentationError) {
    // For the error of a folder that cannot be opened.
    _ = try Self.list(images, endings: PhotoFile.endings)
    let list = PhotoList([images])
    let files = list.photos.map { fileName(of: $0) }
    try self.init(
      images: images, labels: labels, files: files, labelNames: [Benchmark.LabelName(".png", rule)])
    leftOut = list.leftOut
  }

  /// The validation split of a benchmark.
  package init(_ benchmark: Benchmark, root: String) throws(SegmentationError) {
    let images = "\(root)/\(benchmark.images)"
    var files: [String]
    if let list = benchmark.list {
      files = try Self.names(in: "\(root)/\(list)").map { $0 + benchmark.imageSuffix }
    } else if benchmark.hasCities {
      files = []
      for city in try Self.list(images, endings: [""]) {
        files += try Self.list("\(images)/\(city)", endings: [benchmark.imageSuffix]).map { "\(city)/\($0)" }
      }
    } else {
      files = try Self.list(images, endings: [benchmark.imageSuffix])
    }
    try self.init(
      images: images, labels: "\(root)/\(benchmark.labels)", files: files, labelNames: benchmark.labelNames)
  }

  private init(images: String, labels: String, files: [String], labelNames: [Benchmark.LabelName])
    throws(SegmentationError)
  {
    self.images = images
    self.labels = labels
    self.files = files.sorted()
    self.labelNames = labelNames
    guard !files.isEmpty else { throw SegmentationError(.photo("holds no photos"), path: images) }
    if let bad = files.first(where: { $0.contains { $0.isNewline || $0 == "\t" } }) {
      throw SegmentationError(
        .photo("a tab or line break in a file name; rename it"), path: "\(images)/\(bad)")
    }
    var seen: Set<String> = []
    for index in 0..<count {
      let item = self[index]
      guard access(item.labels, R_OK) == 0 else {
        throw SegmentationError(
          .photo("every photo needs a label map, \(item.photo) has none here"), path: item.labels)
      }
      guard seen.insert(item.name).inserted else {
        throw SegmentationError(.photo("two photos differ by extension only; rename one"), path: item.photo)
      }
    }
  }

  /// SHA-256 of all names: another list of photos is another split.
  package var digest: String {
    var digest = SHA256Digest()
    for file in files { digest.update(Self.stem(file) + "\n") }
    return digest.finishHex()
  }

  /// The path without its extension.
  private static func stem(_ file: String) -> String {
    guard let dot = file.lastIndex(of: "."), file[dot...].allSatisfy({ $0 != "/" }) else { return file }
    return String(file[..<dot])
  }

  private static func list(_ folder: String, endings: [String]) throws(SegmentationError) -> [String] {
    do throws(SystemError) {
      return try Folder.names(in: folder, endings: endings)
    } catch {
      throw SegmentationError(.photo(error.reason.description), path: folder)
    }
  }

  /// Lines of a split file.
  private static func names(in path: String) throws(SegmentationError) -> [String] {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try FileBytes.read(path, limit: 64 << 20)
    } catch {
      throw SegmentationError(.photo(error.reason.description), path: path)
    }
    return String(decoding: bytes, as: UTF8.self).split { $0.isNewline }.compactMap { line in
      line.split { $0 == " " || $0 == "\t" }.first.map(String.init)
    }
  }
}
