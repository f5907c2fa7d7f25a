import ExactText

/// Where a page of a store's jobs ends, as text `TIME-SEQ`.
///
/// Lists go by the time of creation, newest first, and jobs of the same millisecond by their `seq`. So a page may begin
/// behind a job that is no longer there.
public struct JobCursor: Hashable, Sendable {
  public let createdAt: Timestamp
  /// The store's own number of the job, which grows.
  public let seq: Int64

  public init(createdAt: Timestamp, seq: Int64) {
    self.createdAt = createdAt
    self.seq = seq
  }

  /// - Throws: `invalidCursor` for what no page has answered.
  public init(_ text: String) throws(JobStoreError) {
    // Two numbers of 19 digits at most.
    guard text.utf8.count <= 39 else { throw .invalidCursor(text) }
    let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false).map { Substring($0) }
    // At most the end of the year 9999, the last that a timestamp of RFC 3339 can name.
    guard parts.count == 2, let time = Int64(parts[0]), let seq = Int64(parts[1]), seq >= 0,
      (0..<253_402_300_800_000).contains(time)
    else { throw .invalidCursor(text) }
    self.init(createdAt: Timestamp(milliseconds: time), seq: seq)
    // As it was written, to the byte: no sign, no leading zero.
    guard self.text.isExactly(text) else { throw .invalidCursor(text) }
  }

  public var text: String { "\(createdAt.milliseconds)-\(seq)" }
}
