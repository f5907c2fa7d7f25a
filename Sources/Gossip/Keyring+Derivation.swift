import COpenSSL

// Nothing uses the cluster's keys themselves: each use has keys of its own, so that what is learned of one says nothing about
// another.

extension Keyring {
  /// How many keys there are; the first is number 0.
  public var count: Int { keys.count }

  /// A key for one use: HMAC-SHA-256 of its label and the cluster's name (the expand step of RFC 5869; the ring's keys are
  /// uniformly random, so nothing needs to be extracted).
  /// - Parameters:
  ///   - number: of the key in the ring.
  ///   - label: of the use.
  public func derivedKey(_ number: Int, label: String) -> [UInt8] {
    Self.derive(from: keys[number], label, cluster)
  }

  static func derive(from key: [UInt8], _ label: String, _ cluster: [UInt8]) -> [UInt8] {
    let information = Array(label.utf8) + [0, UInt8(cluster.count)] + cluster + [1]
    var derived = [UInt8](repeating: 0, count: keyBytes)
    var count: UInt32 = 0
    let isDone = HMAC(EVP_sha256(), key, Int32(key.count), information, information.count, &derived, &count)
    precondition(isDone != nil && Int(count) == keyBytes, "HMAC-SHA-256 failed")
    return derived
  }
}
