import ArgumentParser

/// The options of every command that talks to a node. A key is never a flag: process lists are public.
struct ClientOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "A node to call; may be repeated, the next is tried when one is away. (default: $HERO_ENDPOINTS, or "
        + "127.0.0.1:8082)", valueName: "host:port"))
  var endpoint: [String] = []

  @Option(
    help: ArgumentHelp(
      "A file that holds the key. (default: $HERO_SECRET, or the local node's admin.secret)", valueName: "file"),
    completion: .file())
  var secretFile: String?

  @Flag(help: "Print JSON.")
  var json = false

  /// The nodes to call, as the user wrote them; at least one.
  func endpoints(_ environment: [String: String]) -> [String] {
    if !endpoint.isEmpty { return endpoint }
    let named = (environment["HERO_ENDPOINTS"] ?? "").split(separator: ",").map { trimmed($0) }.filter { !$0.isEmpty }
    return named.isEmpty ? ["\(HostPort.defaultAPI)"] : named
  }

  /// The key to send, if there is one. The local node's own key goes to this machine only.
  func secret(_ environment: [String: String], staysLocal: Bool) throws(CommandFailure) -> Secret? {
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
    guard staysLocal else { return nil }
    return AdminSecretFile.load(from: DataDirectory.absolute(DataDirectory.standard(environment: environment)))
  }
}
