import ExactText
import Glibc
import TLS

/// What is wrong with a file of `api.tls` or `cluster.tls`; `reason` never repeats what is in it.
struct TLSFileProblem: Hashable, Sendable, CustomStringConvertible {
  /// With its section: `api.tls.key`.
  var setting: String
  var reason: String
  /// Whether the file is not there, as on another machine than the one that will use it.
  var isAbsence = false

  var description: String { "\(setting): \(reason)" }
}

/// Every problem of a section; what is in use stays as it is then.
struct TLSFileFailure: Error, Hashable, Sendable, CustomStringConvertible {
  var problems: [TLSFileProblem]
  var description: String { problems.map(\.description).joined(separator: "; ") }
}

/// Reads the files of a section, and collects what is wrong with them.
struct TLSFileReader {
  /// `api.tls` or `cluster.tls`.
  let section: String
  /// What an operator should change though it works.
  private(set) var warnings: [TLSFileProblem] = []
  private var problems: [TLSFileProblem] = []
  /// What each part of a pair of PEM texts came from.
  private var sources: [InvalidPEM.Part: (setting: String, path: String)] = [:]

  init(section: String) { self.section = section }

  /// The bytes of a file; `nil` when it cannot be read, which `failure` tells.
  mutating func read(_ path: String, _ setting: String, as part: InvalidPEM.Part) -> [UInt8]? {
    let setting = "\(section).\(setting)"
    sources[part] = (setting, path)
    do throws(FileBytes.Failure) {
      let file = try FileBytes.read(path, limit: 1 << 20)
      if part == .key, let warning = file.exposure(at: path) {
        warnings.append(TLSFileProblem(setting: setting, reason: warning))
      }
      // What stands before the first boundary is no part of it (RFC 7468, section 2), and a mark there hides it.
      return file.bytes.beginsWithByteOrderMark ? Array(file.bytes.dropFirst(3)) : file.bytes
    } catch {
      problems.append(
        TLSFileProblem(
          setting: setting, reason: "cannot read \(path): \(error.reason)", isAbsence: error.code == ENOENT))
      return nil
    }
  }

  /// What could not be read; `nil` when all could.
  var failure: TLSFileFailure? { problems.isEmpty ? nil : TLSFileFailure(problems: problems) }

  /// A file that was read is not what it should be.
  func failure(_ part: InvalidPEM.Part, _ reason: String) -> TLSFileFailure {
    let source = sources[part] ?? (section, "")
    return TLSFileFailure(problems: [TLSFileProblem(setting: source.setting, reason: "\(source.path): \(reason)")])
  }
}
