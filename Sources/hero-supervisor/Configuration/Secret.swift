import ExactText

/// A key or a password that cannot slip into output: every way of printing it gives `***`.
struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  private let value: String

  init(_ value: String) { self.value = value }

  /// A key of the API has at least so many bytes: 64 bits, if it is random and in hexadecimal.
  static let minimumKeyBytes = 16

  var isShorterThanKeys: Bool { value.utf8.count < Self.minimumKeyBytes }

  /// The secret itself, for the one place that compares or sends it.
  func reveal() -> String { value }

  var description: String { "***" }
  var debugDescription: String { "***" }
  var customMirror: Mirror { Mirror(self, children: []) }
}

/// How the configuration names a secret: the literal itself, `env:NAME`, or `file:PATH`.
enum SecretReference: Hashable, Sendable, CustomStringConvertible {
  case literal(Secret)
  case environment(String)
  case file(String)

  init(_ text: String) {
    if text.hasPrefix("env:") {
      self = .environment(String(text.dropFirst(4)))
    } else if text.hasPrefix("file:") {
      self = .file(String(text.dropFirst(5)))
    } else {
      self = .literal(Secret(text))
    }
  }

  /// The reference as it may be shown: where a secret comes from, never what it is.
  var description: String {
    switch self {
    case .literal: "***"
    case .environment(let name): "env:\(name)"
    case .file(let path): "file:\(path)"
    }
  }

  /// What resolving found.
  struct Resolution {
    /// One for a literal or a variable; one a line for a file.
    var secrets: [Secret]
    /// What an operator should change, though it works.
    var warning: String?
  }

  /// Why a secret is not to be had; `reason` completes "<path>: …".
  struct Failure: Error, Equatable {
    let reason: String
    /// Whether it may well be there on another machine, which is the one that will use it.
    var isAbsence = true
  }

  /// Fetches the secret.
  /// - Parameters:
  ///   - directory: what a relative `file:` path is relative to.
  ///   - environment: the variables of this process.
  func resolve(relativeTo directory: String, environment: [String: String]) throws(Failure) -> Resolution {
    let (text, warning) = try read(relativeTo: directory, environment: environment)
    guard case .file(let path) = self else { return Resolution(secrets: [Secret(text)]) }
    let secrets = text.split(whereSeparator: \.isNewline).map(trimmed).filter { !$0.isEmpty }.map { Secret($0) }
    guard !secrets.isEmpty else {
      throw Failure(reason: "\(absolutePath(path, relativeTo: directory)) is empty")
    }
    return Resolution(secrets: secrets, warning: warning)
  }

  /// Fetches the text that is referred to, as it stands there.
  func read(
    relativeTo directory: String, environment: [String: String]
  ) throws(Failure) -> (text: String, warning: String?) {
    switch self {
    case .literal(let secret):
      guard !secret.reveal().isEmpty else { throw Failure(reason: "must not be empty") }
      return (secret.reveal(), nil)
    case .environment(let name):
      guard let value = environment[name], !value.isEmpty else {
        throw Failure(reason: "the environment variable \(name) is \(environment[name] == nil ? "not set" : "empty")")
      }
      return (value, nil)
    case .file(let path):
      let path = absolutePath(path, relativeTo: directory)
      let file: FileBytes
      do throws(FileBytes.Failure) { file = try .read(path, limit: 1 << 20) } catch {
        throw Failure(reason: "cannot read \(path): \(error.reason)")
      }
      guard let text = String(validating: file.bytes, as: UTF8.self) else {
        throw Failure(reason: "\(path) is not UTF-8 text")
      }
      // Unseen in an editor, it would be a part of the first secret.
      guard !file.bytes.beginsWithByteOrderMark else {
        throw Failure(reason: "\(path) begins with a byte order mark; write it as UTF-8 without one", isAbsence: false)
      }
      guard !file.isWritableByOthers else {
        throw Failure(
          reason: "\(path) is writable by other users (mode \(file.permissions)); do `chmod 600 \(path)`",
          isAbsence: false)
      }
      return (text, file.exposure(at: path))
    }
  }

  /// Whether it is the secret itself.
  var isLiteral: Bool {
    if case .literal = self { return true }
    return false
  }

  /// The same reference from wherever it is followed.
  func absolute(relativeTo directory: String) -> SecretReference {
    guard case .file(let path) = self else { return self }
    return .file(absolutePath(path, relativeTo: directory))
  }
}

/// `text` without the white space at its ends.
func trimmed(_ text: some StringProtocol) -> String {
  let rest = text.drop(while: \.isWhitespace)
  guard let last = rest.lastIndex(where: { !$0.isWhitespace }) else { return "" }
  return String(rest[...last])
}

/// `path`, made absolute; `.` and `..` stay as they are.
func absolutePath(_ path: String, relativeTo directory: String) -> String {
  path.hasPrefix("/") ? path : directory.hasSuffix("/") ? directory + path : "\(directory)/\(path)"
}
