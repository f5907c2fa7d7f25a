import Cluster
import Gossip
import Logging
import Supervisor
import SupervisorAPI

// The keys of a node: those of its configuration, those of the cluster's records, and to whom it is open without any.

extension Node {
  /// The keys, and a new one when none is configured.
  func authentication(_ executors: Executors) throws -> Authenticator {
    let auth = configuration.auth
    let isLoopback = configuration.api.listen.isLoopback
    var admins = auth.adminSecrets
    if !auth.hasKeys {
      guard isLoopback else {
        throw CommandFailure(
          message:
            "api.listen is \(configuration.api.listen), which other machines can reach, and no key is configured",
          hints: ["set auth.admin_secrets, e.g. [\"file:admin.secret\"], or listen on 127.0.0.1"], status: .usage)
      }
      if configuration.cluster.isConfigured {
        logger.warning("no key is configured: each node of the cluster makes one of its own; set auth.admin_secrets")
      }
      do throws(FileBytes.Failure) {
        admins = [try AdminSecretFile.loadOrCreate(in: configuration.dataDirectory)]
      } catch {
        throw CommandFailure(message: "cannot make a key: \(error.path): \(error.reason)", status: .failed)
      }
    }
    let keys: [(Scope, [Secret])] = [
      (.admin, admins), (.user, auth.userSecrets), (.register, auth.registerSecrets),
    ]
    return Authenticator(
      keys: keys.flatMap { scope, secrets in secrets.map { (scope: scope, secret: $0.reveal()) } },
      created: createdKeys, guesses: GuessDelay(on: loop), openMethods: try openMethods(executors), logger: logger)
  }

  /// The data directory is this node's by now.
  func openRecords() throws(CommandFailure) -> RecordKeeper {
    do throws(RecordsUnreadable) {
      return try RecordKeeper(
        path: "\(configuration.dataDirectory)/records", author: configuration.nodeName.member,
        rules: KeyDirectory.rules, on: loop, logger: logger, onChange: { [createdKeys] in createdKeys.learn($0) })
    } catch {
      throw CommandFailure(
        message: "cannot read the keys that were made at run time, \(error.path): \(error.reason)",
        hints: [
          "restore the file, or copy that of another node of the cluster",
          "without the file this node knows no such keys until it meets its peers",
        ], status: .failed)
    }
  }

  /// To whom methods are open that take no key by their contract.
  private func openMethods(_ executors: Executors) throws -> OpenMethods {
    var openings = configuration.openings
    openings.listeners = [try configuration.api.listen.socketAddress]
    openings.executorsOfOtherUsers = executors.ofOtherUsers.map(\.rawValue)
    openings.executorsWithSandbox = executors.sandboxed.map(\.configuration.name.rawValue)
    return OpenMethods.decide(configuration.auth.openMethods, openings)
  }

  /// At each start: an operator must be able to see whether the API is open.
  func say(_ decision: OpenMethods) {
    switch decision {
    case .toAll:
      logger.warning("whoever reaches the API may read jobs and stop runners without a key: auth.open_methods is true")
    case .toThisMachine: logger.info("the API needs no key for what its contract has none for, on this machine")
    case .closed(let reason): logger.info("the API needs a key for everything", metadata: ["reason": "\(reason)"])
    }
  }
}
