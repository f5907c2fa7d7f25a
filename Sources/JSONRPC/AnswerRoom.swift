/// Room for what one request has built for it, of a budget that all requests share.
///
/// What was taken for an answer is not given back here: its owner knows when the answer has gone out.
///
/// Of objects only: a reference goes through the functions of a call for less than a value of any size.
public protocol AnswerRoom: AnyObject, Sendable {
  /// Takes so many bytes more.
  /// - Returns: whether there was room; if not, nothing has changed.
  func take(_ bytes: Int) -> Bool
  func giveBack(_ bytes: Int)
}

/// As much room as anybody wants.
public final class UnboundedRoom: AnswerRoom {
  public init() {}
  public func take(_ bytes: Int) -> Bool { true }
  public func giveBack(_ bytes: Int) {}
}

/// What things cost that are built of a request.
enum Cost {
  /// Requests and answers up to this size cost no room: they go through when there is none.
  static let free = 4096
  /// A result that is sent in pieces is one answer if it is shorter than this.
  static let piece = 65536
  /// A value in a tree, beside its text.
  static let value = 64
  /// A call of a batch that is under way: its task, and what it waits with.
  static let call = 8192
}
