// Checksums of a mapped model.

import System

extension MappedModel {
  /// Checks the header's checksum, every tensor's, and that the padding between tensors is zero.
  ///
  /// - Parameter provesIdentity: whether the identity is computed again, too; it takes five times as long.
  /// - Parameter progress: called with bytes done and bytes in all, after every few MiB.
  /// - Memory: pages are dropped behind the reading position, so residency stays at a few MiB.
  /// - Errors: `checksumMismatch` with the tensor's name, `otherIdentity`, `changedWhileOpen` if the file was
  ///   modified.
  package func verify(
    provesIdentity: Bool = true, progress: (_ done: Int, _ total: Int) -> Void
  ) throws(ContainerError) {
    try checkUnchanged()
    try verifyHeader()
    let expected = try tensorChecksums()
    var end = header.dataStart
    var identity = identityOfKeys()
    for (index, record) in tensors.enumerated() {
      try verifyPadding(end..<record.offset)
      if provesIdentity { identity.add(record) }
      try verify(record, expected: expected[index]) { bytes, end in
        if provesIdentity { identity.add(bytes) }
        progress(end, byteCount)
      }
      end = record.range.upperBound
    }
    try verifyPadding(end..<byteCount)
    if provesIdentity { try compare(identity.finish()) }
    progress(byteCount, byteCount)
    try checkUnchanged()
  }

  /// Checks the checksums of the tensors that `isWanted` picks, in file order.
  ///
  /// - Memory: pages stay resident, but of tensors above 4 MiB, which go behind the reading position; four
  ///   bytes a tensor of the model besides.
  /// - Errors: `checksumMismatch` with the tensor's name. Nothing is checked in a file opened with
  ///   `ignoreChecksums`.
  package func verifyTensors(where isWanted: (TensorRecord) -> Bool) throws(ContainerError) {
    if ignoresChecksums { return }
    let expected = try tensorChecksums()
    for (index, record) in tensors.enumerated() where isWanted(record) {
      if record.range.count > Self.step {
        try verify(record, expected: expected[index]) { _, _ in }
        continue
      }
      let found = CRC32.of(UnsafeRawBufferPointer(rebasing: mapping.bytes[record.range]))
      guard found == expected[index] else {
        throw fail(
          .checksumMismatch(expected: expected[index], found: found), record.name, offset: record.offset)
      }
    }
  }

  /// Checks one tensor's checksum.
  package func verifyTensor(_ name: String) throws(ContainerError) {
    let record = try tensor(name)
    guard let index = tensors.firstIndex(where: { $0.name == name }) else { throw fail(.missingTensor, name) }
    let expected = try tensorChecksums()[index]
    try verify(record, expected: expected) { _, _ in }
  }

  /// Checks the checksum over everything before the tensors. The key must be the last one and of type uint32.
  package func verifyHeader() throws(ContainerError) {
    let entry = try entry(Self.headerChecksumKey)
    guard entry.type == .uint32, header.entries.last == entry else {
      throw fail(.wrongValueType(expected: "uint32 as last key", found: "\(entry.type)"), entry.key)
    }
    let file = mapping.bytes
    let stored = UInt32(littleEndian: file.loadUnaligned(fromByteOffset: entry.offset, as: UInt32.self))
    var crc = CRC32()
    crc.update(UnsafeRawBufferPointer(rebasing: file[0..<entry.offset]))
    withUnsafeBytes(of: UInt32(0)) { crc.update($0) }
    crc.update(UnsafeRawBufferPointer(rebasing: file[(entry.offset + 4)..<header.dataStart]))
    guard crc.value == stored else {
      throw fail(.checksumMismatch(expected: stored, found: crc.value), "header", offset: entry.offset)
    }
  }

  private func tensorChecksums() throws(ContainerError) -> [UInt32] {
    let values = try uints(Self.tensorChecksumsKey)
    guard values.count == tensors.count, !values.contains(where: { $0 > Int(UInt32.max) }) else {
      let expected = "\(tensors.count) checksums"
      throw fail(.valueOutOfRange(expected: expected, found: "\(values.count)"), Self.tensorChecksumsKey)
    }
    return values.map { UInt32($0) }
  }

  private func verify(
    _ record: TensorRecord, expected: UInt32, _ each: (UnsafeRawBufferPointer, Int) -> Void
  ) throws(ContainerError) {
    var crc = CRC32()
    inSteps(record) { bytes, end in
      crc.update(bytes)
      each(bytes, end)
    }
    guard crc.value == expected else {
      throw fail(.checksumMismatch(expected: expected, found: crc.value), record.name, offset: record.offset)
    }
  }

  private func verifyPadding(_ range: Range<Int>) throws(ContainerError) {
    for offset in range where mapping.bytes[offset] != 0 { throw fail(.nonzeroPadding, nil, offset: offset) }
  }
}
