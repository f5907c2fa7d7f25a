import Glibc
import TLS

/// The directory of an authority: `ca.pem`, `ca.key`, `revoked.pem`, and `issued`, a line for each certificate: serial
/// number, end, name. What it issues are `NAME.pem` and `NAME.key`, here or elsewhere.
struct AuthorityDirectory {
  let path: String
  var certificatePath: String { "\(path)/ca.pem" }
  var revocationsPath: String { "\(path)/revoked.pem" }
  private var keyPath: String { "\(path)/ca.key" }
  private var issuedPath: String { "\(path)/issued" }

  struct Issue {
    let certificatePath: String
    let keyPath: String
    let serial: String
    let notAfter: Int64
  }

  /// Names that the directory uses itself.
  private static let reserved: Set<String> = ["ca", "revoked", "issued"]

  /// A name of a node or a client is one of files as well: 1 to 64 letters, digits, `.`, `-`, `_`, none of them at the
  /// beginning but a letter or a digit.
  static func isName(_ name: String) -> Bool {
    guard (1...64).contains(name.utf8.count), !reserved.contains(name) else { return false }
    return name.utf8.enumerated().allSatisfy { place, byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"): place > 0
      default: false
      }
    }
  }

  /// Makes a new authority in the directory, which is made too if it is missing.
  func create(named name: String, days: Int) throws(CommandFailure) -> CertificateAuthority {
    guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
      throw CommandFailure(message: "cannot make \(path): \(errorText(errno))", status: .failed)
    }
    let lock = try lock()
    defer { close(lock) }
    guard access(certificatePath, F_OK) != 0, access(keyPath, F_OK) != 0 else {
      throw CommandFailure(
        message: "there is an authority in \(path) already",
        hints: ["name another directory; a new authority in its place would make all its certificates worthless"],
        status: .usage)
    }
    let authority = CertificateAuthority(named: name, days: days)
    let revocations: [UInt8]
    do throws(InvalidPEM) { revocations = try authority.revocationList().pem } catch {
      throw CommandFailure(message: error.reason, status: .failed)
    }
    // The certificate last: with it the authority is there.
    try write(authority.keyPEM, to: keyPath, mode: 0o600, replaces: false)
    try write(revocations, to: revocationsPath, mode: 0o644, replaces: true)
    try write([], to: issuedPath, mode: 0o600, replaces: true)
    try write(authority.certificatePEM, to: certificatePath, mode: 0o644, replaces: false)
    return authority
  }

  /// Issues a certificate, and notes it for the day on which it is to be revoked.
  /// - Parameter replaces: whether files of an earlier certificate of that name are replaced.
  func issue(
    _ name: String, for purpose: CertificateAuthority.Purpose, days: Int, to directory: String, replaces: Bool
  ) throws(CommandFailure) -> Issue {
    let lock = try lock()
    defer { close(lock) }
    let authority = try load()
    let (certificatePath, keyPath) = ("\(directory)/\(name).pem", "\(directory)/\(name).key")
    for present in [certificatePath, keyPath] where !replaces && access(present, F_OK) == 0 {
      throw CommandFailure(
        message: "\(present) is there already", hints: ["--replace puts the new one in its place"], status: .usage)
    }
    let issued: CertificateAuthority.Issued
    do throws(CertificateAuthority.Refusal) {
      issued = try authority.issue(name, for: purpose, days: days)
    } catch {
      throw CommandFailure(message: "cannot issue \(name): \(error)", status: .usage)
    }
    // Noted first: a certificate that is not noted could not be revoked.
    try note("\(issued.serial) \(CertificateValidity.date(issued.notAfter)) \(name)\n")
    try write(issued.key, to: keyPath, mode: 0o600, replaces: replaces)
    try write(issued.certificate, to: certificatePath, mode: 0o644, replaces: replaces)
    return Issue(
      certificatePath: certificatePath, keyPath: keyPath, serial: issued.serial, notAfter: issued.notAfter)
  }

  /// Takes back all certificates that were issued for a name so far.
  /// - Returns: how many those are, and how many of them were not revoked before.
  func revoke(_ name: String) throws(CommandFailure) -> (all: Int, new: Int) {
    let lock = try lock()
    defer { close(lock) }
    let authority = try load()
    let serials = String(decoding: try read(issuedPath), as: UTF8.self).split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      return words.count == 3 && words[2] == name ? String(words[0]) : nil
    }
    guard !serials.isEmpty else {
      throw CommandFailure(message: "\(path) has issued no certificate for \(name)", status: .usage)
    }
    let previous = try read(revocationsPath)
    let list: (pem: [UInt8], added: Int)
    do throws(InvalidPEM) { list = try authority.revocationList(adding: serials, to: previous) } catch {
      throw CommandFailure(message: "\(revocationsPath): \(error.reason)", status: .failed)
    }
    try write(list.pem, to: revocationsPath, mode: 0o644, replaces: true)
    return (serials.count, list.added)
  }

  private func load() throws(CommandFailure) -> CertificateAuthority {
    let (certificate, key) = (try read(certificatePath), try read(keyPath))
    do throws(InvalidPEM) { return try CertificateAuthority(certificate: certificate, key: key) } catch {
      let path = error.part == .key ? keyPath : certificatePath
      throw CommandFailure(message: "\(path): \(error.reason)", status: .usage)
    }
  }

  private func read(_ path: String) throws(CommandFailure) -> [UInt8] {
    do throws(FileBytes.Failure) { return try FileBytes.read(path).bytes } catch {
      let hints = error.code == ENOENT ? ["make an authority with `hero-supervisor cluster certs init --out DIR`"] : []
      throw CommandFailure(message: "cannot read \(path): \(error.reason)", hints: hints, status: .usage)
    }
  }

  private func write(_ bytes: [UInt8], to path: String, mode: mode_t, replaces: Bool) throws(CommandFailure) {
    do throws(FileBytes.Failure) { try AtomicFile.write(bytes, to: path, mode: mode, replaces: replaces) } catch {
      throw CommandFailure(message: "cannot write \(path): \(error.reason)", status: .failed)
    }
  }

  /// Adds a line to `issued`; by one write(2), on disk when it returns.
  private func note(_ line: String) throws(CommandFailure) {
    let descriptor = open(issuedPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    let bytes = Array(line.utf8)
    defer { close(descriptor) }
    guard descriptor >= 0, Glibc.write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0 else {
      throw CommandFailure(message: "cannot write \(issuedPath): \(errorText(errno))", status: .failed)
    }
  }

  /// Two commands at once would lose what one of them adds. The lock ends with the descriptor (flock(2)).
  private func lock() throws(CommandFailure) -> Int32 {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0, flock(descriptor, LOCK_EX) == 0 else {
      throw CommandFailure(
        message: "cannot use the authority's directory \(path): \(errorText(errno))",
        hints: ["make an authority with `hero-supervisor cluster certs init --out DIR`"], status: .usage)
    }
    return descriptor
  }
}
