import Cluster
import EventLoop
import Glibc
import Gossip
import HTTPServer
import JSONRPC
import Logging
import Supervisor
import SupervisorAPI

// The composition root: the only place that knows all the parts of a node, and the order in which they start and stop.

actor Node {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  let configuration: Configuration
  let logger: Logger
  private var signals: [SignalSource] = []
  private var stopRequests = 0
  /// Of `cluster.advertise`, while the node starts.
  var lookup: Task<SocketAddress?, any Error>?
  /// `live`, while the node does its work.
  let untilStop: Waiters
  private(set) var server: HTTPServer?
  /// Who did what.
  private(set) var audit: AuditLog?
  /// With `api.tls`.
  private(set) var certificate: APICertificate?
  var cluster: ClusterNode?
  /// The keys that were made at run time.
  let createdKeys = KeyDirectory()
  /// Facts of the whole cluster, on this node's disk.
  private(set) var records: RecordKeeper?
  /// With `cluster.tls`: when the certificate counts that peers see.
  var linkValidity: CertificateValidity?
  /// Of the jobs, where this process may make some.
  private(set) var groups: ControlGroups?
  /// Why the node stops by itself.
  var failure: CommandFailure?

  /// Runs a node until SIGTERM or SIGINT, and drains it.
  static func run(_ configuration: Configuration) async throws {
    let logger = Logger(label: "node")
    do throws(FileBytes.Failure) { try DataDirectory.prepare(configuration.dataDirectory) } catch {
      throw CommandFailure(
        message: "cannot use the data directory \(error.path): \(error.reason)",
        hints: ["name another with --data-dir or HERO_DATA_DIR"], status: .usage)
    }
    let slots = configuration.runners.reduce(0) { $0 + $1.concurrency }
    let files = OpenFiles.share(connections: configuration.api.maxConnections, slots: slots)
    if files.connections < configuration.api.maxConnections {
      logger.warning(
        "the limit of open files is lower than api.max_connections needs; raise it with ulimit -n or LimitNOFILE=",
        metadata: [
          "limit": "\(files.limit)", "max_connections": "\(configuration.api.maxConnections)",
          "connections": "\(files.connections)", "kept_for_jobs": "\(files.kept)",
        ])
    }
    var configuration = configuration
    configuration.api.maxConnections = files.connections
    let loop = try EventLoop()
    loop.start()
    let node = Node(configuration, loop: loop, logger: logger)
    let result = await Task(executorPreference: loop) { try await node.live() }.result
    await node.audit?.close()
    await loop.stop()
    try result.get()
  }

  private init(_ configuration: Configuration, loop: EventLoop, logger: Logger) {
    self.configuration = configuration
    self.loop = loop
    self.logger = logger
    untilStop = Waiters(on: loop)
  }

  private func live() async throws {
    let executors = try makeExecutors()
    let auth = try authentication(executors)
    audit = try openAudit()
    let store = try await NodeStore.open(configuration, loop: loop, logger: logger)
    let processes = ProcessGuard(
      loop: loop, command: ["/proc/self/exe", GuardProcess.argument, store.instance], logger: logger)
    do {
      records = try openRecords()
      say(auth.openMethods)
      let system = configuration.cluster.isConfigured ? clusterSystem() : nil
      let registry = try await startDomain(store, processes, executors, system)
      do {
        let (server, address) = try await listen(registry, store, auth)
        try watchSignals()
        if let system { try await join(registry, system, api: address) }
        announceReady(address)
        await untilStop.wait(while: { stopRequests == 0 && failure == nil })
        await stop(server, registry)
      } catch {
        await registry.drain(for: .zero)
        await server?.shutdown(grace: .zero)
        await registry.end()
        stopWatching()
        throw error
      }
    } catch {
      await processes.close()
      groups?.remove()
      await records?.close()
      await store.close()
      throw error
    }
    await processes.close()
    groups?.remove()
    await records?.close()
    await store.close()
    logger.info("node stopped")
    if let failure { throw failure }
  }

  // MARK: Start

  private func startDomain(
    _ store: NodeStore, _ processes: ProcessGuard, _ executors: Executors, _ system: ClusterSystem?
  ) async throws -> RunnerRegistry {
    var settings = JobSettings(
      node: configuration.nodeName, instance: store.instance,
      maxOutputBytes: configuration.jobs.maxOutputBytes,
      killGrace: .milliseconds(Int64(configuration.jobs.killGraceSeconds * 1000)))
    let inherited = processEnvironment()
    for name: VariableName in ["PATH", "HOME", "LANG", "TZ"] {
      if let value = inherited[name.rawValue] { settings.baseEnvironment[name] = value }
    }
    do throws(UVError) { try await processes.start() } catch {
      throw CommandFailure(message: "cannot start the guard process: \(error)", status: .failed)
    }
    let launcher: Launcher
    do throws(UnusableLauncher) { launcher = try Launcher() } catch {
      throw CommandFailure(
        message: "cannot use \(error)", hints: ["it is installed beside hero-supervisor"], status: .failed)
    }
    let groups = try await controlGroups(of: store.instance, for: executors)
    // Jobs of another user walk through it to their working directory; what lies in it stays the node's alone.
    if !executors.ofOtherUsers.isEmpty { chmod(configuration.dataDirectory, 0o711) }
    var wishes: [QueueName: NodeName] = [:]
    for runner in configuration.runners {
      wishes[runner.queue] = configuration.runnerNodes[runner.name] ?? wishes[runner.queue]
    }
    let workspaces: Workspaces
    do throws(UnusableWorkDirectory) {
      workspaces = try Workspaces(at: "\(configuration.dataDirectory)/work", loop: loop, logger: logger)
    } catch {
      throw CommandFailure(message: "cannot use the directory of the jobs' workspaces: \(error)", status: .usage)
    }
    try await trySandboxes(of: executors, by: launcher)
    let registry = RunnerRegistry(
      context: RunnerContext(
        loop: loop, store: store.jobs, executors: executors, settings: settings, processes: processes,
        launcher: launcher, groups: groups, workspaces: workspaces, logger: logger),
      configured: configuration.runners, wishes: wishes, system: system)
    do { try await registry.recover() } catch {
      throw CommandFailure(message: "cannot recover the jobs of this node: \(error)", status: .failed)
    }
    return registry
  }

  /// Control groups for the jobs, where the configuration wants them and the system lets this process make them.
  private func controlGroups(of instance: String, for executors: Executors) async throws -> ControlGroups? {
    let controllers = executors.controllers
    let wish = configuration.jobs.controlGroups
    do {
      if wish == .never { throw ControlGroupsUnavailable(reason: "jobs.control_groups is false") }
      let groups = try await loop.blocking { try ControlGroups(instance: instance, controllers: controllers) }
      self.groups = groups
      logger.info("jobs are contained by control groups", metadata: ["path": "\(groups.path)"])
      return groups
    } catch {
      guard controllers.isEmpty, wish != .always else {
        let setting =
          controllers.isEmpty ? "jobs.control_groups" : "executors.*.limits.{memory_max_bytes,cpu_max,processes_max}"
        throw CommandFailure(message: "\(setting): jobs cannot get control groups: \(error)", status: .usage)
      }
      logger.info("jobs are contained by their launchers (subreapers)", metadata: ["control_groups": "\(error)"])
      return nil
    }
  }

  /// Shows before any job that each sandbox can be built here: none is ever run without.
  private func trySandboxes(of executors: Executors, by launcher: Launcher) async throws(CommandFailure) {
    for executor in executors.sandboxed {
      let name = executor.configuration.name
      do throws(UVError) {
        try await launcher.trySandbox(of: executor, in: "\(configuration.dataDirectory)/work", on: loop)
      } catch {
        throw CommandFailure(
          message: "executors.\(name).sandbox: this machine does not let the node build one: \(error)",
          hints: [
            geteuid() == 0
              ? "root needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SETPCAP and Linux 5.12; docs/operations.md has the lines for systemd"
              : "a node that is not root needs Linux 5.12 and user namespaces (user.max_user_namespaces, RestrictNamespaces=no) and a whole /proc"
          ], status: .usage)
      }
      logger.info(
        "jobs of an executor run in a sandbox",
        metadata: [
          "executor": "\(name)", "network": executor.configuration.sandbox?.hasNetwork == true ? "the node's" : "none",
          "by": geteuid() == 0 ? "root" : "user namespace",
        ])
    }
  }

  private func makeExecutors() throws(CommandFailure) -> Executors {
    let searchPath = processEnvironment()["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
    let executors: Executors
    do throws(InvalidExecutor) {
      executors = try Executors(
        configuration.executors, searchPath: searchPath, privatePaths: configuration.privatePaths)
    } catch {
      throw CommandFailure(message: "executors.\(error.executor): \(error.reason)", status: .usage)
    }
    if !executors.withheld.isEmpty {
      func list(_ names: [ExecutorName]) -> String { names.map(\.rawValue).joined(separator: ", ") }
      logger.notice(
        "built-in executors are off but for runners that name them, since their jobs would run as the node's own user",
        metadata: ["off": "\(list(executors.withheld))", "separate": "\(list(executors.separating))"])
    }
    return executors
  }

  private func listen(
    _ registry: RunnerRegistry, _ store: NodeStore, _ auth: Authenticator
  ) async throws -> (HTTPServer, SocketAddress) {
    let api = configuration.api
    let document = SupervisorAPI.openRPCDocument
    let trail = audit?.trail(hasOnlyLocalKey: !configuration.auth.hasKeys)
    let methods = SupervisorAPI(
      registry: registry, authenticator: auth, keys: records, maximumResponseBytes: api.maxResponseBytes,
      document: document,
      audit: trail, confirmClock: { await store.confirmClock() })
    let metrics = Metrics(registry: registry) { [weak self] in
      await auth.families + (self?.families(store, registry) ?? [])
    }
    let dispatcher = Dispatcher(
      methods: methods.methods, maximumBatch: api.maxBatch, maximumResponseBytes: api.maxResponseBytes,
      observer: { metrics.count(method: $0, code: $1) })
    let endpoint = HTTPEndpoint(
      dispatcher: dispatcher, authenticator: auth, metrics: metrics, document: document,
      isClustered: registry.isClustered, audit: trail,
      unreadiness: {
        if let reason = await registry.unreadiness { return reason }
        return await store.jobs.unavailability()
      },
      notice: {
        let notices = [await registry.gate.summary, await store.remark(), await registry.remark].compactMap(\.self)
        return notices.isEmpty ? nil : notices.joined(separator: "; ")
      })
    var limits = HTTPServerConfiguration()
    limits.maxRequestBytes = api.maxRequestBytes
    limits.maxConnections = api.maxConnections
    limits.maxBufferedBytes = api.maxBufferedBytes
    limits.keyJudge = RequestKeys(
      authenticator: auth, metrics: metrics, maximumBatch: api.maxBatch, audit: trail)
    limits.allowedHosts = api.allowedHosts
    limits.corsOrigins = api.corsOrigins
    limits.trustedProxies = api.trustedProxies
    limits.errorBody = HTTPEndpoint.errorBody(maxRequestBytes: api.maxRequestBytes)
    let server = HTTPServer(loop: loop, configuration: limits, logger: logger) { await endpoint.answer($0) }
    if let files = api.tls {
      do throws(TLSFileFailure) { certificate = try APICertificate(files, on: loop, logger: logger) } catch {
        throw CommandFailure(message: "\(error)", status: .usage)
      }
    }
    do {
      let address = try await server.listen(on: try api.listen.socketAddress, tls: certificate?.context)
      try await listenLocally(server)
      self.server = server
      return (server, address)
    } catch let failure as CommandFailure {
      await server.shutdown(grace: .zero)
      throw failure
    } catch let error as UVError {
      await server.shutdown(grace: .zero)
      throw CommandFailure(
        message: "cannot listen on \(api.listen): \(error.message)",
        hints: ["name another address with --api or HERO_API_LISTEN"], status: .failed)
    }
  }

  /// The command line's way in. The lock of the data directory has shown that no other node has it; a listener all the
  /// same is none of ours. A file system that has no sockets is no reason not to start.
  private func listenLocally(_ server: HTTPServer) async throws(CommandFailure) {
    let socket = DataDirectory.socket(in: configuration.dataDirectory)
    do throws(UVError) {
      try await server.listen(atSocket: socket, for: [geteuid()])
    } catch {
      if [UVError.addressInUse, UVError.notSocket].contains(error.code) {
        throw CommandFailure(
          message: "cannot listen at \(socket): \(error.message)",
          hints: ["end whoever listens there, or remove the file"], status: .failed)
      }
      logger.warning(
        "there is no unix socket: the command line on this machine needs an endpoint and a key",
        metadata: ["socket": "\(socket)", "reason": "\(error.message)"])
    }
  }

  private func openAudit() throws(CommandFailure) -> AuditLog {
    let logger = Logger(label: "audit")
    guard let path = configuration.log.auditFile else { return AuditLog(logger, file: nil) }
    do throws(FileBytes.Failure) {
      return AuditLog(logger, file: try AuditFile(path, on: loop, logger: logger))
    } catch {
      throw CommandFailure(message: "cannot open log.audit_file \(error.path): \(error.reason)", status: .usage)
    }
  }

  private func announceReady(_ api: SocketAddress) {
    logger.info(
      "node ready",
      metadata: [
        "node": "\(configuration.nodeName)", "api": "\(certificate == nil ? "http" : "https")://\(api)/",
        "data": "\(configuration.dataDirectory)",
        "socket": "\(DataDirectory.socket(in: configuration.dataDirectory))",
        "pid": "\(getpid())",
      ])
  }

  // MARK: Stop

  private func watchSignals() throws {
    signals = try [SIGTERM, SIGINT].map { signal in
      try SignalSource(signal, on: loop) { [unowned self] in self.assumeIsolated { $0.requestStop() } }
    }
    signals.append(
      try SignalSource(SIGHUP, on: loop) { [unowned self] in
        Task(executorPreference: self.loop) {
          await self.audit?.reopen()
          await self.reload()
        }
      })
  }

  /// Of signals, and of the certificate's end.
  private func stopWatching() {
    for signal in signals { signal.close() }
    signals = []
    certificate?.close()
  }

  private func requestStop() {
    stopRequests += 1
    if stopRequests > 1 {
      // Asked twice: not waiting any longer. The guard ends the jobs, and the next start brings them back.
      logger.warning("stopped at once, running jobs are killed")
      _exit(1)
    }
    lookup?.cancel()
    if let cluster, untilStop.isEmpty {
      // Not waiting for seeds any longer.
      Task(executorPreference: loop) { await cluster.close() }
    }
    untilStop.resumeAll()
  }

  private func stop(_ server: HTTPServer, _ registry: RunnerRegistry) async {
    // A node whose name is another's must not say that it leaves, or gives anything away, under that name.
    if failure != nil { await cluster?.close() }
    let seconds = configuration.jobs.drainSeconds
    logger.info("node stopping, running jobs may end", metadata: ["drain_seconds": "\(seconds)"])
    await registry.drain(for: .milliseconds(Int64(seconds * 1000)))
    // Callers that wait for jobs which ended just now still get their answer.
    await server.shutdown(grace: .seconds(1))
    await registry.end()
    stopWatching()
  }
}
