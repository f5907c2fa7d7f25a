import COpenSSL

/// One direction of a peer link: frames sealed with AES-256-GCM under a key of this link alone, numbered from 0, so that a
/// frame that is repeated, left out or moved does not open. The number is the nonce; it never repeats under one key.
final class FrameCipher: @unchecked Sendable {
  // @unchecked: an OpenSSL context, used by one link on the loop's thread only.

  static let tagBytes = 16
  private static let nonceBytes = 12
  private let context: OpaquePointer
  private let nonce = UnsafeMutableRawBufferPointer.allocate(byteCount: nonceBytes, alignment: 4)
  private let isSealing: Bool
  private var nextNumber: UInt64 = 0

  init(key: [UInt8], isSealing: Bool) {
    guard let context = EVP_CIPHER_CTX_new() else { preconditionFailure("no memory for a cipher") }
    self.context = context
    self.isSealing = isSealing
    nonce.initializeMemory(as: UInt8.self, repeating: 0)
    let isReady =
      isSealing
      ? EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nil)
      : EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nil)
    precondition(isReady == 1, "AES-256-GCM failed")
  }

  deinit {
    EVP_CIPHER_CTX_free(context)
    nonce.deallocate()
  }

  /// Appends a head and what follows it to `output`, sealed as one.
  func seal(_ head: UnsafeRawBufferPointer, _ rest: UnsafeRawBufferPointer, into output: inout [UInt8]) {
    precondition(isSealing)
    takeNonce()
    let count = head.count + rest.count
    output.append(addingCapacity: count + Self.tagBytes) { span in
      span.withUnsafeMutableBufferPointer { output, initialized in
        let bytes = UnsafeMutableRawBufferPointer(output)
        bytes.copyMemory(from: head)
        UnsafeMutableRawBufferPointer(rebasing: bytes[head.count...]).copyMemory(from: rest)
        // In place: GCM is a stream cipher. Alone, since a second update of a few bytes costs as much as many more.
        let base = output.baseAddress!
        var length: Int32 = 0
        let isSealed =
          EVP_EncryptInit_ex(context, nil, nil, nil, nonce.baseAddress) == 1
          && EVP_EncryptUpdate(context, base, &length, base, Int32(count)) == 1
          && EVP_EncryptFinal_ex(context, nil, &length) == 1
          && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, Int32(Self.tagBytes), base + count) == 1
        precondition(isSealed, "AES-256-GCM failed")
        initialized = count + Self.tagBytes
      }
    }
  }

  /// Opens what `seal` made: fills `head`, and returns what follows it.
  /// - Returns: `nil` when it is not the next of this direction; the link is of no use then.
  func open(_ sealed: UnsafeRawBufferPointer, head: UnsafeMutableRawBufferPointer) -> [UInt8]? {
    precondition(!isSealing)
    let count = sealed.count - head.count - Self.tagBytes
    guard count >= 0 else { return nil }
    takeNonce()
    let input = sealed.assumingMemoryBound(to: UInt8.self).baseAddress!
    let headBase = head.assumingMemoryBound(to: UInt8.self).baseAddress
    var isOpen = false
    let rest = [UInt8](unsafeUninitializedCapacity: count) { rest, initialized in
      var length: Int32 = 0
      // OpenSSL only reads from the tag.
      let tag = UnsafeMutablePointer(mutating: input + (sealed.count - Self.tagBytes))
      isOpen =
        EVP_DecryptInit_ex(context, nil, nil, nil, nonce.baseAddress) == 1
        && (head.isEmpty || EVP_DecryptUpdate(context, headBase, &length, input, Int32(head.count)) == 1)
        && (count == 0
          || EVP_DecryptUpdate(context, rest.baseAddress, &length, input + head.count, Int32(count)) == 1)
        && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, Int32(Self.tagBytes), tag) == 1
        && EVP_DecryptFinal_ex(context, nil, &length) == 1
      initialized = isOpen ? count : 0
    }
    return isOpen ? rest : nil
  }

  private func takeNonce() {
    nonce.storeBytes(of: nextNumber.bigEndian, toByteOffset: 4, as: UInt64.self)
    nextNumber += 1
  }
}

extension FrameCipher {
  /// Bytes without a head, as in the handshake.
  func seal(_ bytes: [UInt8]) -> [UInt8] {
    var output: [UInt8] = []
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    bytes.withUnsafeBytes { seal(none, $0, into: &output) }
    return output
  }

  /// - Returns: `nil` when they are not the next of this direction.
  func open(_ sealed: [UInt8]) -> [UInt8]? {
    let none = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    return sealed.withUnsafeBytes { open($0, head: none) }
  }

  /// Appends a frame to `output`, its length before it.
  /// - Parameters:
  ///   - total: the length of the message of which this is the first piece.
  ///   - channel: of a request, with its first frame.
  func seal(
    _ kind: Frame.Kind, call: UInt64, total: Int? = nil, channel: LinkChannel? = nil,
    _ payload: UnsafeRawBufferPointer, into output: inout [UInt8]
  ) {
    withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { head in
      head[0] = kind.rawValue
      head.storeBytes(of: call.bigEndian, toByteOffset: 1, as: UInt64.self)
      var count = Frame.headBytes
      if let total {
        head.storeBytes(of: UInt32(total).bigEndian, toByteOffset: count, as: UInt32.self)
        count += Frame.lengthBytes
      }
      if let channel {
        head[count] = channel.rawValue
        count += 1
      }
      let length = UInt32(count + payload.count + Self.tagBytes)
      withUnsafeBytes(of: length.bigEndian) { output.append(contentsOf: $0) }
      seal(UnsafeRawBufferPointer(rebasing: head[..<count]), payload, into: &output)
    }
  }

  /// - Throws: when it is not the next frame of this direction.
  func open(frame sealed: UnsafeRawBufferPointer) throws(LinkFault) -> Frame {
    let frame = withUnsafeTemporaryAllocation(byteCount: Frame.headBytes, alignment: 8) { head -> Frame? in
      guard let payload = open(sealed, head: head), let kind = Frame.Kind(rawValue: head[0]) else { return nil }
      let call = UInt64(bigEndian: head.loadUnaligned(fromByteOffset: 1, as: UInt64.self))
      return Frame(kind: kind, call: call, payload: payload)
    }
    guard let frame else { throw LinkFault(reason: "a frame that is not the next one") }
    return frame
  }
}
