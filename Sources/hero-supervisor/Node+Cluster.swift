import Cluster
import EventLoop
import Glibc
import Gossip
import Supervisor

// How a node takes part in a cluster: what it tells `ClusterNode`, and what it does on its account.

extension Node {
  /// Calls to other nodes go through the cluster, once there is one.
  func clusterSystem() -> ClusterSystem {
    ClusterSystem(node: configuration.nodeName.member, loop: loop, errors: SupervisorError.self) {
      [weak self] (peer, message, limit) async throws(ClusterError) in
      guard let cluster = await self?.cluster else { throw .unreachable(peer, reason: "this node has not joined yet") }
      return try await cluster.send(message, to: peer, within: limit)
    }
  }

  func join(_ registry: RunnerRegistry, _ system: ClusterSystem, api: SocketAddress) async throws {
    let settings = configuration.cluster
    let cluster: ClusterNode
    do {
      cluster = try ClusterNode(
        try await clusterConfiguration(api), records: records, on: loop, logger: logger,
        server: { await system.carryOut($0, from: 1) },
        onEvent: { [weak self] event in
          if case .mustStop(let reason) = event { self?.assumeIsolated { $0.mustStop(reason) } }
          registry.happened(event)
        })
      try await cluster.start()
    } catch let error as UVError {
      throw CommandFailure(
        message: "cannot open the cluster's port \(settings.listen): \(error.message)",
        hints: ["name another address with --cluster or HERO_CLUSTER_LISTEN"], status: .failed)
    }
    self.cluster = cluster
    await registry.join(cluster)
  }

  private func clusterConfiguration(_ api: SocketAddress) async throws -> ClusterNode.Configuration {
    let settings = configuration.cluster
    // Without a key the node listens on loopback only, where everybody may be trusted: a key that everybody knows.
    let keys = settings.keys.isEmpty ? [[UInt8](repeating: 0, count: Keyring.keyBytes)] : settings.keys.reveal()
    let host = settings.listen.host == "localhost" ? "127.0.0.1" : settings.listen.host
    var cluster = ClusterNode.Configuration(
      name: configuration.nodeName.member, cluster: settings.name,
      listen: try SocketAddress(host: host, port: settings.listen.port), keys: keys,
      memory: "\(configuration.dataDirectory)/cluster.peers")
    if let files = settings.tls {
      do throws(TLSFileFailure) {
        let loaded = try files.load(for: configuration.nodeName.rawValue)
        cluster.certificates = loaded.certificates
        linkValidity = loaded.validity
        if let outdated = loaded.outdated {
          logger.error("no peer link can be made", metadata: ["reason": "\(outdated)"])
        }
      } catch {
        throw CommandFailure(message: "\(error)", status: .usage)
      }
      logger.info("peer links are made by certificates", metadata: ["certificate": "\(files.certificate)"])
    }
    if let advertise = settings.advertise {
      do {
        // SIGTERM does not wait for a name server.
        let lookup = Task(executorPreference: loop) { [loop] in
          try await SocketAddress.resolve(host: advertise.host, port: advertise.port, on: loop).first
        }
        self.lookup = lookup
        cluster.advertise = try await lookup.value
      } catch {
        throw CommandFailure(message: "cannot look up cluster.advertise \(advertise): \(error)", status: .failed)
      }
    }
    cluster.seeds = settings.seeds.map { (host: $0.host, port: $0.port) }
    cluster.settings =
      switch settings.profile {
      case .lan: .lan
      case .wan: .wan
      case .local: .local
      }
    cluster.joinTimeout = .milliseconds(Int64(settings.joinTimeoutSeconds * 1000))
    cluster.api = "\(certificate == nil ? "" : "https://")\(api.reachable(on: loop))"
    cluster.zone = settings.zone
    cluster.version = HeroSupervisor.version
    return cluster
  }

  private func mustStop(_ reason: String) {
    guard failure == nil else { return }
    logger.critical("the node stops", metadata: ["reason": "\(reason)"])
    failure = CommandFailure(message: reason, status: .failed)
    untilStop.resumeAll()
  }

  /// SIGHUP: files are read again, whose contents may change while the node runs.
  func reload() async {
    if cluster == nil, certificate == nil {
      return logger.info("SIGHUP: nothing to read again, this node has no cluster and no api.tls")
    }
    if let context = certificate?.reload() { await server?.use(context) }
    if let cluster {
      await reloadCertificates(of: cluster)
      await reloadKeys(of: cluster)
    }
  }

  private func reloadCertificates(of cluster: ClusterNode) async {
    guard let files = configuration.cluster.tls else { return }
    do throws(TLSFileFailure) {
      let loaded = try files.load(for: configuration.nodeName.rawValue)
      // With a list that is out of force every link would end, and none be made.
      if let outdated = loaded.outdated { throw TLSFileFailure(problems: [outdated]) }
      for warning in loaded.warnings { logger.warning("\(warning)") }
      if let warning = loaded.validity.warning(at: Int64(time(nil))) {
        logger.warning("cluster.tls.certificate: \(warning)")
      }
      await cluster.use(loaded.certificates)
      linkValidity = loaded.validity
      logger.notice("the certificates of the cluster were read again")
    } catch {
      logger.error("the certificates of the cluster stay as they are", metadata: ["reason": "\(error)"])
    }
  }

  private func reloadKeys(of cluster: ClusterNode) async {
    do {
      let (keys, warnings) = try ClusterKeys.load(
        configuration.cluster.keys.references, environment: processEnvironment())
      for warning in warnings { logger.warning("cluster.keys[\(warning.index)]: \(warning.reason)") }
      guard !keys.isEmpty else { return logger.info("SIGHUP: there are no keys to read again") }
      try await cluster.use(keys: keys.reveal())
      logger.notice("the keys of the cluster were read again", metadata: ["keys": "\(keys.reveal().count)"])
    } catch {
      logger.error("the keys of the cluster stay as they are", metadata: ["reason": "\(error)"])
    }
  }
}
