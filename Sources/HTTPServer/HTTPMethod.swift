/// The request methods that this server tells apart (RFC 9110 §9).
public enum HTTPMethod: Sendable, Hashable {
  case get, head, post, options
  /// A method that HTTP knows and this server does not serve; it is answered 405 before a handler sees it.
  case other(String)
}
