import ArgumentParser
import Glibc

/// The options of every command that talks to a node. A key is never a flag: process lists are public.
struct ClientOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "A node to call, HOST:PORT, https://HOST:PORT with TLS, or unix:PATH; may be repeated, the next is tried when one is "
        + "away. (default: $HERO_ENDPOINTS, or the local node)", valueName: "node"))
  var endpoint: [String] = []

  @Option(
    help: ArgumentHelp(
      "A file that holds the key. (default: $HERO_SECRET, or the local node's admin.secret)", valueName: "file"),
    completion: .file())
  var secretFile: String?

  @Option(
    help: ArgumentHelp(
      "The authorities whose certificates are believed at https:// endpoints, as PEM. (default: $HERO_CA_FILE, or the "
        + "system's)", valueName: "file"),
    completion: .file())
  var caFile: String?

  @Option(
    help: ArgumentHelp(
      "This client's certificate, for nodes that ask for one, as PEM. (default: $HERO_TLS_CERTIFICATE, or none)",
      valueName: "file"),
    completion: .file())
  var tlsCertificate: String?

  @Option(
    help: ArgumentHelp("The key of that certificate, as PEM. (default: $HERO_TLS_KEY)", valueName: "file"),
    completion: .file())
  var tlsKey: String?

  @Flag(help: "Print JSON.")
  var json = false

  /// The nodes to call, as the user wrote them; at least one. Else the local node by its socket; without a sign of one in
  /// the data directory, whoever listens at the default address.
  func endpoints(_ environment: [String: String]) -> [String] {
    if !endpoint.isEmpty { return endpoint }
    let named = (environment["HERO_ENDPOINTS"] ?? "").split(separator: ",").map { trimmed($0) }.filter { !$0.isEmpty }
    if !named.isEmpty { return named }
    let directory = DataDirectory.absolute(DataDirectory.standard(environment: environment))
    let socket = DataDirectory.socket(in: directory)
    let isLocal = access(socket, F_OK) == 0 || access(AdminSecretFile.path(in: directory), F_OK) == 0
    return [isLocal ? "unix:\(socket)" : "\(HostPort.defaultAPI)"]
  }

  /// The key to send, if there is one.
  /// - Parameter provesNode: whether all endpoints prove to be nodes of ours before anything is sent. The local node's own
  ///   key goes to such only: on a port of this machine any user may listen.
  func secret(_ environment: [String: String], provesNode: Bool) throws(CommandFailure) -> Secret? {
    if let secretFile {
      do throws(SecretReference.Failure) {
        let resolution = try SecretReference.file(secretFile).resolve(
          relativeTo: DataDirectory.workingDirectory, environment: [:])
        if let warning = resolution.warning { StandardStreams.error("warning: \(warning)\n") }
        return resolution.secrets.first
      } catch {
        throw CommandFailure(message: "--secret-file: \(error.reason)", status: .usage)
      }
    }
    if let secret = environment["HERO_SECRET"], !secret.isEmpty { return Secret(secret) }
    guard provesNode else { return nil }
    return AdminSecretFile.load(from: DataDirectory.absolute(DataDirectory.standard(environment: environment)))
  }
}
