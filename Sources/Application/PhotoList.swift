// The photos of a command: as named, and those inside folders, judged by what is in them.
import Raster
import Segmentation
import System

/// Files to work on, what their results are called, and what a folder holds besides.
///
/// A folder's files are judged by their first bytes, not by their names: a JPEG may be called `.jfif` or
/// `.HEIC`. What is called as photos are but is none stays on the list, so that it is refused by name and
/// counted as failed. Everything else is left out, by kind.
///
/// Results are called as the photo without its ending, in the folders that it lies in below the one that was
/// named. Where that is one name for two, the ending is kept; where they still agree, the folders above, from
/// the first that differs.
///
/// - Memory: the names.
package struct PhotoList: Sendable {
  /// Paths, in the order of arguments and by name inside folders; no file twice.
  package private(set) var photos: [String] = []
  /// An argument was a folder.
  package private(set) var hasFolder = false
  package private(set) var leftOut = LeftOut()
  /// Below its folder, or the file's name.
  private var places: [String] = []

  /// `recursive`: folders inside folders, too; `except`: folders that results go to.
  package init(_ arguments: [String], recursive: Bool = false, except outputs: [String] = []) {
    let passed = Set(outputs.compactMap { FileIdentity($0) })
    for argument in arguments {
      guard isFolder(argument), let names = try? Folder.names(in: argument) else {
        photos.append(argument)
        places.append(fileName(of: argument))
        continue
      }
      hasFolder = true
      var walk = Walk(recursive: recursive, passed: passed)
      walk.enter(argument.hasSuffix("/") ? argument : argument + "/", names, below: "", &self)
    }
  }

  /// Drops a file that is there a second time.
  package mutating func dropRepeated() {
    var seen: Set<FileIdentity> = []
    let kept = photos.indices.filter { index in
      FileIdentity(photos[index]).map { seen.insert($0).inserted } ?? true
    }
    (photos, places) = (kept.map { photos[$0] }, kept.map { places[$0] })
  }

  /// What the results of each photo are called, with folders and without an ending; all differ.
  package var names: [String] {
    var levels = [Int](repeating: 0, count: photos.count)
    while true {
      let names = self.names(levels)
      let groups = Dictionary(grouping: names.indices) { names[$0] }.values.filter { $0.count > 1 }
      let raised = groups.flatMap { group in
        let lowest = group.map { levels[$0] }.min() ?? 4
        return group.filter { levels[$0] == lowest && lowest < 4 }
      }
      if raised.isEmpty { return names }
      for index in raised { levels[index] += 1 }
    }
  }

  /// Names by level: without ending, with it, then the same two from the first folder that differs among
  /// photos of one name, then the whole path.
  private func names(_ levels: [Int]) -> [String] {
    let stems = places.map { folder(of: $0) + baseName($0) }
    let far = Dictionary(grouping: photos.indices.filter { levels[$0] >= 2 }) { stems[$0] }
    var shared: [String: Int] = [:]
    for (stem, group) in far {
      let paths = group.map { Self.components(photos[$0]) }
      shared[stem] = paths.dropFirst().reduce(paths[0].count - 1) { count, path in
        min(count, zip(paths[0], path).prefix { $0 == $1 }.count)
      }
    }
    return photos.indices.map { index in
      if levels[index] == 0 { return stems[index] }
      if levels[index] == 1 { return places[index] }
      let path = Self.components(photos[index])
      let first = levels[index] < 4 ? shared[stems[index]] ?? 0 : 0
      let name = path[min(first, path.count - 1)...].joined(separator: "/")
      return levels[index] == 2 ? folder(of: name) + baseName(name) : name
    }
  }

  /// The folders and the name of a path from the root, without `.` and `..`.
  private static func components(_ path: String) -> [Substring] {
    let whole = path.hasPrefix("/") ? path : currentFolder() + "/" + path
    return whole.split(separator: "/").reduce(into: []) { parts, part in
      if part == ".." { _ = parts.popLast() } else if part != "." { parts.append(part) }
    }
  }
}

extension PhotoList {
  /// Goes through folders; each once, also where links lead in circles.
  private struct Walk {
    let recursive: Bool
    var passed: Set<FileIdentity>

    mutating func enter(_ path: String, _ names: [String], below place: String, _ list: inout PhotoList) {
      if let identity = FileIdentity(path) { passed.insert(identity) }
      for name in names {
        let (path, place) = (path + name, place + name)
        if name.hasPrefix(".") {
          list.leftOut.add("hidden file", path)
        } else if isFolder(path) {
          guard recursive else {
            list.leftOut.add(LeftOut.folder, path)
            continue
          }
          guard let identity = FileIdentity(path), !passed.contains(identity),
            let inner = try? Folder.names(in: path)
          else { continue }
          enter(path + "/", inner, below: place + "/", &list)
        } else if let reason = LeftOut.reason(path) {
          list.leftOut.add(reason.group, path, advice: reason.advice)
        } else {
          list.photos.append(path)
          list.places.append(place)
        }
      }
    }
  }
}

/// What a folder holds besides photos, counted by kind.
package struct LeftOut: Equatable, Sendable {
  static let folder = "folder"
  private static let ownResult = "result of this program"

  /// Kinds in the order of their first file.
  private var kinds: [(group: String, count: Int, first: String, advice: String?)] = []

  package static func == (a: LeftOut, b: LeftOut) -> Bool { a.text == b.text && a.fileCount == b.fileCount }

  /// Files, folders not counted.
  package var fileCount: Int { kinds.reduce(0) { $0 + ($1.group == Self.folder ? 0 : $1.count) } }

  /// Why a file in a folder is not taken, and what makes it one that is; nil for a photo, and for what is
  /// called as photos are.
  fileprivate static func reason(_ path: String) -> (group: String, advice: String?)? {
    let lower = path.lowercased()
    // WebP and TIFF are judged by what is in them alone: their libraries may be missing.
    let isCalledSo = PhotoFile.plainEndings.contains { lower.hasSuffix($0) }
    do throws(RasterError) {
      let kind = try FileKind(path: path)
      let mayBeOwn =
        lower.hasSuffix(".png") || [.photo(.tiff), .photo(.jpeg)].contains(kind) || kind.group == "other file"
      if (fileSize(path) ?? 0) > 0, mayBeOwn, OwnWork.isOwn(path) {
        return (ownResult, nil)
      }
      if case .photo = kind { return nil }
      if isCalledSo { return nil }
      if case .foreign = kind { return (kind.group, RasterError(kind, path: path).advice) }
      return (kind.group, nil)
    } catch {
      if isCalledSo { return nil }
      return (error.reason == .file(.empty) ? "empty file" : "file that cannot be opened", nil)
    }
  }

  fileprivate mutating func add(_ group: String, _ path: String, advice: String? = nil) {
    if let index = kinds.firstIndex(where: { $0.group == group }) {
      kinds[index].count += 1
    } else {
      kinds.append((group, 1, fileName(of: path), advice))
    }
  }

  /// `2 HEIC pictures (convert: heif-convert a.HEIC a.jpg), 1 folder (--recursive enters it)`; empty for
  /// nothing.
  package var text: String {
    kinds.map { kind in
      let name = kind.count == 1 ? kind.group : Self.plural(kind.group)
      let more = kind.count == 1 ? "" : ", ..."
      let words =
        kind.group == Self.folder
        ? "--recursive enters " + (kind.count == 1 ? "it" : "them")
        : kind.advice.map { "convert: \($0)" + more } ?? kind.first + more
      return "\(kind.count) \(name) (\(printable(words, limit: 400)))"
    }.joined(separator: ", ")
  }

  private static func plural(_ group: String) -> String {
    if group.hasPrefix("file ") { return "files" + group.dropFirst(4) }
    if group.hasPrefix("result ") { return "results" + group.dropFirst(6) }
    if group.hasSuffix(")"), let gap = group.firstIndex(of: " ") {
      return group[..<gap] + "s" + group[gap...]
    }
    return group + "s"
  }
}
