/// An answer to a request, of which the end may still have to be made.
public struct Answer: Sendable {
  /// Its bytes, all of them or the first.
  public var bytes: [UInt8]
  /// What follows, if it was not made at once.
  public var rest: Rest?

  init(_ bytes: [UInt8], rest: Rest? = nil) {
    self.bytes = bytes
    self.rest = rest
  }

  /// The next piece of a long result as JSON text; `nil` after the last. It is asked for when the one before has been sent.
  ///
  /// It throws when the result cannot be made to its end: then the answer is cut off, and must be seen to be.
  public typealias Pieces = @Sendable () async throws(JSONRPCError) -> [UInt8]?

  public struct Rest: Sendable {
    public let next: Pieces
    /// What ends the answer behind the last piece.
    public let end: [UInt8]
  }
}
