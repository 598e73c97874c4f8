// A preset in a file: options by name over a method's own or a published configuration, and how they were
// found. `trident tune` writes such files, people may, and `--preset` takes them.
import System

/// Options that somebody keeps in a JSON file.
///
///     {"trident_preset": 1, "method": "trident", "base": "voc21", "options": {"logit_scale": 45},
///      "provenance": {...}}
///
/// - Memory: the file, at most 256 KiB.
/// - Errors: `.usage`, naming the file and the member, for a file that cannot be read, is no preset, or holds
///   a key or a value that is none.
package struct PresetFile: Sendable {
  package static let version = 1

  /// Whether a file begins as presets do that were written here.
  package static func isOne(_ path: String) -> Bool {
    guard let file = try? InputFile<SystemError>.open(path: path),
      let start = try? file.bytes(at: 0, upTo: beginning.utf8.count)
    else { return false }
    return start.elementsEqual(beginning.utf8)
  }

  /// How files begin that `text` makes.
  static let beginning = "{\n  \"trident_preset\": 1,"
  private static let byteLimit = 256 << 10
  /// Of provenance in one line: every legend repeats it.
  private static let provenanceLimit = 16 << 10

  /// As it was named; nil for one that is being made.
  package private(set) var path: String?
  /// SHA-256 of the file.
  package private(set) var digest = ""
  /// Nil: whichever method runs.
  package var method: MethodName?
  /// The published configuration that it starts from, with its classes.
  package var base: SegmentOptions.Preset?
  /// By key, in the order of the file; every key once.
  package private(set) var options: [(key: String, value: JSON)] = []
  /// An object of anything: who made it of what.
  package var provenance: JSON?

  /// What sets `options` apart from the same method's own options, or from a published configuration of it.
  ///
  /// - Parameter depth: CLIP's blocks, which published configurations may depend on.
  package init(
    of options: SegmentOptions, over base: SegmentOptions.Preset?, depth: Int, provenance: JSON? = nil
  ) {
    (method, self.base, self.provenance) = (options.method, base, provenance)
    let usual =
      base.map { SegmentOptions(preset: $0, method: options.method, depth: depth) }
      ?? SegmentOptions(method: options.method)
    for row in OptionTable.rows where row.key != "method" && row.methods.contains(options.method) {
      let value = row.value(options)
      if value != row.value(usual) { self.options.append((row.key, value.json)) }
    }
  }

  package init(path: String) throws(SegmentationError) {
    let bytes: [UInt8]
    do throws(SystemError) { bytes = try FileBytes.read(path, limit: Self.byteLimit) } catch {
      throw SegmentationError(.usage(error.reason.description), path: path)
    }
    do throws(SegmentationError) { try self.init(bytes) } catch { throw error.at(path: path) }
    self.path = path
  }

  /// Reads the text of a file.
  package init(_ bytes: [UInt8]) throws(SegmentationError) {
    let whole: JSON
    do throws(SystemError) { whole = try JSONReader.parse(bytes) } catch {
      let place = error.offset.map { "byte \($0): " } ?? ""
      let name = error.name.map { "'\(printable($0, limit: 100))' " } ?? ""
      throw SegmentationError(.usage("is no JSON: \(place)\(name)\(error.reason.description)"))
    }
    guard case .object(let members) = whole, case .int(Self.version)? = whole.member("trident_preset") else {
      throw SegmentationError(
        .usage("is no preset: it must be an object with \"trident_preset\": \(Self.version)"))
    }
    digest = SHA256Digest.hex(of: String(decoding: bytes, as: UTF8.self))
    for (key, value) in members {
      switch key {
      case "trident_preset": break
      case "method": method = try Self.choice(value, key)
      case "base": base = try Self.choice(value, key)
      case "options": try readOptions(value)
      case "provenance": provenance = try Self.checked(value)
      default:
        let keys = "method, base, options, provenance"
        throw Self.mistake("there is no such member; a preset has \(keys)", at: key)
      }
    }
    // Whatever cannot be set is told now, where it stands; what only some method takes, where that is known.
    for (key, value) in options { try check(key, value) }
  }

  private static func mistake(_ problem: String, at field: String) -> SegmentationError {
    SegmentationError(.usage(problem), field: printable(field, limit: 100))
  }

  private static func choice<Value: RawRepresentable<String> & CaseIterable>(
    _ value: JSON, _ key: String
  ) throws(SegmentationError) -> Value {
    if case .string(let text) = value, let known = Value(rawValue: text) { return known }
    let names = Value.allCases.map(\.rawValue).joined(separator: ", ")
    throw mistake("takes one of \(names)", at: key)
  }

  private static func checked(_ value: JSON) throws(SegmentationError) -> JSON {
    guard case .object = value else { throw mistake("takes an object", at: "provenance") }
    let count = value.text(indent: -1).utf8.count
    guard count <= provenanceLimit else {
      throw mistake("is \(count) bytes long, at most \(provenanceLimit) are kept", at: "provenance")
    }
    return value
  }

  private mutating func readOptions(_ value: JSON) throws(SegmentationError) {
    guard case .object(let members) = value else { throw Self.mistake("takes an object", at: "options") }
    for (key, value) in members {
      guard let row = OptionTable[key], row.key != "method" else {
        let keys = OptionTable.rows.map(\.key).filter { $0 != "method" }.joined(separator: ", ")
        throw Self.mistake("there is no such option; options: \(keys)", at: "options.\(key)")
      }
      guard !options.contains(where: { $0.key == row.key }) else {
        throw Self.mistake("stands here twice; remove one", at: "options.\(key)")
      }
      options.append((row.key, value))
    }
  }

  /// A value for a method that has the option.
  private func check(_ key: String, _ value: JSON) throws(SegmentationError) {
    guard let row = OptionTable[key], let any = row.methods.first else { return }
    var options = SegmentOptions(method: method ?? any)
    try set(key, value, &options)
  }

  private func set(_ key: String, _ value: JSON, _ options: inout SegmentOptions) throws(SegmentationError) {
    let field = "options.\(key)"
    guard let text = value.optionText else {
      throw Self.mistake("takes a string, a number, true or false", at: field)
    }
    do throws(SegmentationError) { try options.set(key, text) } catch {
      throw SegmentationError(error.reason, field: field)
    }
  }

  // MARK: Use

  /// The options that it stands for.
  ///
  /// - Parameters:
  ///   - usual: the method where the file names none.
  ///   - depth: CLIP's blocks, which published configurations may depend on.
  /// - Errors: `.usage` for an option that means nothing to the method.
  package func options(_ usual: MethodName, depth: Int) throws(SegmentationError) -> SegmentOptions {
    let method = method ?? usual
    var made =
      base.map { SegmentOptions(preset: $0, method: method, depth: depth) }
      ?? SegmentOptions(method: method)
    do throws(SegmentationError) {
      for (key, value) in options { try set(key, value, &made) }
    } catch {
      throw path.map { error.at(path: $0) } ?? error
    }
    return made
  }

  /// The text of a file.
  package var text: String {
    var members: [(String, JSON)] = [("trident_preset", .int(Self.version))]
    if let method { members.append(("method", .string(method.rawValue))) }
    if let base { members.append(("base", .string(base.rawValue))) }
    members.append(("options", .object(options.map { ($0.key, $0.value) })))
    if let provenance { members.append(("provenance", provenance)) }
    return JSON.object(members).text() + "\n"
  }

  /// What legends and reports say of it.
  package var json: JSON {
    var members: [(String, JSON)] = [("sha256", .string(digest))]
    if let path { members.insert(("file", .string(path)), at: 0) }
    if let provenance { members.append(("provenance", provenance)) }
    return .object(members)
  }

  /// One line for people: where its numbers come from.
  package var remark: String {
    // Digests are for programs.
    let members = (provenance?.plainMembers ?? []).filter { $0.1.utf8.count < 60 }
    let said = members.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
    return printable("preset \(path ?? ""): " + (said.isEmpty ? "no provenance" : said), limit: 600)
  }
}

extension JSON {
  /// What an option is set from; nil for lists, objects and null.
  fileprivate var optionText: String? {
    switch self {
    case .string(let text): text
    case .int(let value): String(value)
    case .number(let value): JSON.number(value).text()
    case .bool(let value): value ? "true" : "false"
    case .object, .array, .null: nil
    }
  }

  /// The members of an object that are neither lists nor objects, as words.
  fileprivate var plainMembers: [(String, String)] {
    guard case .object(let members) = self else { return [] }
    return members.compactMap { key, value in value.optionText.map { (key, $0) } }
  }
}

extension OptionValue {
  package var json: JSON {
    switch self {
    case .int(let number): .int(number)
    case .number(let number): .float(number)
    case .flag(let flag): .bool(flag)
    case .word(let word): .string(word)
    }
  }
}

/// What `--preset` names: a published configuration, or a file.
package enum PresetChoice: Sendable {
  case published(SegmentOptions.Preset)
  case file(PresetFile)

  /// - Errors: `.usage` for what is neither; those of `PresetFile`.
  package init(_ name: String) throws(SegmentationError) {
    if let known = SegmentOptions.Preset(rawValue: name) {
      self = .published(known)
      return
    }
    guard fileExists(name) else {
      let names = SegmentOptions.Preset.allCases.map(\.rawValue).joined(separator: ", ")
      throw SegmentationError(.usage("there is no preset '\(name)' and no such file; presets: \(names)"))
    }
    self = .file(try PresetFile(path: name))
  }

  /// The published configuration: brings its own classes.
  package var published: SegmentOptions.Preset? {
    switch self {
    case .published(let preset): preset
    case .file(let file): file.base
    }
  }

  package var file: PresetFile? { if case .file(let file) = self { file } else { nil } }
}

extension PresetChoice? {
  /// What options start from: the preset's, or the method's own.
  ///
  /// - Parameter depth: blocks of CLIP's photo side.
  /// - Errors: those of `PresetFile.options`.
  package func options(_ method: MethodName, depth: Int) throws(SegmentationError) -> SegmentOptions {
    switch self {
    case .file(let file): try file.options(method, depth: depth)
    case .published(let preset): SegmentOptions(preset: preset, method: method, depth: depth)
    case nil: SegmentOptions(method: method)
    }
  }
}
