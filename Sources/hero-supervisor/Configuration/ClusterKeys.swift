// The keys that seal what the members say to each other: where they come from, how they are written, and how they are
// read again while the node runs, so that a key can be changed without a pause.

/// The keys of `cluster.keys`, in order, each once: the first seals, all open.
struct ClusterKeys: Hashable, Sendable {
  /// What is wrong with one of the references; `reason` never repeats a key.
  struct Problem: Hashable, Sendable {
    /// Its place in `cluster.keys`.
    var index: Int
    var reason: String
    /// Whether the file or the variable is not there, as on another machine than the one that will use it.
    var isAbsence = false
  }

  /// Why there are no keys.
  struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
    var problems: [Problem]
    var description: String {
      problems.map { "cluster.keys[\($0.index)]: \($0.reason)" }.joined(separator: "; ")
    }
  }

  static let empty = ClusterKeys(references: [], keys: [])

  /// Where the keys come from; paths are absolute.
  let references: [SecretReference]
  private let keys: [ClusterKey]

  var isEmpty: Bool { keys.isEmpty }

  /// The keys themselves, of 32 bytes each.
  func reveal() -> [[UInt8]] { keys.map { $0.reveal() } }

  /// Reads keys: at the start, and again when the node is told to (SIGHUP).
  /// - Parameters:
  ///   - references: with absolute paths.
  ///   - environment: the variables of this process.
  /// - Returns: the keys, and what an operator should change though it works.
  /// - Throws: every problem there is; the keys in use stay what they are then.
  static func load(
    _ references: [SecretReference], environment: [String: String]
  ) throws(Failure) -> (keys: ClusterKeys, warnings: [Problem]) {
    var keys: [ClusterKey] = []
    var problems: [Problem] = []
    var warnings: [Problem] = []
    for (index, reference) in references.enumerated() {
      do throws(SecretReference.Failure) {
        let (text, warning) = try reference.read(relativeTo: "/", environment: environment)
        if let warning { warnings.append(Problem(index: index, reason: warning)) }
        do throws(InvalidKeys) {
          let found = try parse(text)
          if found.isEmpty { problems.append(Problem(index: index, reason: "\(reference.place)there is no key in it")) }
          for key in found where !keys.contains(key) { keys.append(key) }
        } catch {
          problems += error.reasons.map {
            Problem(index: index, reason: "\(reference.place)\($0)\(reference.isLiteral ? Self.wayOut : "")")
          }
        }
      } catch {
        problems.append(Problem(index: index, reason: error.reason, isAbsence: error.isAbsence))
      }
    }
    guard problems.isEmpty else { throw Failure(problems: problems) }
    return (ClusterKeys(references: references, keys: keys), warnings)
  }

  /// What was probably meant by a literal that is no key.
  private static let wayOut = " (a file of keys is named as \"file:PATH\")"

  /// Why a text is none of keys: a sentence for each line that is wrong.
  struct InvalidKeys: Error, Hashable, Sendable { var reasons: [String] }

  /// Reads the keys of a text: one a line; what follows `#` is a comment, and blank lines do not count.
  static func parse(_ text: String) throws(InvalidKeys) -> [ClusterKey] {
    let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    var keys: [ClusterKey] = []
    var reasons: [String] = []
    for (number, line) in lines.enumerated() {
      let word = trimmed(line.prefix { $0 != "#" })
      if word.isEmpty { continue }
      if let key = ClusterKey(word) {
        keys.append(key)
      } else {
        let place = lines.count > 1 ? "line \(number + 1): " : ""
        let got = word.count == ClusterKey.digits ? "other characters" : "\(word.count) characters"
        reasons.append("\(place)expected a key of \(ClusterKey.digits) hexadecimal digits, got \(got)")
      }
    }
    guard reasons.isEmpty else { throw InvalidKeys(reasons: reasons) }
    return keys
  }
}

extension SecretReference {
  /// Where a key is wrong, to stand before what is wrong with it.
  fileprivate var place: String {
    switch self {
    case .literal: ""
    case .environment(let name): "the environment variable \(name): "
    case .file(let path): "\(path): "
    }
  }
}
