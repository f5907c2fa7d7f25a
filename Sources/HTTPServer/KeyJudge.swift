/// Tells clients who have shown a valid key from strangers. What a key is, and where it stands, the layer above knows.
///
/// It is asked only for requests that are big enough to count against a budget, on the loop, and must not block.
public protocol KeyJudge: Sendable {
  /// Whether the header fields of a request carry a valid key. Its body has not come yet.
  func showsKey(_ headers: HTTPHeaders) -> Bool

  /// Judges a complete request that is larger than `HTTPServerConfiguration.strangerRequestBytes` and whose header fields
  /// carry no valid key, before anything is built of its body.
  func judge(_ request: HTTPRequest) -> KeyJudgement
}

/// What becomes of a large request of a client that was a stranger so far.
public enum KeyJudgement: Sendable {
  /// Its body carries a valid key.
  case showsKey
  /// It carries none, and needs none: it is served as a stranger's.
  case needsNoKey
  /// It is answered with this, held back for a time, and goes no further.
  case refused(HTTPResponse, after: Duration = .zero)
}
