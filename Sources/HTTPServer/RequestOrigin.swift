/// Where a request comes from, as far as it can be told from the connection and the head.
///
/// A page in a browser on this machine cannot choose `Host`, and a proxy in front of the node adds fields of its own
/// unless it was told not to. A proxy that hides itself and says a loopback name in `Host` cannot be told from a client
/// on this machine.
public enum RequestOrigin: Hashable, Sendable {
  /// The peer has a loopback address, `Host` is a loopback name, and no field is a proxy's.
  case thisMachine
  /// A proxy has passed it on.
  /// - Parameter field: the name of the field that says so.
  case proxy(field: String)
  /// Another machine, or a name that other machines may have as well.
  case elsewhere
}
