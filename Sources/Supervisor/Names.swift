import ExactText

// The names of the domain, each a type of its own. They are parsed once, at the edge; inside, a value is valid by
// construction.

/// Why a string is not a name. `reason` completes the sentence "<field> …", e.g. "must not be empty".
public struct InvalidName: Error, Equatable, Sendable {
  public let reason: String
}

/// What all names have in common: a non-empty string of bounded length without control characters.
public protocol Name: ComparedExactly, Sendable, CustomStringConvertible {
  /// The longest name, in bytes of UTF-8.
  static var maximumBytes: Int { get }
  /// Takes the value as it is; only for values that were validated before (the store, another node).
  init(trusted: String)
}

extension Name {
  public static var maximumBytes: Int { 128 }

  /// Parses what a user wrote.
  public init(_ string: String) throws(InvalidName) {
    guard !string.isEmpty else { throw InvalidName(reason: "must not be empty") }
    guard string.utf8.count <= Self.maximumBytes else {
      throw InvalidName(reason: "must be at most \(Self.maximumBytes) bytes long, has \(string.utf8.count)")
    }
    guard string.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
      throw InvalidName(reason: "must not contain control characters")
    }
    self.init(trusted: string)
  }

  public var description: String { rawValue }
}

/// A job's id, chosen by the client; also its idempotency key. At most 256 bytes.
public struct JobID: Name {
  public let rawValue: String
  public init(trusted: String) { rawValue = trusted }
  public static var maximumBytes: Int { 256 }
}

/// A runner's name; the API also calls it `actor_id`.
public struct RunnerName: Name {
  public let rawValue: String
  public init(trusted: String) { rawValue = trusted }
}

/// The name of the FIFO that one or more runners drain.
public struct QueueName: Name {
  public let rawValue: String
  public init(trusted: String) { rawValue = trusted }
}

/// How a payload is run: `shell`, `python`, `echo`, or a configured one.
public struct ExecutorName: Name {
  public let rawValue: String
  public init(trusted: String) { rawValue = trusted }
}

/// The name of one supervisor process.
public struct NodeName: Name {
  public let rawValue: String
  public init(trusted: String) { rawValue = trusted }
}
