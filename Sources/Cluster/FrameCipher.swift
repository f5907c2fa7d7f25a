import COpenSSL

/// One direction of a peer link: frames sealed with AES-256-GCM under a key of this link alone, numbered from 0, so that a
/// frame that is repeated, left out or moved does not open. The number is the nonce; it never repeats under one key.
final class FrameCipher: @unchecked Sendable {
  // @unchecked: an OpenSSL context, used by one link on the loop's thread only.

  static let tagBytes = 16
  private let context: OpaquePointer
  private let isSealing: Bool
  private var nextNumber: UInt64 = 0

  init(key: [UInt8], isSealing: Bool) {
    guard let context = EVP_CIPHER_CTX_new() else { preconditionFailure("no memory for a cipher") }
    self.context = context
    self.isSealing = isSealing
    let isReady =
      isSealing
      ? EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nil)
      : EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nil)
    precondition(isReady == 1, "AES-256-GCM failed")
  }

  deinit { EVP_CIPHER_CTX_free(context) }

  /// Appends `frame` to `output`, sealed.
  func seal(_ frame: [UInt8], into output: inout [UInt8]) {
    precondition(isSealing)
    let start = output.count
    let nonce = takeNonce()
    // In place: GCM is a stream cipher.
    output.append(contentsOf: frame)
    var tag = [UInt8](repeating: 0, count: Self.tagBytes)
    let isSealed = output.withUnsafeMutableBufferPointer { output -> Bool in
      let bytes = output.baseAddress! + start
      var count: Int32 = 0
      return EVP_EncryptInit_ex(context, nil, nil, nil, nonce) == 1
        && EVP_EncryptUpdate(context, bytes, &count, bytes, Int32(frame.count)) == 1
        && EVP_EncryptFinal_ex(context, nil, &count) == 1
        && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, Int32(Self.tagBytes), &tag) == 1
    }
    output.append(contentsOf: tag)
    precondition(isSealed, "AES-256-GCM failed")
  }

  /// - Returns: `nil` when it is not the next frame of this direction; the link is of no use then.
  func open(_ sealed: ArraySlice<UInt8>) -> [UInt8]? {
    precondition(!isSealing)
    guard sealed.count >= Self.tagBytes else { return nil }
    let nonce = takeNonce()
    let count = sealed.count - Self.tagBytes
    return sealed.withUnsafeBufferPointer { sealed -> [UInt8]? in
      var isOpen = false
      let frame = [UInt8](unsafeUninitializedCapacity: count) { frame, initialized in
        var length: Int32 = 0
        // OpenSSL only reads from the tag.
        let tag = UnsafeMutablePointer(mutating: sealed.baseAddress! + count)
        isOpen =
          EVP_DecryptInit_ex(context, nil, nil, nil, nonce) == 1
          && EVP_DecryptUpdate(context, frame.baseAddress, &length, sealed.baseAddress, Int32(count)) == 1
          && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, Int32(Self.tagBytes), tag) == 1
          && EVP_DecryptFinal_ex(context, nil, &length) == 1
        initialized = isOpen ? count : 0
      }
      return isOpen ? frame : nil
    }
  }

  private func takeNonce() -> [UInt8] {
    defer { nextNumber += 1 }
    return [0, 0, 0, 0] + withUnsafeBytes(of: nextNumber.bigEndian, Array.init)
  }
}
