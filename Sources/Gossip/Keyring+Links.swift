import COpenSSL

// Peer links do not use the cluster's keys themselves: both ends derive keys for one link and one direction from a key of
// the ring and from random numbers of both, so that nothing recorded on one link can be used on another.

extension Keyring {
  /// How many keys there are; the first is number 0.
  public var count: Int { keys.count }

  /// A key for one link and direction: HMAC-SHA-256 of its label, the cluster's name and both ends' random numbers
  /// (the expand step of RFC 5869; the ring's keys are uniformly random, so nothing needs to be extracted).
  /// - Parameters:
  ///   - number: of the key in the ring.
  ///   - label: of the direction.
  ///   - salt: the random numbers of both ends.
  public func linkKey(_ number: Int, label: String, salt: [UInt8]) -> [UInt8] {
    let information = Array("hero link 1 \(label)".utf8) + [0, UInt8(cluster.count)] + cluster + salt + [1]
    var key = [UInt8](repeating: 0, count: Self.keyBytes)
    var count: UInt32 = 0
    let isDone = HMAC(
      EVP_sha256(), keys[number], Int32(keys[number].count), information, information.count, &key, &count)
    precondition(isDone != nil && Int(count) == Self.keyBytes, "HMAC-SHA-256 failed")
    return key
  }

  /// Random bytes for a handshake.
  public static func randomBytes(_ count: Int) -> [UInt8] { random(count) }
}
