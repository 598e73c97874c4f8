// Checkpoints of toy size as torch.save writes them, in both of its formats, with what stands beside the
// tensors.

import Foundation
import TestSupport

/// A plain value of a pickle.
indirect enum ToyValue: Sendable {
  case none
  case bool(Bool)
  case integer(Int)
  case float(Double)
  case text(String)
  case list([ToyValue])
  case table([(String, ToyValue)])
  case namespace([(String, ToyValue)])
  /// What a class of this module makes.
  case object(String, String)
  /// So many zeros.
  case zeros(Int)
  /// A list in a list, so many times.
  case nested(Int)
  /// A list that holds itself.
  case cycle
}

extension [(String, ToyValue)] {
  /// The same with another value, or without one for nil.
  func with(_ name: String, _ value: ToyValue?) -> [(String, ToyValue)] {
    let kept = filter { $0.0 != name }
    return value.map { kept + [(name, $0)] } ?? kept
  }
}

extension PickleBytes {
  mutating func value(_ value: ToyValue) {
    switch value {
    case .none: op(0x4e)
    case .bool(let flag): op(flag ? 0x88 : 0x89)
    case .integer(let number): integer(number)
    case .float(let number): bytes += [0x47] + little(Int(bitPattern: UInt(number.bitPattern)), 8).reversed()
    case .text(let string): text(string)
    case .list(let items):
      op(0x5d)
      for item in items {
        self.value(item)
        op(0x61)
      }
    case .table(let members): table(members)
    case .namespace(let members):
      global("argparse", "Namespace")
      op(0x29, 0x81)
      table(members)
      op(0x62)
    case .object(let module, let name):
      global(module, name)
      op(0x29, 0x52)
    case .zeros(let count):
      op(0x5d, 0x28)
      for _ in 0..<count { integer(0) }
      op(0x65)
    case .nested(let depth):
      for _ in 0..<depth { op(0x5d) }
      for _ in 1..<depth { op(0x61) }
    case .cycle: op(0x5d, 0x71, 7, 0x68, 7, 0x61)
    }
  }

  private mutating func table(_ members: [(String, ToyValue)]) {
    op(0x7d)
    for (name, member) in members {
      text(name)
      value(member)
      op(0x73)
    }
  }
}

/// A checkpoint as a training run saves it.
struct TorchToy {
  /// State dicts by the key they are saved under; nothing for one that is the file's own.
  var states: [(String, ToyCheckpoint)]
  /// Saved under `args`.
  var arguments: ToyValue?
  /// Tensors that are stored as 64-bit integers, and those stored with the other sign.
  var integers: Set<String> = []
  var negated: Set<String> = []
  /// Tensors stored as numbers that are not read, with the storage's class or the element type.
  var unread: [String: String] = [:]

  private func stored(_ name: String, _ values: [Float]) -> [UInt8] {
    if integers.contains(name) { return values.flatMap { little(Int($0), 8) } }
    let sign: Float = negated.contains(name) ? -1 : 1
    return values.flatMap { little(Int(($0 * sign).bitPattern), 4) }
  }

  private func pickled() -> (pickle: [UInt8], storages: [(count: Int, bytes: [UInt8])]) {
    var pickle = PickleBytes()
    var storages: [(count: Int, bytes: [UInt8])] = []
    pickle.op(0x7d)
    for (key, state) in states {
      if !key.isEmpty {
        pickle.text(key)
        pickle.op(0x7d)
      }
      for (name, tensor) in state.tensors.sorted(by: { $0.key < $1.key }) {
        pickle.text(name)
        var strides = tensor.shape
        for axis in strides.indices { strides[axis] = tensor.shape[(axis + 1)...].reduce(1, *) }
        let key = "\(storages.count)"
        if let type = unread[name], !type.hasSuffix("Storage") {
          let bytes = [UInt8](repeating: 1, count: tensor.values.count)
          pickle.typedTensor(key: key, bytes: bytes.count, shape: tensor.shape, strides: strides, type: type)
          storages.append((bytes.count, bytes))
        } else {
          pickle.tensor(
            key: key, elements: tensor.values.count, shape: tensor.shape, strides: strides,
            type: unread[name] ?? (integers.contains(name) ? "LongStorage" : "FloatStorage"),
            isNegated: negated.contains(name))
          let size = unread[name] == nil ? 0 : 4 * tensor.values.count
          let bytes = stored(name, tensor.values) + [UInt8](repeating: 0, count: size)
          storages.append((tensor.values.count, bytes))
        }
        pickle.op(0x73)
      }
      if !key.isEmpty { pickle.op(0x73) }
    }
    if let arguments {
      pickle.text("args")
      pickle.value(arguments)
      pickle.op(0x73)
    }
    pickle.op(0x2e)
    return (pickle.bytes, storages)
  }

  /// `damaged`: the storage in which a bit is flipped; `checksum`: what the archive says of all, if not the
  /// truth.
  func zip(damaged: Int? = nil, checksum: UInt32? = nil) -> [UInt8] {
    let (pickle, storages) = pickled()
    var parts = [ZipPart(name: "m/data.pkl", body: pickle, checksum: checksum)]
    for (index, storage) in storages.enumerated() {
      var bytes = storage.bytes
      let honest = crc32(bytes)
      if index == damaged { bytes[bytes.count / 2] ^= 1 }
      parts.append(ZipPart(name: "m/data/\(index)", body: bytes, checksum: checksum ?? honest))
    }
    return zipFile(parts)
  }

  func legacy() -> [UInt8] {
    let (pickle, storages) = pickled()
    return legacyFile(pickle, storages: storages)
  }
}

/// A C-RADIO of toy size: width 64, four heads, two blocks, a head of two inner blocks.
enum RADIOToy {
  static let blocks = "base_model.blocks."
  static let teachers = ToyValue.list([
    .table([("name", .text("clip")), ("type", .text("open_clip"))]),
    .table([("name", .text("siglip2")), ("type", .text("siglip2")), ("model", .text("siglip2-so400m"))]),
    .table([("name", .text("sam")), ("type", .text("sam"))]),
  ])
  static let arguments: [(String, ToyValue)] = [
    ("model", .text("vit_base_patch16_v2_224")),
    ("model_kwargs", .table([("num_heads", .integer(4)), ("depth", .integer(2))])),
    ("model_norm", .bool(false)), ("teachers", teachers),
  ]

  /// `embed`: the width that the language head leads to.
  static func state(embed: Int = 48) -> ToyCheckpoint {
    var toy = ToyCheckpoint(seed: 21)
    toy.add("base_model.patch_generator.embedder.weight", 64, 768)
    toy.add("base_model.patch_generator.pos_embed", 1, 64, 64)
    toy.add("base_model.patch_generator.cls_token.token", 8, 64)
    for index in 0..<2 {
      let block = blocks + "\(index)."
      toy.norm(block + "norm1", 64)
      toy.norm(block + "norm2", 64)
      toy.linear(block + "attn.qkv", 192, 64)
      toy.linear(block + "attn.proj", 64, 64)
      toy.linear(block + "mlp.fc1", 80, 64)
      toy.linear(block + "mlp.fc2", 64, 80)
      toy.add(block + "ls1.gamma", 64)
      toy.add(block + "ls2.gamma", 64)
    }
    for (index, outputs) in [20, embed].enumerated() {
      let head = "_heads.\(index)."
      toy.linear(head + "fc1", 72, 64)
      for inner in 0..<2 {
        toy.norm(head + "blocks.\(inner).0", 72)
        toy.linear(head + "blocks.\(inner).2", 72, 72)
      }
      toy.norm(head + "final.0", 72)
      toy.linear(head + "final.2", outputs, 72)
    }
    toy.tensors["input_conditioner.norm_mean"] = ([3, 1, 1], [0.48145466, 0.4578275, 0.40821073])
    toy.tensors["input_conditioner.norm_std"] = ([3, 1, 1], [0.26862954, 0.26130258, 0.27577711])
    return toy
  }

  static func file(
    _ state: ToyCheckpoint = RADIOToy.state(), _ arguments: [(String, ToyValue)] = RADIOToy.arguments
  ) -> TorchToy {
    TorchToy(states: [("state_dict", state)], arguments: .namespace(arguments))
  }

  /// The toy with spectral norms of version 2 in the first block.
  static func spectral() -> TorchToy {
    var toy = state()
    var integers: Set<String> = []
    let layers = [("attn.qkv", 3, 64, 64), ("attn.proj", 1, 64, 64), ("mlp.fc1", 1, 80, 64)]
    for (layer, parts, rows, columns) in layers {
      let stem = blocks + "0.\(layer)."
      let weight = stem + "parametrizations.weight."
      toy.tensors[weight + "original"] = toy.tensors.removeValue(forKey: stem + "weight")
      for part in 0..<parts {
        let from = weight + (parts == 1 ? "0." : "0.parts.\(part).")
        toy.add(from + "scale", 1, 1)
        toy.add(from + "_u", rows)
        toy.add(from + "_v", columns)
        toy.tensors[from + "_sn_version"] = ([], [2])
        integers.insert(from + "_sn_version")
      }
    }
    var file = RADIOToy.file(toy, arguments.with("spectral_reparam", .bool(true)))
    file.integers = integers
    return file
  }
}
